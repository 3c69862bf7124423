"""What earlier runs found: kept in SQLite beside the project, or in any database that SQLAlchemy reaches.

A run's record of a point becomes the point's baseline ("accepted") at once when the run saw no drift there; otherwise
only after somebody acknowledged it, so that a change does not become normal by being seen twice.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from weighbridge.errors import DeliveryProblem, UsageProblem
from weighbridge.report.model import CheckReport, PointReport, Report

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from weighbridge.project import Project

__all__ = ["VERSION", "History", "RunRow", "changes", "troubles"]

BUSY_SECONDS = 60
KEEP_DAYS = 400
TREND_RUNS = 30
LOOK_BACK = 40
"""How many accepted records of a point are searched for each item of its baseline."""
Row = dict[str, Any]
_FULL = re.compile(r"\bfull\b|disk I/O error", re.IGNORECASE)
"""What SQLite says where there is no room."""


@dataclass(frozen=True, slots=True)
class RunRow:
    """One earlier run, as a list shows it."""

    id: str
    environment: str
    started: str
    finished: str
    status: str
    safe_users: float | None
    target: int
    points: int
    selected: tuple[str, ...] | None
    partial: bool


# --- what changed -----------------------------------------------------------------------------------------------


def troubles(point: PointReport) -> dict[tuple[str, str, str], Row]:
    """A point's warnings, breaks and unanswered checks by (check, code, what it is about)."""
    found: dict[tuple[str, str, str], Row] = {}
    for check in point.checks:
        for row in check.findings:
            if row["severity"] != "info":
                found[check.check, row["code"], _about(row)] = _change(point, check, row["code"], row["message"], row)
        if check.status == "unknown":
            message = check.error or check.message or "could not look"
            found[check.check, f"{check.check}.unknown", ""] = _change(point, check, f"{check.check}.unknown", message)
    return found


def _change(
    point: PointReport, check: CheckReport, code: str, message: str, row: Mapping[str, Any] | None = None
) -> Row:
    severity = "unknown" if row is None else row["severity"]
    return {"point": point.id, "check": check.check, "code": code, "message": message, "severity": severity}


def _about(row: Mapping[str, Any]) -> str:
    """What a finding is about, stable while its numbers move from night to night."""
    evidence = row.get("evidence") or {}
    for name in ("rule", "path", "column", "property", "limit", "fault", "cell", "sheet", "file", "object"):
        if isinstance(evidence.get(name), str):
            return f"{name}:{evidence[name]}"
    return re.sub(r"\d[\d.,:]*", "#", str(row["message"]))[:300]


def changes(report: Report, before: Callable[[str, str], Mapping[tuple[str, str], Row] | None]) -> dict[str, list[Row]]:
    """`new`, `still` and `fixed` troubles of a report; `before(point, check)` gives the earlier ones by (code, about).

    Only what both runs asked is compared: a check that did not answer now fixes nothing, and what was never asked
    before is new.
    """
    found: dict[str, list[Row]] = {"new": [], "fixed": [], "still": []}
    for point in report.points:
        now = troubles(point)
        for check in point.checks:
            mine = {(code, about): row for (name, code, about), row in now.items() if name == check.check}
            if check.status == "skipped":
                continue
            earlier = before(point.id, check.check)
            for key, row in mine.items():
                found["still" if earlier and key in earlier else "new"].append(row)
            if check.status == "unknown":
                continue
            for key, row in (earlier or {}).items():
                if key not in mine:
                    found["fixed"].append(row)
    order = {"break": 0, "unknown": 1, "warn": 2}
    return {
        kind: sorted(rows, key=lambda r: (order.get(r.get("severity", ""), 3), r["point"], r["check"], r["code"]))
        for kind, rows in found.items()
    }


# --- the store --------------------------------------------------------------------------------------------------


@cache
def _tables() -> Any:
    """The tables, made when first needed: SQLAlchemy is not imported for `--help`."""
    from sqlalchemy import Boolean, Column, Float, Index, Integer, LargeBinary, MetaData, String, Table, Text

    meta = MetaData()
    Table("wb_meta", meta, Column("name", String(40), primary_key=True), Column("value", String(200), nullable=False))
    Table(
        "wb_run",
        meta,
        Column("id", String(80), primary_key=True),
        Column("environment", String(20), nullable=False, index=True),
        Column("started", String(40), nullable=False),
        Column("finished", String(40), nullable=False),
        Column("status", String(20), nullable=False),
        Column("safe_users", Float),
        Column("target", Integer, nullable=False),
        Column("points", Integer, nullable=False),
        Column("selected", Text),
        Column("partial", Boolean, nullable=False),
        Column("report", LargeBinary, nullable=False),
    )
    Table(
        "wb_point",
        meta,
        Column("run", String(80), primary_key=True),
        Column("point", String(300), primary_key=True),
        Column("environment", String(20), nullable=False),
        Column("at", String(40), nullable=False),
        Column("status", String(20), nullable=False),
        Column("fingerprint", String(64)),
        Column("accepted", Boolean, nullable=False),
        Column("accepted_by", String(200)),
        Column("accepted_at", String(40)),
        Column("accepted_note", Text),
        Column("record", Text, nullable=False),
        Index("wb_point_latest", "point", "environment", "at"),
    )
    Table(
        "wb_check",
        meta,
        Column("run", String(80), primary_key=True),
        Column("point", String(300), primary_key=True),
        Column("name", String(80), primary_key=True),
        Column("environment", String(20), nullable=False),
        Column("at", String(40), nullable=False),
        Column("status", String(20), nullable=False),
        Column("troubles", Text, nullable=False),
        Index("wb_check_latest", "point", "name", "environment", "at"),
    )
    Table(
        "wb_event",
        meta,
        Column("id", String(80), primary_key=True),
        Column("kind", String(20), nullable=False),
        Column("subject", String(300), nullable=False),
        Column("at", String(40), nullable=False),
        Column("ok", Boolean, nullable=False),
        Column("body", Text, nullable=False),
        Index("wb_event_latest", "kind", "subject", "at"),
    )
    return meta.tables


def _first(connection: Connection) -> None:
    for name in ("wb_run", "wb_point", "wb_check"):
        _tables()[name].create(connection, checkfirst=True)


def _events(connection: Connection) -> None:
    """Deliveries of alerts, and drills."""
    _tables()["wb_event"].create(connection, checkfirst=True)


MIGRATIONS: tuple[Callable[[Connection], None], ...] = (_first, _events)
VERSION = len(MIGRATIONS)


class History:
    """Earlier runs. Each method is one transaction; several processes may write at once and lose nothing."""

    def __init__(
        self, url: str, *, keep_days: int = KEEP_DAYS, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._url = url
        self._keep_days = keep_days
        self._now = now
        self._engine: Engine | None = None
        self._ready = False

    @classmethod
    def of(cls, project: Project) -> Self:
        """The project's history: `[history] url`, else `.weighbridge/history.sqlite`."""
        settings = project.section("history")
        unknown = sorted(set(settings) - {"url", "keep_days"})
        if unknown:
            raise UsageProblem(f"{project.file}: [history] takes url and keep_days, not {', '.join(unknown)}.")
        keep = settings.get("keep_days", KEEP_DAYS)
        if not isinstance(keep, int) or isinstance(keep, bool) or keep < 1:
            raise UsageProblem(f"{project.file}: [history] keep_days must be a whole number of days, at least 1.")
        url = settings.get("url")
        if url is None:
            file = project.data_folder / "history.sqlite"
            try:
                file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            except OSError as error:
                raise UsageProblem(f"{file.parent} cannot be written ({error.strerror}); make it writable.") from None
            return cls(f"sqlite:///{file}", keep_days=keep)
        return cls(_absolute(str(url), project.folder), keep_days=keep)

    # --- transactions --------------------------------------------------------------------------------------------

    @contextmanager
    def _begin(self, *, write: bool = False) -> Iterator[Connection]:
        from sqlalchemy.exc import SQLAlchemyError

        try:
            engine = self._open()
            if not self._ready:
                self._migrate(engine)
                self._ready = True
            with engine.execution_options(weighbridge_write=write).begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            if self._url.startswith("sqlite") and _FULL.search(str(getattr(error, "orig", ""))):
                raise DeliveryProblem(
                    f"The history at {_shown(self._url)} could not be written: the disk is full or a quota is reached. "
                    "Free some space and run again."
                ) from None
            # The driver's own words may carry the address with its password: only the kind of error is told.
            cause = type(getattr(error, "orig", None) or error).__name__
            raise UsageProblem(
                f"The history at {_shown(self._url)} could not be used ({cause}). "
                "Check [history] url, or run with --no-history."
            ) from None

    def _open(self) -> Engine:
        if self._engine is None:
            from sqlalchemy import create_engine, event
            from sqlalchemy.pool import NullPool

            local = self._url.startswith("sqlite")
            arguments = {"timeout": BUSY_SECONDS} if local else {}
            self._engine = create_engine(self._url, poolclass=NullPool, connect_args=arguments)
            if local:

                @event.listens_for(self._engine, "connect")
                def _manual(connection: Any, _record: Any) -> None:
                    # The driver must not begin transactions of its own: BEGIN IMMEDIATE below takes the write lock
                    # first, so that a second writer waits instead of failing halfway.
                    connection.isolation_level = None

                @event.listens_for(self._engine, "begin")
                def _immediate(connection: Connection) -> None:
                    write = connection.get_execution_options().get("weighbridge_write", True)
                    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

        return self._engine

    def _migrate(self, engine: Engine) -> None:
        from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError

        for attempt in range(3):
            try:
                with engine.begin() as connection:
                    self._upgrade(connection)
                return
            except (IntegrityError, OperationalError, ProgrammingError):
                # Another process is making the same tables at this moment; its work is found at the next try.
                if attempt == 2:
                    raise

    def _upgrade(self, connection: Connection) -> None:
        meta = _tables()["wb_meta"]
        meta.create(connection, checkfirst=True)
        row = connection.execute(meta.select().where(meta.c.name == "version")).first()
        version = int(row.value) if row else 0
        if version > VERSION:
            raise UsageProblem(
                f"The history at {_shown(self._url)} was written by a newer version of weighbridge "
                f"(schema {version}, this one knows {VERSION}): upgrade weighbridge, or give this one its own history."
            )
        for step in MIGRATIONS[version:]:
            step(connection)
        if row is None:
            connection.execute(meta.insert().values(name="version", value=str(VERSION)))
        elif version < VERSION:
            connection.execute(meta.update().where(meta.c.name == "version").values(value=str(VERSION)))

    def close(self) -> None:
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None
            self._ready = False

    # --- writing -------------------------------------------------------------------------------------------------

    def record(self, report: Report) -> None:
        """Keep a run and every point of it; the same run again replaces what it said before. Prunes what is old."""
        tables = _tables()
        run, point_table, check_table = tables["wb_run"], tables["wb_point"], tables["wb_check"]
        at = report.run.finished or report.run.started
        with self._begin(write=True) as connection:
            for table in (point_table, check_table):
                connection.execute(table.delete().where(table.c.run == report.run.id))
            connection.execute(run.delete().where(run.c.id == report.run.id))
            connection.execute(run.insert().values(_run_values(report)))
            points, checks = [], []
            for point in report.points:
                known = self._latest_point(connection, point.id, report.run.environment) is not None
                points.append(_point_values(report, point, at, known=known))
                checks += _check_values(report, point, at)
            for table, rows in ((point_table, points), (check_table, checks)):
                if rows:
                    connection.execute(table.insert(), rows)
        self.prune()

    def _latest_point(self, connection: Connection, point: str, environment: str) -> Any:
        table = _tables()["wb_point"]
        mine = (table.c.point == point) & (table.c.environment == environment)
        return connection.execute(table.select().where(mine).limit(1)).first()

    def acknowledge(self, run: str, points: Sequence[str] = (), *, by: str, note: str = "") -> list[str]:
        """Make a run's records the baseline of its points (all, or those named); returns the points."""
        table = _tables()["wb_point"]
        run = self.resolve(run)
        with self._begin(write=True) as connection:
            mine = table.c.run == run
            held = [row.point for row in connection.execute(table.select().where(mine).order_by(table.c.point))]
            missing = [p for p in points if p not in held]
            if missing:
                raise UsageProblem(f"The run {run} has no point {', '.join(missing)}; it has {', '.join(held)}.")
            chosen = [p for p in held if not points or p in points]
            connection.execute(
                table.update()
                .where(mine & table.c.point.in_(chosen))
                .values(accepted=True, accepted_by=by, accepted_at=self._now().isoformat(), accepted_note=note)
            )
        return chosen

    def event(self, kind: str, subject: str, *, ok: bool, body: Mapping[str, Any]) -> str:
        """Record a delivery or a drill; returns its id."""
        import secrets

        name = f"{kind}-{secrets.token_hex(8)}"
        table = _tables()["wb_event"]
        text = json.dumps(body, ensure_ascii=False)
        with self._begin(write=True) as connection:
            values = {
                "id": name,
                "kind": kind,
                "subject": subject,
                "at": self._now().isoformat(),
                "ok": ok,
                "body": text,
            }
            connection.execute(table.insert().values(values))
        return name

    def prune(self, *, keep_days: int | None = None) -> list[str]:
        """Forget runs older than the retention, but for those that hold a point's newest baseline."""
        tables = _tables()
        run, point, check, event = (tables[n] for n in ("wb_run", "wb_point", "wb_check", "wb_event"))
        before = (self._now() - timedelta(days=keep_days or self._keep_days)).isoformat()
        with self._begin(write=True) as connection:
            old = [row.id for row in connection.execute(run.select().where(run.c.started < before))]
            if old:
                accepted = connection.execute(
                    point.select().where(point.c.accepted.is_(True)).order_by(point.c.at.desc())
                ).all()
                newest: dict[tuple[str, str], str] = {}
                for row in accepted:
                    newest.setdefault((row.point, row.environment), row.run)
                old = [name for name in old if name not in set(newest.values())]
                for table, column in ((run, run.c.id), (point, point.c.run), (check, check.c.run)):
                    for name in old:
                        connection.execute(table.delete().where(column == name))
            connection.execute(event.delete().where(event.c.at < before))
        return old

    # --- reading -------------------------------------------------------------------------------------------------

    def runs(self, *, environment: str | None = None, limit: int | None = 50) -> list[RunRow]:
        """The newest runs first."""
        run = _tables()["wb_run"]
        query = run.select().order_by(run.c.started.desc(), run.c.id.desc())
        if environment is not None:
            query = query.where(run.c.environment == environment)
        if limit is not None:
            query = query.limit(limit)
        with self._begin() as connection:
            rows = connection.execute(query).all()
        return [
            RunRow(
                id=row.id,
                environment=row.environment,
                started=row.started,
                finished=row.finished,
                status=row.status,
                safe_users=row.safe_users,
                target=row.target,
                points=row.points,
                selected=tuple(json.loads(row.selected)) if row.selected else None,
                partial=bool(row.partial),
            )
            for row in rows
        ]

    def resolve(self, name: str) -> str:
        """A run's id from itself, the beginning of it, `latest` or `previous`. Raises UsageProblem."""
        run = _tables()["wb_run"]
        with self._begin() as connection:
            query = run.select().order_by(run.c.started.desc(), run.c.id.desc())
            known = [row.id for row in connection.execute(query.with_only_columns(run.c.id))]
        places = {"latest": 0, "previous": 1}
        if name in places:
            if len(known) > places[name]:
                return known[places[name]]
            raise UsageProblem(f"There is no {name} run in the history yet. Run `weighbridge run` first.")
        found = [k for k in known if k == name] or [k for k in known if k.startswith(name)]
        if len(found) == 1:
            return found[0]
        if found:
            raise UsageProblem(f"'{name}' begins {len(found)} runs: {', '.join(found[:5])}. Give more of it.")
        hint = f"The newest are {', '.join(known[:3])}." if known else "The history is empty."
        raise UsageProblem(f"There is no run '{name}' in the history. {hint}")

    def report(self, name: str) -> Report:
        """An earlier run's whole report."""
        run = _tables()["wb_run"]
        name = self.resolve(name)
        with self._begin() as connection:
            row = connection.execute(run.select().where(run.c.id == name)).one()
        return Report.from_json(gzip.decompress(row.report), source=f"run {name}")

    def last_accepted(self, point: str, environment: str) -> Row | None:
        """The point's baseline: `run`, `at`, `status`; newest accepted `profile`, `schema`, `rows`, `fingerprint`."""
        table = _tables()["wb_point"]
        mine = (table.c.point == point) & (table.c.environment == environment) & table.c.accepted.is_(True)
        with self._begin() as connection:
            rows = connection.execute(table.select().where(mine).order_by(table.c.at.desc()).limit(LOOK_BACK)).all()
        if not rows:
            return None
        merged: Row = {"run": rows[0].run, "at": rows[0].at, "status": rows[0].status}
        for row in rows:
            for name, item in json.loads(row.record).items():
                if item is not None and merged.get(name) is None:
                    merged[name] = item
        return merged

    def events(self, kind: str, subject: str | None = None, *, limit: int = 50) -> list[Row]:
        """Recorded deliveries or drills, the newest first: `{"id", "subject", "at", "ok", **body}`."""
        table = _tables()["wb_event"]
        query = table.select().where(table.c.kind == kind).order_by(table.c.at.desc()).limit(limit)
        if subject is not None:
            query = query.where(table.c.subject == subject)
        with self._begin() as connection:
            rows = connection.execute(query).all()
        return [{**json.loads(r.body), "id": r.id, "subject": r.subject, "at": r.at, "ok": bool(r.ok)} for r in rows]

    def standing(self, system: str, environment: str) -> Row:
        """What is known of a system's operation: the last tests of alert channels, its last drill, its availability."""
        table = _tables()["wb_check"]
        mine = (table.c.environment == environment) & (table.c.name == "connection")
        mine &= table.c.point.startswith(f"{system}.", autoescape=True)
        with self._begin() as connection:
            rows = connection.execute(table.select().where(mine)).all()
        down = {row.run for row in rows if row.status in ("unknown", "break")}
        tests: Row = {}
        for event in self.events("alert", limit=500):
            held = tests.get(event["subject"])
            # One that was read counts until it is old, whatever was sent after it.
            if held is None or (event["ok"] and not held["ok"]):
                tests[event["subject"]] = event
        runs = {row.run for row in rows}
        return {
            "alert_tests": tests,
            "drill": next(iter(self.events("drill", system, limit=1)), None),
            "availability": {"runs": len(runs), "up": len(runs - down)},
        }

    def compared(self, report: Report) -> Report:
        """The report with what changed against the runs before, and the trend."""
        run = _tables()["wb_run"]
        env = report.run.environment
        with self._begin() as connection:
            full = run.c.selected.is_(None) if report.run.selected_checks is None else run.c.selected.is_not(None)
            query = (
                run.select()
                .where((run.c.environment == env) & (run.c.id != report.run.id) & full)
                .order_by(run.c.started.desc())
                .limit(TREND_RUNS)
            )
            earlier = connection.execute(query).all()
            known = self._latest_checks(connection, [p.id for p in report.points], env, report.run.id)
        trend = [
            {"run": r.id, "at": r.started, "status": r.status, "safe_users": r.safe_users}
            for r in reversed(earlier)
            if not r.partial
        ]
        if not known:
            return replace(report, trend=trend)
        return replace(report, trend=trend, changes=changes(report, lambda p, c: known.get((p, c))))

    def _latest_checks(
        self, connection: Connection, points: Iterable[str], environment: str, but: str
    ) -> dict[tuple[str, str], dict[tuple[str, str], Row]]:
        """(point, check) -> its troubles in the newest run that asked."""
        from sqlalchemy import func, select

        table = _tables()["wb_check"]
        found: dict[tuple[str, str], dict[tuple[str, str], Row]] = {}
        for point in points:
            mine = (table.c.point == point) & (table.c.environment == environment) & (table.c.run != but)
            newest = (
                select(table.c.name, func.max(table.c.at).label("at")).where(mine).group_by(table.c.name).subquery()
            )
            query = (
                table.select()
                .where(mine)
                .join_from(table, newest, (table.c.name == newest.c.name) & (table.c.at == newest.c.at))
            )
            for row in connection.execute(query):
                found[point, row.name] = {(t["code"], t["about"]): t["row"] for t in json.loads(row.troubles)}
        return found


def _run_values(report: Report) -> Row:
    selected = report.run.selected_checks
    return {
        "id": report.run.id,
        "environment": report.run.environment,
        "started": report.run.started,
        "finished": report.run.finished,
        "status": report.verdict.status,
        "safe_users": report.verdict.safe_users,
        "target": report.target.production_users,
        "points": len(report.points),
        "selected": None if selected is None else json.dumps(selected),
        "partial": report.run.partial,
        "report": gzip.compress(report.to_json().encode("utf-8"), compresslevel=6, mtime=0),
    }


def _point_values(report: Report, point: PointReport, at: str, *, known: bool) -> Row:
    schema = point.measurements.get("schema")
    fingerprint = _fingerprint(schema)
    record = {
        "profile": point.measurements.get("profile"),
        "schema": schema,
        "rows": point.rows if point.rows.get("counted") is not None else None,
        "fingerprint": fingerprint,
        "workbook": point.measurements.get("workbook"),
        "watermark": (point.measurements.get("completeness") or {}).get("watermark"),
        "amplification": (point.measurements.get("resilience") or {}).get("amplification"),
    }
    drifted = any(
        f["severity"] != "info" and not f.get("waived") for c in point.checks if c.check == "drift" for f in c.findings
    )
    something = any(record[name] is not None for name in ("profile", "schema", "rows"))
    return {
        "run": report.run.id,
        "point": point.id,
        "environment": report.run.environment,
        "at": at,
        "status": point.status,
        "fingerprint": fingerprint,
        "accepted": something and not report.run.partial and not (drifted and known),
        "record": json.dumps(record, ensure_ascii=False),
    }


def _check_values(report: Report, point: PointReport, at: str) -> list[Row]:
    told: dict[str, list[Row]] = {}
    for (name, code, about), row in troubles(point).items():
        told.setdefault(name, []).append({"code": code, "about": about, "row": row})
    return [
        {
            "run": report.run.id,
            "point": point.id,
            "name": check.check,
            "environment": report.run.environment,
            "at": at,
            "status": check.status,
            "troubles": json.dumps(told.get(check.check, []), ensure_ascii=False),
        }
        for check in point.checks
        if check.status != "skipped"
    ]


def _fingerprint(schema: Any) -> str | None:
    if not schema:
        return None
    return hashlib.sha256(json.dumps(schema, sort_keys=True).encode()).hexdigest()[:32]


def _absolute(url: str, folder: Path) -> str:
    """A SQLite path is relative to weighbridge.toml, like every other path."""
    match = re.match(r"^(sqlite(?:\+\w+)?:///)(?![/\\]|[A-Za-z]:|:memory:)(.+)$", url)
    return f"{match[1]}{folder / match[2]}" if match else url


def _shown(url: str) -> str:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return "the address of [history] url"
