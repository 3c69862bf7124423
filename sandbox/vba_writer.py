"""Makes a real macro project (vbaProject.bin) from source text: a compound file in the format of [MS-OVBA].

Only what readers of macros look at: the `dir` stream with its modules, and each module's compressed source. Excel
itself would compile them anew on opening.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

__all__ = ["compound_file", "compress", "vba_project"]

SECTOR = 512
FREE, END, FAT = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD


def vba_project(modules: Mapping[str, str]) -> bytes:
    """The project that holds the modules, name -> source."""
    names = list(modules)
    sources = {
        name: text.replace("\r\n", "\n").replace("\n", "\r\n").encode("cp1252") for name, text in modules.items()
    }
    streams: dict[tuple[str, ...], bytes] = {
        ("PROJECT",): _project(names),
        ("VBA", "_VBA_PROJECT"): struct.pack("<HHBH", 0x61CC, 0xFFFF, 0, 0),
        ("VBA", "dir"): compress(_dir(names)),
    }
    for name, source in sources.items():
        streams["VBA", name] = compress(source)
    return compound_file(streams)


def _project(names: list[str]) -> bytes:
    lines = ['ID="{6F2B2F10-0000-4000-8000-000000000001}"', *(f"Module={n}" for n in names), 'Name="VBAProject"']
    lines += ['HelpContextID="0"', 'VersionCompatible32="393222000"', 'CMG="00"', 'DPB="00"', 'GC="00"', ""]
    return "\r\n".join(lines).encode("cp1252")


def _dir(names: list[str]) -> bytes:
    def record(kind: int, body: bytes) -> bytes:
        return struct.pack("<HI", kind, len(body)) + body

    def both(kind: int, second: int, text: str) -> bytes:
        return record(kind, text.encode("cp1252")) + record(second, text.encode("utf-16-le"))

    out = record(0x01, struct.pack("<I", 1)) + record(0x02, struct.pack("<I", 0x409))
    out += record(0x14, struct.pack("<I", 0x409)) + record(0x03, struct.pack("<H", 1252))
    out += record(0x04, b"VBAProject") + both(0x05, 0x40, "") + record(0x06, b"") + record(0x3D, b"")
    out += record(0x07, struct.pack("<I", 0)) + record(0x08, struct.pack("<I", 0))
    out += struct.pack("<HIIH", 0x09, 4, 1, 1) + both(0x0C, 0x3C, "")
    out += record(0x0F, struct.pack("<H", len(names))) + record(0x13, struct.pack("<H", 0xFFFF))
    for name in names:
        out += both(0x19, 0x47, name) + both(0x1A, 0x32, name) + both(0x1C, 0x48, "")
        out += record(0x31, struct.pack("<I", 0)) + record(0x1E, struct.pack("<I", 0))
        out += record(0x2C, struct.pack("<H", 0xFFFF)) + record(0x21, b"") + record(0x2B, b"")
    return out + record(0x10, b"")


def compress(data: bytes) -> bytes:
    """The container of [MS-OVBA] 2.4.1, with literal tokens only."""
    out = b"\x01"
    for at in range(0, len(data), 3640):
        # 8 literals behind each flag byte: 3,640 bytes become 4,095, which a chunk just holds
        chunk = data[at : at + 3640]
        body = b"".join(b"\0" + chunk[i : i + 8] for i in range(0, len(chunk), 8))
        out += struct.pack("<H", (len(body) + 2 - 3) | 0xB000) + body
    return out


def compound_file(streams: Mapping[tuple[str, ...], bytes]) -> bytes:
    """A compound file of version 3 whose streams are all padded past the small-stream limit of 4,096 bytes."""
    entries = _entries(streams)
    sectors: list[bytes] = []
    fat: list[int] = []

    def chain(data: bytes) -> int:
        first = len(sectors)
        count = max(1, -(-len(data) // SECTOR))
        for n in range(count):
            sectors.append(data[n * SECTOR : (n + 1) * SECTOR].ljust(SECTOR, b"\0"))
            fat.append(first + n + 1 if n < count - 1 else END)
        return first

    placed = {}
    mini, mini_fat = b"", []
    for path, data in streams.items():
        if len(data) >= 4096:
            placed[path] = chain(data)
            continue
        first = len(mini_fat)
        count = max(1, -(-len(data) // 64))
        mini += data.ljust(count * 64, b"\0")
        mini_fat += [first + n + 1 for n in range(count - 1)] + [END]
        placed[path] = first
    mini_start = chain(mini)
    mini_fat_start = chain(struct.pack(f"<{len(mini_fat)}I", *mini_fat).ljust(SECTOR, b"\xff"))
    directory = b"".join(
        _entry(name, kind, left, right, child, *_where(path, kind, streams, placed, mini_start, len(mini)))
        for path, name, kind, left, right, child in entries
    )
    directory_start = chain(directory.ljust(-(-len(directory) // SECTOR) * SECTOR, b"\0"))
    fat_sectors = 1
    while (len(fat) + fat_sectors) > fat_sectors * (SECTOR // 4):
        fat_sectors += 1
    fat_start = len(sectors)
    fat += [FAT] * fat_sectors
    packed = struct.pack(f"<{len(fat)}I", *fat).ljust(fat_sectors * SECTOR, b"\xff")
    sectors += [packed[n * SECTOR : (n + 1) * SECTOR] for n in range(fat_sectors)]
    mini_fat_sectors = max(1, -(-len(mini_fat) * 4 // SECTOR))
    header = bytes.fromhex("D0CF11E0A1B11AE1") + bytes(16) + struct.pack("<HHHHH6x", 0x3E, 3, 0xFFFE, 9, 6)
    header += struct.pack(
        "<IIIIIIIII", 0, fat_sectors, directory_start, 0, 4096, mini_fat_start, mini_fat_sectors, END, 0
    )
    difat = [fat_start + n for n in range(fat_sectors)]
    header += struct.pack("<109I", *(difat + [FREE] * (109 - len(difat))))
    return header + b"".join(sectors)


def _where(
    path: tuple[str, ...] | None,
    kind: int,
    streams: Mapping[tuple[str, ...], bytes],
    placed: Mapping[tuple[str, ...], int],
    mini_start: int,
    mini_size: int,
) -> tuple[int, int]:
    if kind == 5:
        return mini_start, mini_size
    if kind == 2 and path is not None:
        return placed[path], len(streams[path])
    return 0, 0


Node = tuple[tuple[str, ...] | None, str, int, int, int, int]


def _entries(streams: Mapping[tuple[str, ...], bytes]) -> list[Node]:
    """Directory entries: (path, name, kind, left, right, child); siblings hang in one chain to the right."""
    out: list[Node] = [(None, "Root Entry", 5, FREE, FREE, FREE)]

    def below(folder: tuple[str, ...]) -> int:
        """Add what lies in a storage, then what lies in its storages; the number of the first."""
        depth = len(folder)
        names = sorted({path[depth] for path in streams if path[:depth] == folder}, key=_order)
        first = len(out)
        for n, name in enumerate(names):
            path = (*folder, name)
            right = first + n + 1 if n + 1 < len(names) else FREE
            out.append((path if path in streams else None, name, 2 if path in streams else 1, FREE, right, FREE))
        for n, name in enumerate(names):
            if (*folder, name) not in streams:
                child = below((*folder, name))
                out[first + n] = (*out[first + n][:5], child)
        return first

    out[0] = (*out[0][:5], below(()))
    return out


def _order(name: str) -> tuple[int, str]:
    return len(name), name.upper()


def _entry(name: str, kind: int, left: int, right: int, child: int, start: int, size: int) -> bytes:
    text = (name + "\0").encode("utf-16-le")
    body = text.ljust(64, b"\0") + struct.pack("<HBB", len(text), kind, 1)
    body += struct.pack("<III", left, right, child) + bytes(16 + 4 + 16)
    return body + struct.pack("<IQ", start, size)
