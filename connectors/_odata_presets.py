"""Where products differ from plain OData, as data: paging, counting, change columns, published limits.

`proven` is False for a preset that no server here can confirm: it is written from the vendor's documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

__all__ = ["PRESETS", "Preset", "Published"]

Paging = Literal["auto", "keyset", "next_link", "skip"]


@dataclass(frozen=True, slots=True)
class Published:
    """A limit the vendor publishes; `page` names where."""

    name: str
    scope: str
    cap: float
    unit: str
    window: str | None
    page: str


@dataclass(frozen=True, slots=True)
class Preset:
    product: str = "OData service"
    proven: bool = True
    paging: Paging = "auto"
    page_rows: int = 1000
    count_cap: int | None = None
    """/$count answers this number for every larger set."""
    modified: tuple[str, ...] = (
        "LastChangeDateTime",
        "LastChangedAt",
        "LastChangedDateTime",
        "LastModifiedDateTime",
        "lastModifiedDateTime",
        "ModifiedOn",
        "modifiedon",
        "ModifiedDate",
        "UpdatedAt",
        "Changed",
    )
    headers: Mapping[str, str] = field(default_factory=dict)
    limits: tuple[Published, ...] = ()


DATAVERSE_LIMITS = "learn.microsoft.com/power-apps/developer/data-platform/api-limits"
BC_LIMITS = "learn.microsoft.com/dynamics365/business-central/dev-itpro/administration/operational-limits-online"

PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "plain": Preset(),
        "sap_s4": Preset(
            product="SAP S/4HANA",
            proven=False,
            page_rows=1000,
            modified=("LastChangeDateTime", "LastChangedDateTime", "ChangedOn", "LastChangeDate"),
        ),
        "dataverse": Preset(
            product="Microsoft Dataverse / Dynamics 365",
            proven=False,
            paging="next_link",  # its paging cookie is stable; a uniqueidentifier has no useful order
            page_rows=5000,
            count_cap=5000,
            modified=("modifiedon",),
            headers={"OData-MaxVersion": "4.0", "OData-Version": "4.0"},
            limits=(
                Published("requests_per_window", "user", 6000, "calls", "300 s", DATAVERSE_LIMITS),
                Published("execution_seconds_per_window", "user", 1200, "seconds", "300 s", DATAVERSE_LIMITS),
                Published("concurrent_calls", "user", 52, "calls", "concurrent", DATAVERSE_LIMITS),
            ),
        ),
        "business_central": Preset(
            product="Microsoft Dynamics 365 Business Central",
            proven=False,
            paging="next_link",
            page_rows=5000,
            modified=("lastModifiedDateTime", "systemModifiedAt"),
            headers={"Data-Access-Intent": "ReadOnly"},
            limits=(
                Published("requests_per_window", "user", 6000, "calls", "300 s", BC_LIMITS),
                Published("concurrent_calls", "user", 100, "calls", "concurrent", BC_LIMITS),
                Published("statement_timeout", "server", 480, "seconds", None, BC_LIMITS),
            ),
        ),
    }
)
