"""Writing to OData: create, update under an ETag, find again, delete; one outcome a record."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from weighbridge.connectors._odata_client import ODataClient, Target
from weighbridge.connectors._odata_types import array_of, arrow_type
from weighbridge.connectors.base import Key, OperationResult, TableSchema, WriteOutcome
from weighbridge.connectors.errors import (
    AccessError,
    MissingObjectError,
    ProtocolError,
    RejectedError,
    RetriableError,
)

__all__ = ["delete", "find", "rewritable", "rewrite", "write"]

CHUNK = 20
"""Values in one `$filter`; addresses stay under 2,000 characters or so."""
Etags = dict[tuple[str, Key], str]
PER_RECORD = (RejectedError, AccessError, MissingObjectError, RetriableError, ProtocolError)
"""What one record may end in without ending the others; the rest (login, budget, quota) ends the call."""


def _outcome(call: Callable[[], WriteOutcome]) -> WriteOutcome:
    try:
        return call()
    except PER_RECORD as error:
        return WriteOutcome(False, error=error.message, error_class=type(error).__name__)


def _body(target: Target, record: Mapping[str, Any]) -> dict[str, Any]:
    kind = target.entity_set.type
    found: dict[str, Any] = {}
    for name, value in record.items():
        declared = kind.property(name)
        found[name] = value if declared is None else target.protocol.json_value(value, declared.type)
    return found


def _key_of(target: Target, row: Mapping[str, Any]) -> Key:
    return tuple(row[name] for name in target.entity_set.type.keys)


def _typed_key(target: Target, row: Mapping[str, Any]) -> Key:
    """The key of a raw row in the types of `discover`, as `find` gives it."""
    found: list[Any] = []
    for name in target.entity_set.type.keys:
        declared = target.entity_set.type.property(name)
        if declared is None:
            raise ProtocolError(f"{target.name}: the key {name} is not declared.")
        array, _ = array_of([row.get(name)], arrow_type(declared), column=name, native=declared.type)
        found.append(array[0].as_py())
    return tuple(found)


def write(
    client: ODataClient, target: Target, records: Sequence[Mapping[str, Any]], *, key: str | None
) -> list[WriteOutcome]:
    """Create each record, or update the one whose column `key` has the same value."""
    return [_outcome(lambda r=record: _write_one(client, target, r, key)) for record in records]


def _write_one(client: ODataClient, target: Target, record: Mapping[str, Any], key: str | None) -> WriteOutcome:
    if key is not None:
        rows = _raw(client, target, key, [record[key]])
        if len(rows) > 1:
            raise RejectedError(f"{target.name}: {len(rows)} records have the same {key}; none was changed.")
        if rows:
            url = client.key_url(target, _key_of(target, rows[0]))
            changes = {k: v for k, v in _body(target, record).items() if k not in target.entity_set.type.keys}
            etag = target.protocol.etag(rows[0])
            client.send(target, target.protocol.update, url, body=changes, etag=etag, operation="write")
            return WriteOutcome(True, id=_id(_typed_key(target, rows[0])), created=False)
    answer = client.send(target, "POST", target.url, body=_body(target, record), operation="write")
    if not answer.body:
        keys = target.entity_set.type.keys
        return WriteOutcome(True, id=_id(tuple(record.get(k) for k in keys)), created=True)
    made = target.protocol.entity(answer.json(), target.name)
    return WriteOutcome(True, id=_id(_typed_key(target, made)), created=True)


def _id(key: Key) -> Any:
    return key[0] if len(key) == 1 else key


def _raw(client: ODataClient, target: Target, column: str, values: Sequence[Any]) -> list[Mapping[str, Any]]:
    declared = target.entity_set.type.property(column)
    if declared is None:
        raise MissingObjectError(f"{target.name} has no column '{column}'.")
    rows: list[Mapping[str, Any]] = []
    for start in range(0, len(values), CHUNK):
        words = [f"{column} eq {target.protocol.literal(v, declared.type)}" for v in values[start : start + CHUNK]]
        address: str | None = target.url
        query: Mapping[str, str | None] | None = {"$filter": " or ".join(words)}
        seen: set[str] = set()
        while address is not None and address not in seen:
            answer = client.get(target, address, query, operation="find")
            if query is None:
                seen.add(address)
            page, following, _ = target.protocol.rows(answer.json(), target.name)
            rows += page
            query = None
            address = client.onward(following, answer.url, target)[0] if following else None
    return rows


def find(
    client: ODataClient, target: Target, schema: TableSchema, column: str, values: Sequence[Any], etags: Etags
) -> list[dict[str, Any]]:
    """The records in the types of `discover`; their ETags are kept for `delete`."""
    rows = _raw(client, target, column, values)
    columns: dict[str, list[Any]] = {}
    for declared in schema.columns:
        raw = [row.get(declared.name) for row in rows]
        array, _ = array_of(raw, declared.type, column=declared.name, native=declared.native)
        columns[declared.name] = array.to_pylist()
    found = [{name: column_[n] for name, column_ in columns.items()} for n in range(len(rows))]
    for row, record in zip(rows, found, strict=True):
        etag = target.protocol.etag(row)
        if etag:
            etags[target.name, _key_of(target, record)] = etag
    return found


def delete(
    client: ODataClient, target: Target, records: Sequence[Mapping[str, Any]], etags: Etags
) -> list[WriteOutcome]:
    """Remove records, each only if it is still as `find` saw it."""

    def one(record: Mapping[str, Any]) -> WriteOutcome:
        key = _key_of(target, record)
        etag = etags.pop((target.name, key), "*")
        client.send(target, "DELETE", client.key_url(target, key), etag=etag, operation="delete")
        return WriteOutcome(True, id=_id(key), created=False)

    return [_outcome(lambda r=record: one(r)) for record in records]


def rewritable(target: Target) -> str | None:
    """A text column that may be written with its own value: the load check's harmless write."""
    kind = target.entity_set.type
    return next(
        (p.name for p in kind.properties if p.type == "Edm.String" and p.name not in kind.keys and not p.collection),
        None,
    )


def rewrite(client: ODataClient, target: Target, key: Key, column: str) -> OperationResult:
    """Read a record and write one text back unchanged, as an editing user would: two calls."""
    meter = client.http.session.meter
    attempts, received = meter.attempts, meter.bytes_received
    url = client.key_url(target, key)
    row = target.protocol.entity(client.get(target, url, operation="write").json(), target.name)
    client.send(
        target,
        target.protocol.update,
        url,
        body={column: row.get(column)},
        etag=target.protocol.etag(row),
        operation="write",
    )
    return OperationResult(meter.attempts - attempts, 1, meter.bytes_received - received)
