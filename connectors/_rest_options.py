"""How a JSON API is described: where lists stand, how pages follow each other, what counts and what looks up."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from weighbridge.connectors._rest_infer import TYPES
from weighbridge.connectors._web_auth import LoginOptions

__all__ = ["RestObject", "RestOptions"]

Paging = Literal["none", "link_header", "cursor", "offset", "page"]


class RestObject(BaseModel):
    """One list of records."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str
    """Below the url: `/crm/v3/objects/contacts`."""
    rows: str = ""
    """Where in the answer the list stands, `results`; empty: the answer is the list."""
    record: str = ""
    """Where in an item the fields stand, `properties`; the item's own plain fields are kept beside them."""
    key: tuple[str, ...] | str = ("id",)
    paging: Paging = "none"
    cursor: str = ""
    """Where in the answer the next cursor (or the next page's whole address) stands."""
    cursor_parameter: str = "cursor"
    offset_parameter: str = "offset"
    page_parameter: str = "page"
    first_page: int = 1
    size_parameter: str | None = None
    page_rows: Annotated[int, Field(ge=1)] = 100
    parameters: dict[str, str] = Field(default_factory=dict)
    """Sent with every call."""
    count_path: str | None = None
    """A call of its own that counts."""
    count_value: str | None = None
    """Where the number stands in the answer of `count_path`, else in that of the list."""
    count_header: str | None = None
    """The header of the list's answer that holds the number, `X-Total-Count`."""
    lookup: str | None = None
    """Path of one record, `/crm/v3/objects/contacts/{id}`."""
    modified: str | None = None
    """The column that moves when a record changes."""
    modified_parameter: str | None = None
    """The parameter that narrows the list to what changed since a moment (ISO 8601)."""
    types: dict[str, str] = Field(default_factory=dict)
    """Columns whose type is not to be inferred: text, integer, number, float, boolean, date, timestamp, ..."""

    @field_validator("types")
    @classmethod
    def _known(cls, value: dict[str, str]) -> dict[str, str]:
        for name, word in value.items():
            if word not in TYPES:
                raise ValueError(f"{name}: no type '{word}'; there are {', '.join(TYPES)}")
        return value

    @model_validator(mode="after")
    def _whole(self) -> RestObject:
        if self.paging == "cursor" and not self.cursor:
            raise ValueError("paging = 'cursor' needs cursor, the place of the next cursor in the answer")
        return self

    @property
    def keys(self) -> tuple[str, ...]:
        return (self.key,) if isinstance(self.key, str) else self.key


class RestOptions(LoginOptions):
    """The address, the login and the lists by the names that contracts use as physicalName."""

    url: SecretStr
    objects: dict[str, RestObject]
