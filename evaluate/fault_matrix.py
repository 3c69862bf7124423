"""Every fault on every networked practice system, judged by the check `resilience`: the table of docs/fault-matrix.md.

    python -m evaluate.fault_matrix [--write]

Ends with 1 when anything was lost, duplicated, changed, left hanging, or failed with a wrong class of error.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from evaluate import file_matrix, rest_api
from weighbridge.project import Project
from weighbridge.report.model import Report
from weighbridge.runner import Run
from weighbridge.sandbox import practice
from weighbridge.sandbox.server import start

HERE = Path(__file__).resolve().parent.parent
PAGE = HERE / "docs" / "fault-matrix.md"
SYSTEMS = ("crm", "erp", "legacy")
SOUND = ("recovered", "taken up", "clear error")
MORE = """\
apiVersion: v3.1.0
kind: DataContract
id: fault-matrix
version: 1.0.0
status: active
servers:
  - {server: odoo_rpc, type: custom}
  - {server: odoo_json2, type: custom}
schema:
  - name: SaleOrder
    physicalName: sale.order
    properties:
      - {name: id, logicalType: integer, primaryKey: true, primaryKeyPosition: 1}
      - {name: name, logicalType: string}
"""
DATABASES = """\
apiVersion: v3.1.0
kind: DataContract
id: fault-matrix-databases
version: 1.0.0
status: active
servers:
SERVERS
schema:
  - name: Customer
    physicalName: customers
    properties:
      - {name: customer_no, logicalType: string, primaryKey: true, primaryKeyPosition: 1}
      - {name: name, logicalType: string}
"""
MORE_REST = """\
apiVersion: v3.1.0
kind: DataContract
id: fault-matrix-rest
version: 1.0.0
status: active
servers:
  - {server: rest, type: custom}
schema:
  - name: Link
    physicalName: link
    properties:
      - {name: id, logicalType: integer, primaryKey: true, primaryKeyPosition: 1}
      - {name: name, logicalType: string}
  - name: Cursor
    physicalName: cursor
    properties:
      - {name: id, logicalType: integer, primaryKey: true, primaryKeyPosition: 1}
      - {name: name, logicalType: string}
  - name: Page
    physicalName: page
    properties:
      - {name: id, logicalType: integer, primaryKey: true, primaryKeyPosition: 1}
      - {name: name, logicalType: string}
"""
MORE_V2 = """\
apiVersion: v3.1.0
kind: DataContract
id: fault-matrix-v2
version: 1.0.0
status: active
servers:
  - {server: odata_v2, type: custom}
schema:
  - name: SalesOrder
    physicalName: A_SalesOrder
    properties:
      - {name: SalesOrder, logicalType: string, primaryKey: true, primaryKeyPosition: 1}
      - {name: SoldToParty, logicalType: string}
"""


@contextmanager
def systems(folder: Path) -> Iterator[Project]:
    """All networked practice systems, clean, in one project that asks for the full matrix."""
    contracts = folder / "contracts"
    shutil.copytree(HERE / "contracts" / "practice", contracts)
    (contracts / "more.odcs.yaml").write_text(MORE, encoding="utf-8")
    (contracts / "more-rest.odcs.yaml").write_text(MORE_REST, encoding="utf-8")
    (contracts / "more-v2.odcs.yaml").write_text(MORE_V2, encoding="utf-8")
    with ExitStack() as stack:
        odoo = stack.enter_context(start("weighbridge.sandbox.odoo.app:create", {"rows": 400}))
        api = stack.enter_context(start("evaluate.rest_api:create", {}))
        v2 = stack.enter_context(
            start(
                "weighbridge.sandbox.odata.app:create",
                {
                    "auth": {"kind": "basic", "username": "me", "password": "practice-only"},
                    "services": {"": {"version": 2, "dataset": "company", "rows": 600, "page_rows": 200}},
                },
            )
        )
        running = stack.enter_context(practice.start(folder, names=SYSTEMS, clean=(True,), contracts=contracts))
        databases = _databases(running.running["legacy_clean"].options["url"], stack)
        if databases:
            servers = "\n".join(f"  - {{server: {name}, type: custom}}" for name in databases)
            (contracts / "databases.odcs.yaml").write_text(DATABASES.replace("SERVERS", servers), encoding="utf-8")
        file = folder / "weighbridge.toml"
        lines = file.read_text(encoding="utf-8").splitlines()
        more = [
            f'[systems.odoo_{name}]\nconnector = "odoo"\n[systems.odoo_{name}.sandbox]\nurl = "{odoo.url}"\n'
            f'database = "practice"\n{login}'
            for name, login in (
                ("rpc", 'username = "admin"\npassword = "admin-word"'),
                ("json2", 'api_key = "admin-key-0123456789"'),
            )
        ]
        more.append(
            f'[systems.odata_v2]\nconnector = "odata"\n[systems.odata_v2.sandbox]\nurl = "{v2.url}/odata/"\n'
            'username = "me"\npassword = "practice-only"'
        )
        more.append(
            f'[systems.rest]\nconnector = "rest"\n[systems.rest.sandbox]\nurl = "{api.url}"\n'
            f'token = "{rest_api.TOKEN}"\n'
            + "\n".join(
                f"[systems.rest.objects.{name}]\n" + "\n".join(f"{k} = {json.dumps(v)}" for k, v in about.items())
                for name, about in rest_api.OBJECTS.items()
            )
        )
        more += [
            f'[systems.{name}]\nconnector = "{kind}"\n[systems.{name}.sandbox]\n{option} = {json.dumps(value)}'
            for name, (kind, option, value) in databases.items()
        ]
        text = "\n".join([*lines, *more]) + "\n"
        text = text.replace("\nconnector = ", '\nfault_matrix = "full"\nconnector = ')
        file.write_text(text, encoding="utf-8")
        yield Project.load(file)


def _databases(postgres: str, stack: ExitStack) -> dict[str, tuple[str, str, str]]:
    """name -> (connector, option, value) of what this machine has packages for: ODBC drivers, a MariaDB server."""
    from sqlalchemy.engine import make_url

    from weighbridge.sandbox.mariadb import MariaDbSandbox, available

    found: dict[str, tuple[str, str, str]] = {}
    installed = drivers()
    url = make_url(postgres)
    if "PostgreSQL Unicode" in installed:
        login = f"UID={url.username};PWD={url.password or ''}"
        where = f"Server={url.host};Port={url.port};Database={url.database}"
        found["legacy_odbc"] = ("odbc", "connection_string", f"DRIVER={{PostgreSQL Unicode}};{where};{login}")
    if available() is None:
        server = stack.enter_context(MariaDbSandbox())
        name = "practice"
        with contextlib.closing(server.connect()) as admin, admin.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {name}")
            cursor.execute(f"CREATE TABLE {name}.customers (customer_no varchar(10) PRIMARY KEY, name varchar(80))")
            rows = [(f"C-{n:06}", f"Company {n} " + "x" * 40) for n in range(1, 801)]
            cursor.executemany(f"INSERT INTO {name}.customers VALUES (%s, %s)", rows)
        found["mariadb"] = ("sql", "url", server.url(name))
        if "MariaDB Unicode" in installed:
            where = f"Server=127.0.0.1;Port={server.port};Database={name};UID=root;"
            found["mariadb_odbc"] = ("odbc", "connection_string", f"DRIVER={{MariaDB Unicode}};{where}")
    return found


def drivers() -> Sequence[str]:
    try:
        import pyodbc
    except ImportError:  # the wheel brings no driver manager: unixodbc is missing
        return ()
    return pyodbc.drivers()


def run(project: Project) -> tuple[Report, dict[str, Any]]:
    """The report, and what was measured of each point."""
    wanted = {*(f"{name}_clean" for name in SYSTEMS), "odoo_rpc", "odoo_json2", "odata_v2", "rest"}
    wanted |= {"legacy_odbc", "mariadb", "mariadb_odbc"}
    points = [p for p in project.points() if p.system in wanted]
    run = Run(project, points, environment="sandbox", selected=("resilience",))
    try:
        report = run.execute()
        return report, {point.id: run.check(point, run.checks()[0]).measurements for point in points}
    finally:
        run.close()


def table(measured: dict[str, dict[str, Any]]) -> str:
    """Points as columns, faults as rows; HTTP and PostgreSQL apart, for they bear different faults."""
    parts = []
    for protocol, title in (("http", "Over HTTP"), ("postgresql", "PostgreSQL"), ("mysql", "MariaDB")):
        points = [p for p, m in measured.items() if m.get("resilience", {}).get("protocol") == protocol]
        if not points:
            continue
        cells = {p: {c["cell"]: c for c in measured[p]["resilience"]["cells"]} for p in points}
        names = list(dict.fromkeys(name for p in points for name in cells[p]))
        shown = [p.replace("_clean", "") for p in points]
        parts.append(f"## {title}\n\n| fault | {' | '.join(shown)} |\n|---|{'---|' * len(points)}")
        for name in names:
            row = [_said(cells[p].get(name)) for p in points]
            parts.append(f"| {name} | {' | '.join(row)} |")
        parts.append("")
    return "\n".join(parts)


def _said(cell: dict[str, Any] | None) -> str:
    if cell is None:
        return "-"
    if cell["outcome"] in ("recovered", "taken up"):
        return cell["outcome"]
    if cell["outcome"] == "clear error":
        return str(cell["error"])
    return f"**{cell['outcome']}** {cell['error'] or ''}".strip()


def writes(measured: dict[str, dict[str, Any]]) -> str:
    lines = ["## Writing\n", "| point | stage | records | once at the system | note |", "|---|---|---|---|---|"]
    for point, data in measured.items():
        for stage in data.get("ledger", {}).get("stages", ()):
            once = sum(n == 1 for n in stage["at_the_system"].values())
            lines.append(
                f"| {point.replace('_clean', '')} | {stage['stage']} | {stage['records']} | {once} | {stage['note']} |"
            )
    return "\n".join(lines) + "\n"


def summary(report: Report, measured: dict[str, dict[str, Any]]) -> tuple[str, bool]:
    cells = [c for m in measured.values() for c in m.get("resilience", {}).get("cells", ())]
    bad = [c for c in cells if c["outcome"] not in SOUND]
    findings = [f for p in report.points for c in p.checks for f in c.findings if f["severity"] != "info"]
    unknown = [p.id for p in report.points for c in p.checks if c.status not in ("pass", "warn", "break")]
    counted = {word: sum(c["outcome"] == word for c in cells) for word in ("lost", "duplicated", "changed", "hang")}
    text = (
        f"{len(cells)} cells on {len(measured)} points: "
        f"{sum(c['outcome'] in ('recovered', 'taken up') for c in cells)} recovered, "
        f"{sum(c['outcome'] == 'clear error' for c in cells)} ended with an error of the right class; "
        f"{counted['lost']} lost, {counted['duplicated']} duplicated, {counted['changed']} changed, "
        f"{counted['hang']} hung.\n"
    )
    for finding in findings:
        text += f"\n- {finding['code']}: {finding['message']}"
    for point in unknown:
        text += f"\n- {point}: not judged"
    return text, not (bad or findings or unknown)


HEAD = """\
# What faults do

Each row is a fault that the proxy puts between a connector and a practice system, each column an integration point.
*recovered*: the read ended whole by itself. *taken up*: it ended with a retriable error, and a second read from the
last cursor made it whole. A class name: it failed, with the error that tells the caller what to do. `python -m
evaluate.fault_matrix --write` makes this page.

"""


def main(arguments: Sequence[str] = ()) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--write", action="store_true", help=f"keep the tables in {PAGE.relative_to(HERE)}")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="weighbridge-faults-") as scratch, systems(Path(scratch)) as project:
        report, measured = run(project)
        files = file_matrix.run(Path(scratch))
    text, sound = summary(report, measured)
    bad = [f"{c.source}, {c.fault}: {c.outcome} {c.error}" for c in files if c.outcome not in ("whole", "clear error")]
    text += "".join(f"\n- {line}" for line in bad)
    page = f"{HEAD}{text}\n{table(measured)}\n{file_matrix.table(files)}\n{writes(measured)}"
    print(page)
    if options.write:
        PAGE.write_text(page, encoding="utf-8")
    return 0 if sound and not bad else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
