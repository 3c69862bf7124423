"""Reads an object's records: queries with locators in the order of Id, or Bulk API 2.0, with honest page seams.

Every statement is ordered by a key, so that a read can go on behind its last record when a locator expires or a
server repeats a page: nothing is lost and nothing comes twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.csv

from weighbridge.connectors._rows import fruitless
from weighbridge.connectors._salesforce_errors import LocatorGone
from weighbridge.connectors._salesforce_types import batch_of
from weighbridge.connectors.base import Column, Observation, Page
from weighbridge.connectors.errors import MissingObjectError, ProtocolError, RejectedError

if TYPE_CHECKING:
    from simple_salesforce.api import Salesforce

    from weighbridge.connectors.http import HttpClient
    from weighbridge.connectors.session import Session

__all__ = ["BULK_PAGE", "PAGE", "Question", "bulk_pages", "query_pages", "quoted"]

PAGE = 2000
"""Records a page at most; Salesforce takes 200 to 2,000 as a batch size."""
SMALLEST_BATCH = 200
BULK_PAGE = 10_000
MOST_RESTARTS = 3
"""Restarts without a new record before the server's paging is called broken."""


@dataclass(frozen=True, slots=True)
class Question:
    """One object to read: its columns, filter, and the keys that order it."""

    object: str
    columns: tuple[Column, ...]
    where: str | None = None
    order: tuple[str, ...] = ("Id",)
    after: tuple[str, ...] | None = None
    """Values of `order` behind which to begin."""
    since: str | None = None
    """A condition that stays in force: the watermark."""

    def soql(self, *, limit: int | None = None, ordered: bool = True) -> str:
        names = ", ".join(c.name for c in self.columns)
        parts = [f"({self.where})"] if self.where else []
        if self.since:
            parts.append(self.since)
        if self.after is not None:
            parts.append(self._behind())
        text = f"SELECT {names} FROM {self.object}"
        if parts:
            text += " WHERE " + " AND ".join(parts)
        if ordered:
            text += " ORDER BY " + ", ".join(self.order)
        return text + (f" LIMIT {limit}" if limit else "")

    def _behind(self) -> str:
        values = [self._literal(name, value) for name, value in zip(self.order, self.after or (), strict=True)]
        if len(values) == 1:
            return f"{self.order[0]} > {values[0]}"
        first, second = self.order
        return f"({first} > {values[0]} OR ({first} = {values[0]} AND {second} > {values[1]}))"

    def _literal(self, name: str, value: str) -> str:
        column = next(c for c in self.columns if c.name == name)
        if pa.types.is_timestamp(column.type):
            return value.replace("+0000", "Z")
        return quoted(value)


def quoted(value: Any) -> str:
    """A value as a SOQL string literal."""
    text = str(value).replace("\\", "\\\\").replace("'", "\\'")
    return "'" + text.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t") + "'"


@dataclass(slots=True)
class _Seams:
    """What was read so far: enough to see a page that comes twice, in memory that grows with pages, not rows."""

    firsts: set[str]
    rows: int = 0
    restarts: int = 0
    repeated: int = 0
    expired: int = 0
    last: tuple[str, ...] | None = None


def query_pages(
    sf: Salesforce,
    client: HttpClient,
    session: Session,
    question: Question,
    *,
    deleted: bool,
    page_rows: int | None,
    give_way: Callable[[int], bool] | None = None,
) -> Iterator[Page]:
    """Pages by query and queryMore. `give_way(total)` true on the first answer ends the read before any page."""
    rows = min(page_rows or PAGE, PAGE)
    limit = rows if rows < SMALLEST_BATCH else None
    headers = {"Sforce-Query-Options": f"batchSize={max(rows, SMALLEST_BATCH)}"}
    seams = _Seams(set())
    total: int | None = None
    resume: str | None = None
    empty = 0
    while True:
        sends, started = client.sends, time.monotonic()
        try:
            with client.wire.calling("read"):
                if resume is None:
                    answer = sf.query(question.soql(limit=limit), include_deleted=deleted, headers=headers)
                else:
                    answer = sf.query_more(resume, identifier_is_url=True, headers=headers)
        except LocatorGone:
            _restart(seams, question)
            seams.expired += 1
            question, resume = replace(question, after=seams.last or question.after), None
            continue
        seconds = time.monotonic() - started
        records, done, onward = _parts(answer, question)
        empty = 0 if records else empty + 1
        fruitless(question.object, empty)
        if total is None:
            total = int(answer.get("totalSize", 0)) if limit is None else -1
            if give_way is not None and give_way(total):
                return
        if records and records[0]["Id"] in seams.firsts:
            _restart(seams, question)
            seams.repeated += 1
            question, resume = replace(question, after=seams.last), None
            continue
        if limit is not None:
            done = len(records) < limit
        if records:
            seams.firsts.add(records[0]["Id"])
            seams.restarts = 0
            seams.rows += len(records)
            seams.last = tuple(str(records[-1][name]) for name in question.order)
        seen = _seam_observations(seams, total, question) if done else ()
        if records or seen:
            values = [_column(records, c, question) for c in question.columns]
            batch, misfits = batch_of(values, question.columns)
            session.meter.count(rows=len(records))
            yield Page(
                batch,
                ("Id",),
                seconds,
                client.sends - sends,
                misfits,
                "|".join(seams.last) if seams.last else None,
                seen,
            )
        if done:
            return
        if limit is not None:
            question = replace(question, after=seams.last)
            continue
        if onward is None or (onward == resume and not records):
            _restart(seams, question)
            question, onward = replace(question, after=seams.last or question.after), None
        resume = onward


def _parts(answer: Any, question: Question) -> tuple[list[dict[str, Any]], bool, str | None]:
    """(records, done, next) of an answer, or ProtocolError: `done` without a page is not an end."""
    records = answer.get("records") if isinstance(answer, dict) else None
    done = answer.get("done") if isinstance(answer, dict) else None
    if not isinstance(records, list) or not isinstance(done, bool):
        raise ProtocolError(
            f"{question.object}: the answer to the query holds no records and done.",
            remedy="Something in between answers in Salesforce's place: check instance_url, and ask for its owner.",
        )
    ordered = ("Id", *question.order)
    if not set(map(type, records)) <= {dict} or any(n not in r for r in (*records[:1], *records[-1:]) for n in ordered):
        raise ProtocolError(
            f"{question.object}: the answer holds records without {' or '.join(dict.fromkeys(ordered))}.",
            remedy="Something in between changes the answers; ask for its owner.",
        )
    onward = answer.get("nextRecordsUrl")
    if onward is not None and not (isinstance(onward, str) and onward.startswith("/")):
        raise ProtocolError(
            f"{question.object}: nextRecordsUrl leaves this org; credentials do not follow.",
            remedy="Tell the Salesforce administrator; a gateway may rewrite addresses.",
        )
    return records, done, onward


def _restart(seams: _Seams, question: Question) -> None:
    seams.restarts += 1
    if seams.restarts > MOST_RESTARTS:
        raise ProtocolError(
            f"{question.object}: the server's paging does not go on: after {seams.rows} records the same page came "
            f"{MOST_RESTARTS} times.",
            remedy="Read it again; if it stays, tell Salesforce's support or the gateway's owner.",
        )


def _seam_observations(seams: _Seams, total: int | None, question: Question) -> tuple[Observation, ...]:
    seen: list[Observation] = []
    if seams.repeated:
        seen.append(
            Observation(
                "page_repeated",
                f"{question.object}: the server repeated a page, {seams.repeated} times; the read went on behind it.",
                {"times": seams.repeated},
            )
        )
    if seams.expired:
        seen.append(
            Observation(
                "locator_expired",
                f"{question.object}: the query locator expired {seams.expired} times; read on behind the last record.",
                {"times": seams.expired},
            )
        )
    if total is not None and total >= 0 and total != seams.rows:
        seen.append(
            Observation(
                "rows_moved",
                f"{question.object}: the query promised {total} records and {seams.rows} came: records were added or "
                "removed while it was read.",
                {"expected": total, "read": seams.rows},
            )
        )
    return tuple(seen)


def _column(records: list[dict[str, Any]], column: Column, question: Question) -> list[Any]:
    name = column.name
    try:
        return list(map(itemgetter(name), records))
    except (KeyError, TypeError):
        raise MissingObjectError(
            f"{question.object}: the field {name} disappeared while the object was read.",
            remedy="Somebody removed it or hid it from the integration user; read again.",
        ) from None


def bulk_pages(
    sf: Salesforce,
    client: HttpClient,
    session: Session,
    question: Question,
    *,
    deleted: bool,
    page_rows: int | None,
    wait: float,
) -> Iterator[Page]:
    """Pages through a Bulk API 2.0 query job. The order is the server's: such a read cannot be resumed."""
    bulk = getattr(sf.bulk2, question.object)._client
    started, sends = time.monotonic(), client.sends
    with client.wire.calling("bulk", idempotent=False):
        from simple_salesforce.bulk2 import Operation

        operation = Operation.query_all if deleted else Operation.query
        job = bulk.create_job(operation, query=question.soql(ordered=False))["id"]
    try:
        info = _finished(bulk, client, session, job, wait, question)
        total = int(info.get("numberRecordsProcessed") or 0)
        locator, rows, seen = "", 0, set[str]()
        while True:
            table, onward, told = _bulk_page(client, sf, job, locator, page_rows, question)
            if table.num_rows != told:
                raise ProtocolError(
                    f"{question.object}: a bulk page promised {told} records and held {table.num_rows}.",
                    remedy="Read it again; a proxy may cut answers.",
                )
            rows += told
            seconds = time.monotonic() - started
            batch, misfits = batch_of([table.column(c.name) for c in question.columns], question.columns)
            session.meter.count(rows=told)
            done = onward in ("", "null")
            notes = ()
            if done and rows != total:
                text = f"{question.object}: the bulk job processed {total} records and {rows} came."
                notes = (Observation("rows_moved", text, {"expected": total, "read": rows}),)
            if told or notes:
                yield Page(batch, ("Id",), seconds, client.sends - sends, misfits, None, notes)
                started, sends = time.monotonic(), client.sends
            if done:
                return
            if onward in seen:
                raise ProtocolError(f"{question.object}: the bulk locator loops.", remedy="Read it again.")
            seen.add(onward)
            locator = onward
    finally:
        _let_go(client, sf, job)


def _finished(
    bulk: Any, client: HttpClient, session: Session, job: str, wait: float, question: Question
) -> dict[str, Any]:
    started, pause = session.clock(), 0.05
    while True:
        with client.wire.calling("bulk"):
            info = bulk.get_job(job, True)
        state = info.get("state")
        if state == "JobComplete":
            return info
        if state in ("Failed", "Aborted"):
            raise RejectedError(
                f"{question.object}: the bulk job ended as {state}: {str(info.get('errorMessage') or '')[:200]}.",
                remedy="Look at Setup, Bulk Data Load Jobs; set bulk = 'never' to read page by page.",
            )
        if session.clock() - started > wait:
            raise RejectedError(
                f"{question.object}: the bulk job was not done after {wait:.0f} s.",
                remedy="Raise bulk_wait, or set bulk = 'never'.",
            )
        session.sleep(pause)
        pause = min(pause * 1.6, 5.0)


def _bulk_page(
    client: HttpClient, sf: Salesforce, job: str, locator: str, page_rows: int | None, question: Question
) -> tuple[pa.Table, str, int]:
    params: dict[str, Any] = {"maxRecords": min(page_rows or BULK_PAGE, BULK_PAGE)}
    if locator:
        params["locator"] = locator
    answer = client.request(
        "GET", f"{_root(sf)}jobs/query/{job}/results", params=params, accept="text/csv", operation="bulk"
    )
    if "csv" not in answer.media_type:
        raise ProtocolError(f"{question.object}: a bulk page came as '{answer.media_type}', not CSV.")
    names = [c.name for c in question.columns]
    try:
        table = pyarrow.csv.read_csv(
            pa.BufferReader(answer.body),
            # a page is small: threads would only hold memory of their own
            read_options=pyarrow.csv.ReadOptions(use_threads=False),
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types={n: pa.string() for n in names}, null_values=[""], strings_can_be_null=True
            ),
        )
        told = int(answer.headers.get("Sforce-NumberOfRecords", table.num_rows))
    except (pa.ArrowInvalid, ValueError) as error:
        raise ProtocolError(f"{question.object}: a bulk page is not whole CSV ({str(error)[:80]}).") from None
    missing = [n for n in names if n not in table.column_names]
    if missing:
        raise MissingObjectError(
            f"{question.object}: the field {missing[0]} is missing from the bulk job's result.",
            remedy="Somebody removed it or hid it from the integration user; read again.",
        )
    return table, answer.headers.get("Sforce-Locator", ""), told


def _let_go(client: HttpClient, sf: Salesforce, job: str) -> None:
    """Delete the job: its result counts against the org's storage for a week."""
    from contextlib import suppress

    from weighbridge.connectors.errors import ConnectorError

    with suppress(ConnectorError):
        client.request("DELETE", f"{_root(sf)}jobs/query/{job}", operation="bulk", idempotent=True)


def _root(sf: Salesforce) -> str:
    return f"services/data/v{sf.sf_version}/"
