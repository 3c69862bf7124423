"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["config", "names"]

config = click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="weighbridge.toml to use; the nearest at or above the working folder by default.",
)


def names(_context: click.Context, _option: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    """`a,b, c` as a tuple; None when the option was not given."""
    if value is None:
        return None
    found = tuple(part.strip() for part in value.split(",") if part.strip())
    if not found:
        raise click.BadParameter("needs at least one name")
    return found
