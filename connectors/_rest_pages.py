"""How one page of a described JSON API leads to the next, and what its rows are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin

from weighbridge.connectors._rest_infer import at_path, flatten
from weighbridge.connectors._rest_options import RestObject
from weighbridge.connectors.errors import ProtocolError, SettingsError
from weighbridge.connectors.http import Answer

__all__ = ["Step", "rows_of"]


@dataclass(frozen=True, slots=True)
class Step:
    """Where the next page is: an address, a cursor, or a number (offset or page)."""

    address: str | None = None
    cursor: str | None = None
    number: int | None = None

    @classmethod
    def of(cls, about: RestObject, after: str | None) -> Step:
        if after is None:
            start = {"offset": 0, "page": about.first_page}.get(about.paging)
            return cls(number=start)
        try:
            address, cursor, number = json.loads(after)
        except (ValueError, TypeError):
            raise SettingsError("the cursor to read after is not one of this connector.") from None
        return cls(address, cursor, number)

    def text(self) -> str:
        return json.dumps([self.address, self.cursor, self.number])

    def request(self, about: RestObject, base: Mapping[str, str]) -> tuple[str, dict[str, str] | None]:
        if self.address is not None:
            return self.address, None
        query = dict(base)
        if self.cursor is not None:
            query[about.cursor_parameter] = self.cursor
        if self.number is not None:
            query[about.offset_parameter if about.paging == "offset" else about.page_parameter] = str(self.number)
        return about.path, query

    def following(self, about: RestObject, answer: Answer, rows: list[Any]) -> Step | None:
        if about.paging == "link_header":
            link = _next_link(answer.headers.get("Link", ""))
            return Step(address=urljoin(answer.url, link)) if link else None
        if about.paging == "cursor":
            told = at_path(answer.json(), about.cursor)
            if told in (None, "", False):
                return None
            text = str(told)
            if text.startswith(("http://", "https://", "/")):
                return Step(address=urljoin(answer.url, text))
            return Step(cursor=text)
        if about.paging == "none" or self.number is None or not rows:
            return None
        return Step(number=self.number + (len(rows) if about.paging == "offset" else 1))


def _next_link(header: str) -> str | None:
    from requests.utils import parse_header_links

    if not header.strip():
        return None
    found = (link.get("url") for link in parse_header_links(header) if "next" in link.get("rel", "").lower().split())
    return next(found, None)


def rows_of(name: str, about: RestObject, body: Any) -> list[dict[str, Any]]:
    rows = at_path(body, about.rows)
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        where = f"'{about.rows}'" if about.rows else "the answer itself"
        raise ProtocolError(
            f"{name}: {where} is no list of records.",
            remedy="Correct the option rows, or ask the API's owner whether its form changed.",
        )
    if not about.record:
        return [flatten(row) for row in rows]
    found: list[dict[str, Any]] = []
    for row in rows:
        inner = at_path(row, about.record)
        if not isinstance(inner, Mapping):
            raise ProtocolError(f"{name}: a row without '{about.record}'.", remedy="Correct the option record.")
        plain = {k: v for k, v in row.items() if not isinstance(v, Mapping | list)}
        found.append({**plain, **flatten(inner)})
    return found
