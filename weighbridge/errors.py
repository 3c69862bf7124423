"""Errors of the runner: bad use, found before any system is touched."""

from __future__ import annotations

__all__ = ["DeliveryProblem", "UsageProblem"]


class UsageProblem(Exception):
    """A flag, file or setting that cannot be used; one paragraph saying what, where and what to do. Exit code 2."""


class DeliveryProblem(Exception):
    """The work was done but a report or an alert could not be delivered. Exit code 4."""
