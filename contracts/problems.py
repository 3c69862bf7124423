"""What is wrong with a contract file: complaints with their place, raised all at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

__all__ = ["ContractError", "Problem"]


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One complaint; `line` and `column` count from 1, 0 where a place cannot be named."""

    path: Path
    line: int
    column: int
    message: str
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}: {self.severity}: {self.message}"


class ContractError(Exception):
    """One or several contract files cannot be used; `problems` holds every complaint, in order of place."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems: list[Problem] = sorted(problems)
        super().__init__("\n".join(str(p) for p in self.problems))

    @property
    def path(self) -> Path:
        return self.problems[0].path

    @property
    def line(self) -> int:
        return self.problems[0].line
