"""`weighbridge infer`: draft a contract from a live system."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from weighbridge.commands import options

if TYPE_CHECKING:
    from weighbridge.connectors.base import Connector, Page
    from weighbridge.draft import Seen

__all__ = ["command"]

ENVIRONMENTS = ("sandbox", "staging", "production")
MOST_OBJECTS = 25


@click.command()
@click.argument("system")
@click.argument("objects", nargs=-1)
@options.config
@click.option("--env", "environment", type=click.Choice(ENVIRONMENTS), default="staging", show_default=True)
@click.option(
    "--rows", type=click.IntRange(min=1), default=100_000, show_default=True, help="Rows read of each object."
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="File to write; - prints. contracts/SYSTEM.odcs.yaml if not given."
)
@click.option(
    "--into", type=click.Path(path_type=Path, dir_okay=False), help="A contract to add objects and columns to."
)
def command(
    *,
    system: str,
    objects: tuple[str, ...],
    config: Path | None,
    environment: str,
    rows: int,
    out: Path | None,
    into: Path | None,
) -> int:
    """Draft a contract from what SYSTEM holds: all its objects, or those named.

    Types, nulls, keys, lengths, enumerations, formats and references are proposed where the rows keep them, each with
    its evidence in a comment; columns that look personal are classified. With --into what is new is added to an
    existing contract; its own words and comments stay as they are.
    """
    from weighbridge.draft import draft_contract
    from weighbridge.errors import UsageProblem
    from weighbridge.project import Project

    if out is not None and into is not None:
        raise UsageProblem("Give --out or --into, not both.")
    project = Project.load(config)
    found = project.system(system, environment)
    if into is None and out is None:
        out = project.folder / "contracts" / f"{system}.odcs.yaml"
    if out is not None and str(out) != "-" and out.exists():
        raise UsageProblem(f"{out} exists. Name another file with --out, or add what is new to it with --into {out}.")
    if into is not None and not into.is_file():
        raise UsageProblem(f"{into}: there is no such file to add to.")
    with tempfile.TemporaryDirectory(prefix="weighbridge-") as folder:
        with contextlib.closing(found.connector()) as connector:
            connector.open()
            names, left_out = _names(connector, objects, system)
            seen = [_look(connector, name, Path(folder) / f"{i}.duckdb", rows) for i, name in enumerate(names)]
        if into is not None:
            added = _add(into, seen)
            click.echo(f"{into}: {added} added." if added else f"{into}: nothing is new.")
            return 0
        text = draft_contract(system, seen, left_out=left_out)
    if str(out) == "-":
        click.echo(text, nl=False)
        return 0
    assert out is not None  # noqa: S101 - set above
    from weighbridge.report.files import write_atomically

    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, text)
    click.echo(
        f"{out}: {len(seen)} object(s) drafted. Read it, change what is not meant, then `weighbridge contract lint`."
    )
    return 0


def _names(connector: Connector, wanted: Sequence[str], system: str) -> tuple[list[str], list[str]]:
    from weighbridge.errors import UsageProblem

    if wanted:
        return list(wanted), []
    everything = list(connector.objects())
    if not everything:
        raise UsageProblem(f"{system} does not list its objects; name them: weighbridge infer {system} OBJECT ...")
    return everything[:MOST_OBJECTS], everything[MOST_OBJECTS:]


class _FirstRows:
    """A connector that stops reading after so many rows."""

    def __init__(self, connector: Connector, rows: int) -> None:
        self.session = connector.session
        self.stopped = False
        self._connector = connector
        self._rows = rows

    def read(self, object: str, **arguments: Any) -> Iterator[Page]:
        from dataclasses import replace

        left = self._rows
        for page in self._connector.read(object, **arguments):
            if page.batch.num_rows > left:
                self.stopped = True
                kept = tuple(m for m in page.misfits if m.row < left)
                yield replace(page, batch=page.batch.slice(0, left), misfits=kept)
                return
            yield page
            left -= page.batch.num_rows
            if left == 0:
                self.stopped = True
                return


def _look(connector: Connector, name: str, path: Path, rows: int) -> Seen:
    from weighbridge.checks.base import Inconclusive
    from weighbridge.connectors.base import ObjectRef
    from weighbridge.connectors.errors import AccessError, ProtocolError, RejectedError
    from weighbridge.draft import Seen
    from weighbridge.landing import land

    ref = ObjectRef(name)
    schema = connector.discover(ref)
    first = _FirstRows(connector, rows)
    columns = [c.name for c in schema.columns]
    try:
        landing = land(first, ref, path, schema=schema, columns=columns, keys=schema.keys)  # type: ignore[arg-type]  # read and session is all that landing uses
    except (AccessError, RejectedError, ProtocolError, Inconclusive) as error:
        return Seen(name, schema, None, note=error.message)
    return Seen(name, schema, landing, whole=not first.stopped)


def _retarget(drafted: Any, named: dict[str, str]) -> None:
    """Point references to the names that the contract gives its objects; one to no object of it is left out."""
    for item in drafted["properties"]:
        relation = item.get("relationships")
        if relation:
            table, _, column = relation[0]["to"].rpartition(".")
            if table in named:
                relation[0]["to"] = f"{named[table]}.{column}"
            else:
                del item["relationships"]


def _add(path: Path, seen: Sequence[Seen]) -> str:
    """Add objects and columns that the contract lacks; what stands there is left as it was, comments included."""
    from ruamel.yaml import YAML

    from weighbridge.contracts.loader import load
    from weighbridge.draft import draft_object
    from weighbridge.report.files import write_atomically

    load(path)  # a contract that does not lint is mended first
    text = path.read_text(encoding="utf-8")
    yaml = YAML(typ="rt")
    yaml.preserve_quotes = True
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    document = yaml.load(text)
    known = {o.name: o for o in seen}
    there = {item.get("physicalName", item["name"]): item for item in document["schema"]}
    named = {physical: item["name"] for physical, item in there.items()} | {
        o.name: o.name for o in seen if o.name not in there
    }
    objects = columns = 0
    for one in seen:
        drafted = yaml.load("\n".join(["schema:", *draft_object(one, known), ""]))["schema"][0]
        _retarget(drafted, named)
        if one.name not in there:
            document["schema"].append(drafted)
            objects += 1
            continue
        mine = there[one.name]["properties"]
        names = {p.get("physicalName", p["name"]) for p in mine}
        for item in drafted["properties"]:
            if item["name"] not in names:
                item.pop("primaryKey", None)
                mine.append(item)
                columns += 1
    if not objects and not columns:
        return ""
    import io

    buffer = io.StringIO()
    yaml.dump(document, buffer)
    write_atomically(path, buffer.getvalue())
    return f"{objects} object(s), {columns} column(s)"
