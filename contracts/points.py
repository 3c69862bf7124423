"""Makes the integration points of contracts: one an object and system, each with the scale it must carry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from weighbridge.contracts.models import Contract, IntegrationPoint, SchemaObject, SlaProperty
from weighbridge.contracts.problems import ContractError, Problem
from weighbridge.contracts.rules import compile_rules
from weighbridge.contracts.scale import Scale

__all__ = ["points", "scale_of"]

_MILLISECONDS = {"ms": 1, "millisecond": 1, "milliseconds": 1, "s": 1000, "second": 1000, "seconds": 1000}


def points(contracts: Iterable[Contract], default_scale: Scale, users: int | None = None) -> list[IntegrationPoint]:
    """Every integration point, in the order of the files. `users` is what `--users` said: it overrides all else.

    Raises ContractError where a point id occurs twice or a service level does not fit the scale.
    """
    found: dict[str, IntegrationPoint] = {}
    problems: list[Problem] = []
    for contract in contracts:
        scales: dict[str, Scale] = {}
        rules: dict[str, Any] = {}
        for item in contract.objects:
            try:
                scales[item.name] = scale_of(contract, item, default_scale, users)
            except ContractError as error:
                problems += error.problems
                continue
            rules[item.name] = compile_rules(contract, item)
        for system in dict.fromkeys(s.server for s in contract.servers):
            for item in contract.objects:
                if item.name not in scales:
                    continue
                point = IntegrationPoint(system, item, contract, scales[item.name], rules[item.name])
                if point.id in found:
                    first = found[point.id]
                    problems.append(
                        Problem(
                            contract.path,
                            item.line,
                            1,
                            f"the integration point {point.id} is already promised by {first.contract.path}, "
                            f"line {first.object.line}; one of the two must go",
                        )
                    )
                else:
                    found[point.id] = point
    if problems:
        raise ContractError(sorted(set(problems)))
    return list(found.values())


def scale_of(
    contract: Contract,
    object: SchemaObject,
    default: Scale,
    users: int | None = None,
) -> Scale:
    """The scale of one object: its slaProperties over `default`; `users` over both."""
    values: dict[str, Any] = default.model_dump()
    said: dict[str, SlaProperty] = {}
    for sla in contract.sla:
        if sla.element and object.name not in {e.strip().split(".")[0] for e in sla.element.split(",")}:
            continue
        key, value = _scale_value(sla)
        if key is not None:
            values[key] = value
            said[key] = sla
    if users is not None:
        values["production_users"] = users
        said.pop("production_users", None)
    try:
        return Scale.model_validate(values)
    except ValidationError as error:
        raise ContractError(
            [
                Problem(
                    contract.path,
                    said[str(e["loc"][0])].line if e["loc"] and str(e["loc"][0]) in said else 1,
                    1,
                    f"the service level {'.'.join(str(p) for p in e['loc'])} = {e['input']!r:.60}: {e['msg']}",
                )
                for e in error.errors(include_url=False)
            ]
        ) from None


def _scale_value(sla: SlaProperty) -> tuple[str | None, Any]:
    """The key of the scale that a service level sets, and its value in that key's unit."""
    value = sla.value
    if sla.property in Scale.model_fields:
        if sla.property == "mix" and isinstance(value, str):
            return "mix", _mix(value)
        return sla.property, value
    unit = (sla.unit or "").lower()
    if sla.property == "latency" and "." not in (sla.element or "") and unit in _MILLISECONDS:
        return "latency_objective_ms", _times(value, _MILLISECONDS[unit])
    if sla.property == "errorRate":
        return "error_objective", _times(value, 0.01) if unit in ("%", "percent") else value
    return None, None


def _times(value: Any, factor: float) -> Any:
    return value * factor if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def _mix(text: str) -> Mapping[str, Any]:
    """`lookup=0.8, page=0.2` as a mapping, for a service level's value is one word."""
    parts = (p.partition("=") for p in text.split(",") if p.strip())
    return {name.strip(): share.strip() for name, _, share in parts}
