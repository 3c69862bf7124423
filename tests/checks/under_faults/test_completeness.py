"""Completeness: a whole read passes; every way of losing or repeating rows is named."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from weighbridge.checks.base import Finding, Inconclusive, Measurement, Severity
from weighbridge.checks.completeness import CompletenessCheck
from weighbridge.connectors.base import Observation

CHECK = CompletenessCheck()


def codes(results):
    return [r.code for r in results if isinstance(r, Finding)]


@pytest.mark.parametrize("style", ["keyset", "offset"])
def test_a_whole_read_passes(bench, ask, kinds, style):
    results = ask(CHECK, bench(type("Whole", (kinds.ShopConnector,), {"style": style})))
    assert codes(results) == []
    (numbers,) = [r.data for r in results if isinstance(r, Measurement)]
    assert (numbers["read"], numbers["distinct_keys"], numbers["pages"]) == (130, 130, 4)


def test_a_swallowed_last_page_is_missing_rows(bench, ask, kinds):
    class SwallowsLastPage(kinds.ShopConnector):
        def read(self, object, **options):
            for page in super().read(object, **options):
                if page.cursor is not None:
                    yield page

    (found,) = [r for r in ask(CHECK, bench(SwallowsLastPage)) if isinstance(r, Finding)]
    assert found.code == "completeness.rows_missing"
    assert (found.expected, found.observed) == (130, 120)


def test_inserted_while_read_by_offset_repeats_a_row(bench, ask, kinds, shop):
    class ByOffset(kinds.ShopConnector):
        style = "offset"

    def insert_in_front(shop, asked):
        if asked.get("offset") == "40" and 0 not in shop.rows:
            shop.rows[0] = dict(shop.rows[1], id=0)

    shop.on_get = insert_in_front
    found = ask(CHECK, bench(ByOffset))
    assert codes(found) == ["completeness.read_twice", "completeness.changed_while_reading"]
    assert found[0].evidence["seams"] == [{"first_on_page": 1, "again_on_page": 2, "keys": 1}]


def test_deleted_while_read_by_offset_is_bounded(bench, ask, kinds, shop):
    class ByOffset(kinds.ShopConnector):
        style = "offset"

    def delete_first(shop, asked):
        if asked.get("offset") == "40":
            shop.rows.pop(1, None)
            shop.rows.pop(2, None)

    shop.on_get = delete_first
    results = ask(CHECK, bench(ByOffset))
    # 130 before, 128 after: the two that the seam swallowed cannot be told from the two that went, and it says so.
    assert codes(results) == ["completeness.changed_while_reading"]
    assert "Up to 2 rows are not proved" in results[0].message


def test_changes_while_reading_by_key_are_explained(bench, ask, shop):
    def append(shop, asked):
        if asked.get("after") == "40":
            shop.rows[500] = dict(shop.rows[2], id=500)

    shop.on_get = append
    assert codes(ask(CHECK, bench())) == ["completeness.changed_while_reading"]


def test_a_repeated_page_is_named(bench, ask, kinds):
    class Repeats(kinds.ShopConnector):
        def read(self, object, **options):
            for number, page in enumerate(super().read(object, **options)):
                yield page
                if number == 1:
                    yield page

    assert codes(ask(CHECK, bench(Repeats))) == ["completeness.page_repeated", "completeness.read_twice"]


def test_more_rows_than_counted(bench, ask, shop):
    shop.count_off = -5
    assert codes(ask(CHECK, bench())) == ["completeness.rows_unexpected"]


def test_rows_left_out_are_told(bench, ask, kinds):
    class Skips(kinds.ShopConnector):
        def read(self, object, **options):
            for page in super().read(object, **options):
                yield replace(page, raw_rows=page.batch.num_rows + (page.cursor is None))

    assert codes(ask(CHECK, bench(Skips))) == ["completeness.rows_skipped"]


def test_rows_cut_for_this_user_are_unknown_unless_declared(bench, ask, kinds):
    class Cut(kinds.ShopConnector):
        def probe(self):
            seen = Observation("row_security", "a policy hides rows from user me")
            return replace(super().probe(), observations=(seen,))

    with pytest.raises(Inconclusive, match="does not see all"):
        ask(CHECK, bench(Cut))
    assert codes(ask(CHECK, bench(Cut, custom={"weighbridge.expected_rows": 130}))) == []


def test_expected_rows_are_held_to(bench, ask):
    assert codes(ask(CHECK, bench(custom={"weighbridge.expected_rows": 131}))) == ["completeness.expected_rows"]


def test_an_estimate_proves_nothing(bench, ask, kinds):
    take = {"before": kinds.Count(130, False), "after": kinds.Count(130, False)}
    with pytest.raises(Inconclusive, match="only estimates"):
        ask(CHECK, bench(take=take))


def test_changes_that_lose_ties_are_found(bench, ask, kinds):
    class LosesTies(kinds.ShopConnector):
        def changes(self, object, since, *, columns=None):

            for page in super().changes(object, since):
                later = pc.greater(page.batch.column("changed"), datetime.fromisoformat(since))
                yield replace(page, batch=page.batch.filter(later).select(list(columns)))

    assert codes(ask(CHECK, bench(LosesTies))) == ["completeness.incremental_misses"]


def test_late_rows_without_a_change_time_are_invisible_to_changes(bench, ask, shop):
    shop.rows[131] = {"id": 131, "name": "late", "note": "", "changed": None}
    assert codes(ask(CHECK, bench())) == ["completeness.incremental_blind"]


# --- deletes, late rows, and the hour that comes twice ----------------------------------------------------------------


@pytest.mark.parametrize(("custom", "severity"), [({}, None), ({"weighbridge.incremental": True}, Severity.WARN)])
def test_changes_that_never_tell_a_delete_are_named(bench, ask, kinds, custom, severity):
    silent = type("Silent", (kinds.ShopConnector,), {"tells_deletes": False})
    (found,) = [r for r in ask(CHECK, bench(silent, custom=custom)) if isinstance(r, Finding)]
    assert (found.code, found.severity) == ("completeness.incremental_deletes", severity)


def after_a_run(bench, ask, shop, change):
    """The check's codes after `change`, with the run before it in the history."""
    (numbers,) = [r.data for r in ask(CHECK, bench()) if isinstance(r, Measurement)]
    change(shop.rows)
    made = bench()
    made.context = replace(made.context, previous={"watermark": numbers["watermark"]})
    return [r for r in ask(CHECK, made) if isinstance(r, Finding)]


def test_rows_that_come_late_are_named(bench, ask, shop, kinds):
    def late(rows):
        rows.pop(1)  # a delete must not hide them
        for number in (200, 201):
            rows[number] = dict(rows[2], id=number, changed=kinds.START + 1)

    (found,) = after_a_run(bench, ask, shop, late)
    assert (found.code, found.observed) == ("completeness.incremental_late", 1)


def test_what_changes_in_order_is_not_late(bench, ask, shop):
    def in_order(rows):
        newest = max(r["changed"] for r in rows.values())
        rows.pop(3)
        rows[5]["changed"] = newest + 10
        rows[200] = dict(rows[2], id=200, changed=newest)
        rows[201] = dict(rows[2], id=201, changed=newest + 60)

    assert after_a_run(bench, ask, shop, in_order) == []


def in_autumn(shop):
    """Changes every two minutes over the hours around the end of summer time in Berlin."""
    first = datetime(2025, 10, 25, 23, 0, tzinfo=UTC)
    for number, row in enumerate(shop.rows.values()):
        row["changed"] = (first + timedelta(minutes=2 * number)).timestamp()


def test_changes_of_the_doubled_hour_are_read_again(bench, ask, shop, kinds):
    class InLocalTime(kinds.ShopConnector):
        def changes(self, object, since, *, columns=None):
            local = datetime.fromisoformat(since).astimezone(ZoneInfo("Europe/Berlin")).replace(tzinfo=None)
            taken = local.replace(tzinfo=ZoneInfo("Europe/Berlin"), fold=1)  # the second of the two hours, always
            yield from super().changes(object, taken.astimezone(UTC).isoformat(), columns=columns)

    in_autumn(shop)
    for kind, expected in ((kinds.ShopConnector, []), (InLocalTime, ["completeness.incremental_misses"])):
        made = bench(kind)
        made.point = replace(made.point, scale=made.point.scale.model_copy(update={"timezone": "Europe/Berlin"}))
        assert codes(ask(CHECK, made)) == expected


def test_a_change_time_without_zone_is_named(bench, ask, kinds):
    class Naive(kinds.ShopConnector):
        def naive(self, batch):
            if "changed" not in batch.schema.names:
                return batch
            place = batch.schema.names.index("changed")
            return batch.set_column(place, "changed", batch.column("changed").cast(pa.timestamp("us")))

        def page(self, rows, columns, cursor):
            page = super().page(rows, columns, cursor)
            return replace(page, batch=self.naive(page.batch))

        def discover(self, object):
            schema = super().discover(object)
            naive = [replace(c, type=pa.timestamp("us")) if c.name == "changed" else c for c in schema.columns]
            return replace(schema, columns=tuple(naive))

    assert codes(ask(CHECK, bench(Naive))) == ["completeness.incremental_local_time"]
