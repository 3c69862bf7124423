"""Finds what runs in a workbook and what feeds it: macros, links to files and programs, connections, pivot caches."""

from __future__ import annotations

import re

from weighbridge.connectors._workbook_book import Book
from weighbridge.connectors._workbook_formulas import Formulas
from weighbridge.connectors._workbook_package import Package
from weighbridge.connectors.workbook import WorkbookReport

__all__ = ["find_macros", "find_upstream"]

_SECRET = re.compile(r"(?i)\b(pwd|password|passwd|secret|token|accesskey)(\s*=\s*)[^;\"]+")
_LOGIN = re.compile(r"(?i)(\w+://)[^/\s@\"]+@")


def find_macros(book: Book, report: WorkbookReport) -> str | None:
    from weighbridge.connectors._workbook_vba import MAX_VBA, Macros, read_macros

    macros: Macros | None = None
    package = book.package
    if book.format == "xls":
        from weighbridge.connectors._workbook_biff import ole_streams

        if any("_VBA_PROJECT_CUR" in name.upper() for name in ole_streams(package)):
            with package.stream() as source:
                macros = read_macros(source.read(MAX_VBA + 1), book.path.name)
    else:
        part = next((n for n in package.parts if n.endswith("vbaproject.bin")), None)
        if part:
            macros = read_macros(package_bytes(package, part, MAX_VBA), "vbaProject.bin")
    if macros is not None:
        words = " ".join(macros.words())
        odd = " The file's name hides them: an .xlsx should hold none." if book.path.suffix.lower() == ".xlsx" else ""
        places = macros.entry_points or [m["name"] for m in macros.modules] or [book.path.name]
        report.add("macros", max(1, len(macros.modules)), places, words + odd, details=macros.details())
    xlm = [s.name for s in book.parts.sheets if s.kind == "macrosheet"]
    auto = [n.name for n in book.parts.names if n.name.lower().lstrip("_xlnm.").startswith(("auto_open", "auto_close"))]
    if xlm or auto:
        starts = f" They start by themselves ({', '.join(auto[:5])})." if auto else ""
        text = f"{len(xlm)} sheet(s) of Excel 4.0 macros, a technique of 1992 that current Excel switches off.{starts}"
        report.add("xlm_macros", len(xlm) or len(auto), xlm or auto, text)
    return macros.digest if macros else None


def package_bytes(package: Package, part: str, limit: int) -> bytes:
    """A binary part whole, at most `limit` bytes and one."""
    out = b""
    for chunk in package.raw(part):
        out += chunk
        if len(out) > limit:
            break
    return out


def find_upstream(book: Book, report: WorkbookReport, formulas: Formulas) -> None:
    package, parts = book.package, book.parts
    links, pivots = list(parts.external), list(parts.pivots)
    connections, queries = list(parts.connections), list(parts.queries)
    dynamic = sum(link.startswith("DDE ") for link in links)
    if book.format != "xls":
        for relation in package.relations(parts.workbook):
            if relation.kind in {"externalLink", "externalLinkPath"} and not relation.external:
                outside = [r.target for r in package.relations(relation.target) if r.external]
                live = _live_link(package, relation.target)
                dynamic += live is not None
                links += outside or [live or f"{relation.target.rsplit('/', 1)[-1]} (not decoded)"]
            elif relation.kind == "pivotCacheDefinition":
                pivots.append(_pivot(package, relation.target))
            elif relation.kind == "connections" and relation.target.endswith(".xml"):
                connections += _connections(package, relation.target)
            elif relation.kind == "connections":
                from weighbridge.connectors._workbook_xlsb_feeds import xlsb_connections

                connections += map(_masked, xlsb_connections(package, relation.target))
        tables = [n for n in package.named("xl/queryTables/") if "/_rels/" not in n]
        queries = [f"query table {n.rsplit('/', 1)[-1]}" for n in tables]
        for name in package.named("customXml/item"):
            if name.endswith(".xml") and b"DataMashup" in package_bytes(package, name, 4096):
                queries.append("Power Query")
                break
    # a query table or Power Query is the use of a connection: each source is told once
    connections = [_masked(c) for c in connections or queries]
    links = [_masked(link) for link in links]
    pivots = [_masked(pivot) for pivot in pivots]
    if links:
        used = f"; {formulas.external} formula(s) use them" if formulas.external else ""
        running = f" {dynamic} of them talk to a running program (DDE), which attackers like." if dynamic else ""
        text = (
            f"{len(links)} link(s) to other workbooks or programs ({', '.join(links[:3])}){used}. "
            "When one is moved or renamed, the "
            f"last known values stay and nobody is told.{running}"
        )
        report.add("external_links", len(links), links, text)
    if connections:
        shown = [c[:200] for c in connections]
        text = (
            f"{len(shown)} data connection(s) feed this workbook: {', '.join(shown[:3])}. What is "
            "read is as old as their last refresh."
        )
        report.add("connections", len(shown), shown, text)
    if pivots:
        text = (
            f"{len(pivots)} pivot table cache(s) hold a copy of their source as it was at the last "
            f"refresh: {', '.join(pivots[:3])}."
        )
        report.add("pivot_caches", len(pivots), pivots, text)


def _live_link(package: Package, part: str) -> str | None:
    """A link to a running program (DDE), as `program|topic`."""
    if not package.has(part):
        return None
    if part.endswith(".bin"):
        from weighbridge.connectors._workbook_xlsb import live_link

        return live_link(package, part)
    node = next((n for n in package.xml(part) if n.name == "ddeLink"), None)
    return None if node is None else f"DDE {node.get('ddeService') or '?'}|{node.get('ddeTopic')}"


def _masked(text: str) -> str:
    return _SECRET.sub(r"\1\2***", _LOGIN.sub(r"\1***@", text))[:200]


def _connections(package: Package, part: str) -> list[str]:
    out, source = [], ""
    for node in package.xml(part):
        if node.around == "connection":
            source = source or node.get("connection") or node.get("url") or node.get("sourceFile")
        elif node.name == "connection":
            source = source or node.get("sourceFile") or node.get("odcFile")
            name = node.get("name") or "connection"
            out.append(f"{name}: {_masked(source)}" if source else name)
            source = ""
    return out


def _pivot(package: Package, part: str) -> str:
    if not package.has(part):
        return part.rsplit("/", 1)[-1]
    if part.endswith(".bin"):
        from weighbridge.connectors._workbook_xlsb_feeds import pivot_source

        return pivot_source(package, part)
    for node in package.xml(part):
        if node.name == "worksheetSource":
            return f"from {node.get('sheet') or node.get('name') or 'a sheet'} {node.get('ref')}".strip()
        if node.name == "cacheSource":
            words = {"external": "from a data connection", "consolidation": "from several ranges"}
            return words.get(node.get("type"), part.rsplit("/", 1)[-1])
    return part.rsplit("/", 1)[-1]
