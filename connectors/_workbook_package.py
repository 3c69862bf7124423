"""Opens a workbook file safely: what container it really is, and its parts in bounded memory.

Everything hostile, encrypted, damaged or misnamed is refused here, before any library that would trust the file is
let near it. The refusal is a `WorkbookProblem`, a `FileError` that says which kind it is.
"""

from __future__ import annotations

import codecs
import io
import itertools
import posixpath
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal

from weighbridge.connectors._workbook_elements import Element, NotWellFormed, elements
from weighbridge.connectors.errors import FileError

__all__ = ["Package", "Relation", "WorkbookProblem", "open_package"]

MAX_RATIO = 200
"""Uncompressed to compressed size of one part above which it is a bomb; real sheets reach 10 to 40."""
RATIO_FLOOR = 16 << 20
"""Parts smaller than this (bytes, uncompressed) cannot hurt, whatever their ratio."""
MAX_TOTAL = 4 << 30
"""Bytes of all parts together that are still read; a full sheet of 1,048,576 x 40 stays below."""
MAX_PARTS = 50_000
MAX_SMALL_PART = 64 << 20
"""Bytes of a part that is read whole."""
MAX_XML = 20 << 20
"""Bytes of a part whose elements are kept (names, relationships)."""
CHUNK = 1 << 20
OLE_MAGIC = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
Format = Literal["xlsx", "xlsm", "xlsb", "xls"]


class WorkbookProblem(FileError):
    """A workbook that cannot be read; `code` is its finding: encrypted, malformed, hostile or locked."""

    def __init__(self, message: str, *, code: str, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.code = code


@dataclass(frozen=True, slots=True)
class Relation:
    """One relationship of a part: `kind` is the last word of its type."""

    id: str
    kind: str
    target: str
    """Part name inside the package, or the address outside it."""
    external: bool


@dataclass(slots=True)
class Package:
    """An opened workbook. `data` is the decrypted file where it was encrypted, else None and `path` is read."""

    path: Path
    format: Format
    encrypted: bool = False
    data: bytes | None = field(default=None, repr=False)
    parts: dict[str, zipfile.ZipInfo] = field(default_factory=dict, repr=False)

    def stream(self) -> BinaryIO:
        """The readable (decrypted) file; the caller closes it."""
        return io.BytesIO(self.data) if self.data is not None else self.path.open("rb")

    def has(self, part: str) -> bool:
        return part.lower() in self.parts

    def named(self, prefix: str) -> list[str]:
        """Part names below a folder, sorted."""
        return sorted(info.filename for name, info in self.parts.items() if name.startswith(prefix.lower()))

    def size(self, part: str) -> int:
        """Declared uncompressed bytes of a part, 0 where there is none."""
        info = self.parts.get(part.lower())
        return info.file_size if info else 0

    def raw(self, part: str) -> Iterator[bytes]:
        """The part's bytes as stored, inflated in chunks, never more than it declares."""
        info = self.parts.get(part.lower())
        if info is None:
            raise _malformed(self.path, f"its part {part} is missing")
        with self.stream() as source:
            yield from _inflate(source, info, self.path)

    def chunks(self, part: str) -> Iterator[bytes]:
        """The part as UTF-8 XML in chunks; a document type is refused."""
        decoder: codecs.IncrementalDecoder | None = None
        first, tail = True, b""
        for chunk in self.raw(part):
            block = chunk
            if first:
                first = False
                decoder = _utf16_decoder(block)
            if decoder is not None:
                block = decoder.decode(block).encode("utf-8", "surrogatepass")
            if b"<!" in block or b"<!" in tail + block[:1]:
                self._refuse_doctype(tail + block, part)
            tail = block[-9:]
            yield block

    def _refuse_doctype(self, block: bytes, part: str) -> None:
        upper = block.upper() if len(block) < 1 << 16 else block
        if b"<!DOCTYPE" in upper or b"<!ENTITY" in upper:
            raise WorkbookProblem(
                f"{self.path}: its part {part} declares a document type or entities, which no spreadsheet "
                "program writes and which can make a small file expand without end.",
                code="hostile",
                remedy="Do not open it. Ask the sender for the original and save it again from Excel.",
            )

    def read(self, part: str, *, limit: int = MAX_SMALL_PART) -> bytes:
        """A small part whole, as UTF-8."""
        self._refuse_large(part, limit)
        return b"".join(self.chunks(part))

    def _refuse_large(self, part: str, limit: int) -> None:
        if self.size(part) > limit:
            raise WorkbookProblem(
                f"{self.path}: its part {part} has {self.size(part):,} bytes where at most {limit:,} make sense.",
                code="hostile",
                remedy="Ask for the original file and save it again from Excel.",
            )

    def xml(self, part: str, *, limit: int = MAX_XML) -> Iterator[Element]:
        """A part's elements in the order of their ends, streamed."""
        self._refuse_large(part, limit)
        try:
            yield from elements(self.chunks(part))
        except NotWellFormed as error:
            raise _malformed(self.path, f"its part {part} is not well-formed XML ({error})") from None

    def relations(self, part: str) -> list[Relation]:
        """Where a part points to; empty where it points nowhere."""
        folder, name = posixpath.split(part)
        source = posixpath.join(folder, "_rels", f"{name}.rels")
        if not self.has(source):
            return []
        found = []
        for node in self.xml(source):
            if node.name != "Relationship":
                continue
            target = node.get("Target")
            external = node.get("TargetMode") == "External"
            if not external:
                absolute = target if target.startswith("/") else posixpath.join(folder, target)
                target = posixpath.normpath(absolute).lstrip("/")
            kind = node.get("Type").rsplit("/", 1)[-1]
            found.append(Relation(node.get("Id"), kind, target, external))
        return found


def open_package(path: Path, password: str | None = None) -> Package:
    """Look at the bytes, never at the name. Raises `WorkbookProblem` (encrypted, malformed, hostile), `FileError`."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise FileError(f"{path}: is a pipe or a device, not a file.", remedy="Name a file, or path as a glob.")
    try:
        with path.open("rb") as source:
            magic = source.read(4096)
    except FileNotFoundError:
        raise FileError(f"{path}: there is no such file.", remedy="Check path in weighbridge.toml.") from None
    except IsADirectoryError:
        raise FileError(f"{path} is a folder, not a workbook.", remedy="Name a file, or path as a glob.") from None
    except PermissionError as error:
        if getattr(error, "winerror", None) in {32, 33}:  # a sharing violation: another program holds the file
            raise WorkbookProblem(
                f"{path}: another program holds the workbook open and lets nobody read it.",
                code="locked",
                remedy="Have it closed, or read a published copy.",
            ) from None
        raise FileError(
            f"{path}: may not be read ({error.strerror}).", remedy="The account lacks the right to read it."
        ) from None
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror}).") from None
    if magic.startswith(OLE_MAGIC):
        return _open_ole(path, password)
    if magic.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _open_zip(Package(path, "xlsx"))
    raise _malformed(path, _what_else(magic), remedy=_ELSE_REMEDY)


_ELSE_REMEDY = "Ask for the original workbook, or open it in Excel and save it as .xlsx."


def _malformed(path: Path, why: str, *, remedy: str = "") -> WorkbookProblem:
    return WorkbookProblem(
        f"{path}: not a workbook that can be read: {why}.",
        code="malformed",
        remedy=remedy or "Copy the file again from its source; if it opens in Excel, save it there under a new name.",
    )


def _what_else(magic: bytes) -> str:
    start = magic.lstrip(b"\xef\xbb\xbf \t\r\n")[:512].lower()
    if not magic:
        return "it is empty (0 bytes)"
    if not start:
        return "it holds nothing but white space"
    if not magic.strip(b"\0"):
        return "it holds nothing but zero bytes"
    if b"mso-application" in start or b"urn:schemas-microsoft-com:office:spreadsheet" in start:
        return "it is an XML Spreadsheet of 2003"
    if start.startswith((b"<html", b"<!doctype html", b"<table", b"<meta")):
        return "it is a web page with a workbook's name"
    if start.startswith((b"<?xml", b"<")):
        return "it is XML text, not a workbook package"
    if start.startswith(b"%pdf"):
        return "it is a PDF"
    if magic[:2] in {b"\x09\x00", b"\x09\x02", b"\x09\x04", b"\x09\x08"}:
        return "it is an Excel file from before Excel 97"
    if b"\0" not in magic:
        return "it is plain text (a CSV perhaps) with a workbook's name"
    return f"its first bytes are {magic[:4].hex(' ')}, which no workbook starts with"


# --- OLE: legacy .xls, and encrypted packages ------------------------------------------------------------------


def _open_ole(path: Path, password: str | None) -> Package:
    import olefile

    try:
        with olefile.OleFileIO(str(path)) as ole:
            encrypted = ole.exists("EncryptedPackage")
            stream = next((n for n in ("Workbook", "Book") if ole.exists(n)), None)
            head = b""
            if stream:
                head = ole.openstream(stream).read(1 << 16)
    except (OSError, ValueError, IndexError, TypeError, struct.error, AttributeError) as error:
        raise _malformed(path, f"its compound file is damaged or truncated ({error})") from None
    if encrypted:
        package = Package(path, "xlsx", encrypted=True, data=_decrypt(path, password))
        return _open_zip(package)
    if stream is None:
        raise _malformed(
            path, "it is an Office file, but not a workbook (Word, PowerPoint, Outlook)", remedy=_ELSE_REMEDY
        )
    if stream == "Book":
        raise _malformed(path, "it is an Excel 5.0/95 workbook", remedy="Open it in Excel and save it as .xlsx.")
    if _has_filepass(head):
        return Package(path, "xls", encrypted=True, data=_decrypt(path, password))
    return Package(path, "xls")


def _has_filepass(head: bytes) -> bool:
    """FILEPASS (0x2F) stands right behind the first BOF where a .xls is encrypted."""
    at = 0
    while at + 4 <= len(head):
        code, size = struct.unpack_from("<HH", head, at)
        if code == 0x2F:
            return True
        if code == 0x85 or code == 0:
            return False
        at += 4 + size
    return False


def _decrypt(path: Path, password: str | None) -> bytes:
    import msoffcrypto
    from msoffcrypto import exceptions as crypto

    # Excel opens a file 'protected' with its own default password without asking; so do we.
    tries = [p for p in (password, "VelvetSweatshop") if p]
    for attempt in tries:
        out = io.BytesIO()
        try:
            with path.open("rb") as source:
                office: Any = msoffcrypto.OfficeFile(source)
                office.load_key(password=attempt)
                office.decrypt(out)
        except (crypto.InvalidKeyError, crypto.DecryptionError):
            continue
        except Exception as error:  # noqa: BLE001 - a damaged container makes the library raise nearly anything
            raise _malformed(path, f"it is encrypted and damaged ({type(error).__name__})") from None
        if out.getvalue()[:2] == b"PK" or out.getvalue()[:8] == OLE_MAGIC:
            return out.getvalue()
    told = "the password given does not open it" if password else "no password is given"
    raise WorkbookProblem(
        f"{path}: the workbook is encrypted and {told}.",
        code="encrypted",
        remedy="Set password for this system in weighbridge.toml (as ${NAME}), or have the owner save it without one.",
    )


# --- zip: .xlsx, .xlsm, .xlsb ----------------------------------------------------------------------------------


def _open_zip(package: Package) -> Package:
    path = package.path
    try:
        with package.stream() as source, zipfile.ZipFile(source) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, struct.error, NotImplementedError, OverflowError) as error:
        raise _malformed(path, f"its zip container is damaged or truncated ({error})") from None
    _refuse_bomb(path, infos)
    package.parts = {info.filename.replace("\\", "/").lstrip("/").lower(): info for info in infos}
    types = package.read("[Content_Types].xml", limit=8 << 20) if package.has("[Content_Types].xml") else b""
    if package.has("xl/workbook.bin") or b"ms-excel.sheet.binary" in types:
        package.format = "xlsb"
    elif package.has("mimetype") and package.has("content.xml"):
        raise _malformed(path, "it is an OpenDocument file", remedy="Open it and save it as .xlsx.")
    elif package.has("word/document.xml") or package.has("ppt/presentation.xml"):
        raise _malformed(path, "it is a Word or PowerPoint file with a workbook's name", remedy=_ELSE_REMEDY)
    elif not workbook_part(package):
        raise _malformed(path, "it is a zip archive without a workbook in it", remedy=_ELSE_REMEDY)
    elif b"macroEnabled" in types:
        package.format = "xlsm"
    return package


def workbook_part(package: Package) -> str | None:
    """The main part, by the package's own relationships, else by its usual name."""
    if package.has("_rels/.rels"):
        for relation in package.relations(""):
            if relation.kind == "officeDocument" and package.has(relation.target):
                return relation.target
    return next((p for p in ("xl/workbook.xml", "xl/workbook.bin") if package.has(p)), None)


def _refuse_bomb(path: Path, infos: list[zipfile.ZipInfo]) -> None:
    remedy = "Do not open it. Ask the sender for the original and save it again from Excel."

    def hostile(why: str) -> WorkbookProblem:
        return WorkbookProblem(f"{path}: refused: {why}.", code="hostile", remedy=remedy)

    if len(infos) > MAX_PARTS:
        raise hostile(f"its container holds {len(infos):,} parts")
    seen: set[str] = set()
    for info in infos:
        name = info.filename.lower()
        if name in seen:
            raise hostile(f"the part {info.filename} stands in it twice, so that two programs read two different files")
        seen.add(name)
        if info.flag_bits & 1:
            raise _malformed(path, "its zip container is itself password-protected")
        if info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
            raise _malformed(path, f"its part {info.filename} is packed by a method that Excel does not know")
        if info.file_size > RATIO_FLOOR and info.file_size > MAX_RATIO * max(info.compress_size, 1):
            raise hostile(
                f"the part {info.filename} expands from {info.compress_size:,} to {info.file_size:,} bytes"
                f" ({info.file_size // max(info.compress_size, 1)} to 1; real sheets stay below 50 to 1)"
            )
    total = sum(info.file_size for info in infos)
    if total > MAX_TOTAL:
        raise hostile(f"its parts expand to {total:,} bytes, above the {MAX_TOTAL:,} that are read")
    ordered = sorted(infos, key=lambda i: i.header_offset)
    for left, right in itertools.pairwise(ordered):
        if left.header_offset + 30 + left.compress_size > right.header_offset:
            raise hostile(f"the parts {left.filename} and {right.filename} overlap in the file")


def _inflate(source: BinaryIO, info: zipfile.ZipInfo, path: Path) -> Iterator[bytes]:
    """Inflate one part ourselves: a size that lies is found after at most the declared bytes."""
    if info.header_offset < 0:
        raise _malformed(path, f"its part {info.filename} is not where the directory says")
    source.seek(info.header_offset)
    header = source.read(30)
    if len(header) < 30 or header[:4] != b"PK\x03\x04":
        raise _malformed(path, f"its part {info.filename} is not where the directory says")
    name, extra = struct.unpack_from("<HH", header, 26)
    source.seek(name + extra, io.SEEK_CUR)
    left, out = info.compress_size, 0
    inflater = zlib.decompressobj(-15) if info.compress_type == zipfile.ZIP_DEFLATED else None
    pending = b""
    while True:
        if not pending and left:
            pending = source.read(min(left, 1 << 20))
            if not pending:
                raise _malformed(path, f"its part {info.filename} is cut off")
            left -= len(pending)
        try:
            if inflater is None:
                block, pending = pending, b""
            else:
                block = inflater.decompress(pending, CHUNK)
                pending = inflater.unconsumed_tail
        except zlib.error as error:
            raise _malformed(path, f"its part {info.filename} is damaged ({error})") from None
        out += len(block)
        if out > info.file_size:
            raise WorkbookProblem(
                f"{path}: refused: the part {info.filename} says it has {info.file_size:,} bytes and holds more.",
                code="hostile",
                remedy="Do not open it. Ask the sender for the original and save it again from Excel.",
            )
        if block:
            yield block
        elif (not pending and not left) or (inflater is not None and inflater.eof):
            break
    if out != info.file_size or (inflater is not None and not inflater.eof):
        raise _malformed(path, f"its part {info.filename} is cut off: {out:,} of {info.file_size:,} bytes")


def _utf16_decoder(start: bytes) -> codecs.IncrementalDecoder | None:
    if start[:2] in {codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE}:
        return codecs.getincrementaldecoder("utf-16")("replace")
    if start[:2] == b"<\0":
        return codecs.getincrementaldecoder("utf-16-le")("replace")
    if start[:2] == b"\0<":
        return codecs.getincrementaldecoder("utf-16-be")("replace")
    return None
