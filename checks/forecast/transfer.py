"""Staging is not production: what a figure from one environment may say of another."""

from __future__ import annotations

from dataclasses import dataclass

from weighbridge.checks.base import Permissions
from weighbridge.checks.forecast.ranges import Range

__all__ = ["Transfer", "capacity_transfer", "limit_transfer"]


@dataclass(frozen=True, slots=True)
class Transfer:
    """`answers`: whether the figure answers for production; `factor` is what it is multiplied by; `note` says why."""

    answers: bool
    factor: Range
    note: str | None


def capacity_transfer(permissions: Permissions) -> Transfer:
    """For what was measured: speed, slots, drain rates.

    A practice system stands for itself. Staging stands for production only where somebody signed for it.
    """
    if permissions.environment in ("production", "sandbox"):
        return Transfer(True, Range.exact(1.0), None)
    signed = permissions.transfer_note or "unsigned"
    if permissions.capacity_factor is not None:
        low, high = sorted(permissions.capacity_factor)
        return Transfer(
            True, Range(low, (low * high) ** 0.5, high), f"capacity_factor = [{low:g}, {high:g}] ({signed})"
        )
    if permissions.production_like:
        return Transfer(True, Range.exact(1.0), f"production_like = true ({signed})")
    return Transfer(
        False,
        Range.exact(1.0),
        f"about {permissions.environment} only: neither production_like nor capacity_factor is declared",
    )


def limit_transfer(limit_environment: str, permissions: Permissions) -> Transfer:
    """For quotas, rates and caps: one learned in staging is never production's, whatever was signed."""
    if limit_environment == "production" or permissions.environment == "sandbox":
        return Transfer(True, Range.exact(1.0), None)
    return Transfer(
        False,
        Range.exact(1.0),
        f"a limit of {limit_environment} is not production's: declare production's under [[systems.NAME.limits]] "
        "or read it with `weighbridge limits --env production`",
    )
