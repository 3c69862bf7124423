"""Whether production's rows can be read in the batch window, and what the read costs on the way."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import ClassVar

from weighbridge.checks.base import (
    Code,
    Context,
    Cost,
    Evidence,
    Finding,
    Forecast,
    Inconclusive,
    Measurement,
    Result,
    Severity,
)
from weighbridge.checks.forecast.growth import Growth, fit_growth
from weighbridge.checks.forecast.ranges import Range
from weighbridge.checks.forecast.remedies import window_remedies
from weighbridge.checks.forecast.transfer import capacity_transfer
from weighbridge.checks.forecast.windows import growth_month
from weighbridge.checks.register import rows_ahead
from weighbridge.connectors.base import ObjectRef
from weighbridge.contracts.models import IntegrationPoint

__all__ = ["VolumeCheck"]

FRESH_PAGES = 12
"""Pages of the second, finer read when the landing has too few to see a slope."""
LEAST_ROWS = 100
SAME_AGAIN = 0.4
"""A slope is believed when a second read shows at least this share of it."""


class VolumeCheck:
    """Measures rows a second at three sizes and carries them to production's rows and its batch window.

    The page log of the one full read is used; where it has too few pages, a second read in small pages is made. A page
    that costs more the further back it stands (OFFSET paging) makes the whole read cost the square of its rows: that
    is confirmed by reading again, and named.

    Breaks in production
        The nightly job that takes ten minutes with the pilot's rows does not end before the office opens, or a page
        far back runs into the statement timeout, and the last third of the data is never read.

    Fix
        Page by key (keyset) instead of by offset, read by the bulk interface or in parallel ranges of the key, read
        only what changed, or widen the window.
    """

    name: ClassVar[str] = "volume"
    needs: ClassVar[tuple[str, ...]] = ("landing", "count_before")
    facets: ClassVar[tuple[type, ...]] = ()
    cost: ClassVar[Cost] = "read"
    codes: ClassVar[tuple[Code, ...]] = (
        Code(
            "volume.window_exceeded", Severity.BREAK, "Read by key ranges, by the bulk interface, or only what changed."
        ),
        Code(
            "volume.square_paging",
            Severity.WARN,
            "Page by key (WHERE key > last ORDER BY key), not by OFFSET or $skip.",
        ),
        Code(
            "volume.page_times_out", Severity.BREAK, "Page by key, with smaller pages, or raise the statement timeout."
        ),
        Code("volume.memory", Severity.WARN, "Split the workbook, or move its rows to a database."),
    )

    def __call__(self, point: IntegrationPoint, evidence: Evidence, context: Context) -> Iterable[Result]:
        landing = evidence.landing
        scale = point.scale
        pages = [(p.first_row, p.rows, p.seconds) for p in landing.pages]
        growth = fit_growth(pages)
        note = None
        if growth is not None and (growth.pages < 7 or growth.square) and landing.rows >= LEAST_ROWS:
            growth, note = self._again(point, context, growth)
        production = rows_ahead(
            max(landing.rows, evidence.count_before.value), expected=point.object.expected_rows or scale.rows,
            growth_per_year=scale.growth_per_year, horizon_months=scale.horizon_months,
        )  # fmt: skip
        if growth is None:
            if scale.batch_window_h is not None:
                raise Inconclusive(
                    f"{point.id}: no row could be timed, so nothing is known of {production:,.0f} rows.",
                    remedy="Run it where the object has rows.",
                )
            yield Measurement("volume", {"rows": landing.rows, "production_rows": production, "sizes": []})
            return
        seconds = growth.seconds(production)
        yield Measurement("volume", {
            "rows": growth.rows, "production_rows": round(production), "exponent": round(growth.exponent, 2),
            "exponent_at_production": round(growth.exponent_at(production), 2), "square": growth.square,
            "sizes": [{"rows": r, "rows_per_s": s} for r, s in growth.sizes], "peak_bytes": landing.peak_bytes,
            "seconds_at_production": [round(s, 2) for s in (seconds.low, seconds.mid, seconds.high)],
            "window_s": None if scale.batch_window_h is None else scale.batch_window_h * 3600, "note": note,
        })  # fmt: skip
        if growth.square and seconds.mid > 1.5 * growth.linear_seconds(production):
            yield Finding(
                "volume.square_paging",
                f"{point.id}: a page costs more the further back it stands (OFFSET paging): {production:,.0f} rows "
                f"would take {seconds.mid:,.0f} s instead of {growth.linear_seconds(production):,.0f} s",
                expected="time in proportion to rows (exponent 1)",
                observed=f"exponent {growth.exponent_at(production):.2f} at production's rows",
                evidence={"exponent_measured": growth.exponent, "pages": growth.pages},
            )  # fmt: skip
        yield from self._timeouts(point, evidence, growth, production)
        yield from self._memory(point, evidence, context, production)
        if scale.batch_window_h is not None:
            yield from self._window(point, context, growth, production, seconds)

    def _again(self, point: IntegrationPoint, context: Context, growth: Growth) -> tuple[Growth, str | None]:
        """A second read: finer when pages were few, the same when a slope is to be confirmed. Bounded in pages."""
        confirm = growth.square
        page_rows = round(growth.page_rows) if confirm else max(20, growth.rows // FRESH_PAGES)
        most = growth.pages if confirm else FRESH_PAGES + 1
        ref = ObjectRef(point.object.physical_name, point.object.filter)
        connector = context.connector(context.session)
        seen: list[tuple[int, int, float]] = []
        with contextlib.closing(connector):
            first = 0
            for page in connector.read(ref, page_rows=page_rows):
                rows = page.batch.num_rows
                seen.append((first, rows, page.seconds))
                first += rows
                if len(seen) >= most:
                    break
        second = fit_growth(seen)
        if second is None:
            return growth, None
        if confirm:
            if second.per_row_pair >= SAME_AGAIN * growth.per_row_pair:
                return growth, "growth with the offset confirmed by a second read"
            total = growth.per_row + growth.per_row_pair * growth.rows
            flat = Growth(total, 0.0, 0.3, growth.rows, growth.pages, growth.page_rows, growth.sizes, growth.exponent)
            return flat, "growth with the offset was not seen again in a second read"
        if second.square and growth.pages < 3:
            return self._again(point, context, second)  # one slope alone may be noise: read once more to confirm it
        if second.square:
            return growth, f"read again in pages of {page_rows}"
        # small pages cost more a row than the system's own: keep the full read's rate, take the sizes of the fine one
        kept = Growth(
            growth.per_row, 0.0, max(0.1, second.error), growth.rows, second.pages, growth.page_rows, second.sizes,
            second.exponent,
        )  # fmt: skip
        return kept, f"sizes from a second read in pages of {page_rows}"

    @staticmethod
    def _timeouts(point: IntegrationPoint, evidence: Evidence, growth: Growth, production: float) -> Iterable[Result]:
        try:
            limits = evidence.limits
        except Inconclusive:
            return
        for limit in limits:
            if limit.name != "statement_timeout" or not limit.cap:
                continue
            last = growth.page_seconds(production)
            if last > limit.cap:
                yield Finding(
                    "volume.page_times_out",
                    f"{point.id}: the last page of {production:,.0f} rows would take {last:.0f} s, and the server ends "
                    f"statements after {limit.cap:g} s",
                    expected=f"at most {limit.cap:g} s", observed=round(last, 1),
                )  # fmt: skip

    @staticmethod
    def _memory(point: IntegrationPoint, evidence: Evidence, context: Context, production: float) -> Iterable[Result]:
        peak, rows = evidence.landing.peak_bytes, evidence.landing.rows
        if peak is None or rows < LEAST_ROWS or context.connector().networked:
            return  # a networked source is read page by page in bounded memory
        import psutil

        total = psutil.virtual_memory().total
        needed = peak * production / rows
        if needed > total / 2:
            yield Finding(
                "volume.memory",
                f"{point.id}: {production:,.0f} rows of this file would need {needed / 2**30:.1f} GiB at once",
                expected=f"at most half of {total / 2**30:.1f} GiB", observed=round(needed),
            )  # fmt: skip

    @staticmethod
    def _window(
        point: IntegrationPoint, context: Context, growth: Growth, production: float, seconds: Range
    ) -> Iterable[Result]:
        scale = point.scale
        transfer = capacity_transfer(context.permissions)
        window = (scale.batch_window_h or 0.0) * 3600
        exponent = max(1.0, growth.exponent_at(production))
        users = Range(*(
            scale.production_users * (window / (s / f)) ** (1 / exponent)
            for s, f in ((seconds.high, transfer.factor.low), (seconds.mid, transfer.factor.mid),
                         (seconds.low, transfer.factor.high))
        ))  # fmt: skip
        inputs = {
            "production_users": scale.production_users, "window_s": window, "seconds": round(seconds.mid, 3),
            "exponent": round(exponent, 3), "linear_seconds": round(growth.linear_seconds(production), 3),
            "rows": round(production), "rows_measured": growth.rows,
        }  # fmt: skip
        month = growth_month(
            users.mid, users_now=scale.production_users, growth_per_year=scale.growth_per_year,
            horizon_months=scale.horizon_months, now=context.now(),
        )  # fmt: skip
        yield Forecast(
            limit="batch_window", users=round(users.mid, 1), low=round(users.low, 1), high=round(users.high, 1),
            at_least=round(users.low, 1), basis="measured",
            measured_to=round(scale.production_users * growth.rows / max(1.0, production), 1),
            trust="interpolated" if growth.rows >= production else "extrapolated",
            environment=context.permissions.environment, model="window", inputs=inputs,
            when={"ordinary": None, "month_end": None, "month": month}, transfer=transfer.note,
            answers_target=transfer.answers, remedies=tuple(window_remedies(inputs, users)),
        )  # fmt: skip
        if seconds.low > window:
            yield Finding(
                "volume.window_exceeded",
                f"{point.id}: {production:,.0f} rows take {seconds.mid / 3600:.1f} h "
                f"[{seconds.low / 3600:.1f}, {seconds.high / 3600:.1f}], and the window is {scale.batch_window_h:g} h",
                expected=f"at most {scale.batch_window_h:g} h", observed=f"{seconds.mid / 3600:.2f} h",
                business_effect="The batch does not end before the office opens.",
            )  # fmt: skip
