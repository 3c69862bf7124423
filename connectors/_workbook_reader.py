"""Has a sheet of a binary workbook read by another process first: what a damaged one does to the reader is done there.

The reader of .xls and .xlsb takes the sizes that a file states at their word. One flipped byte can ask for 26 GB, which
ends the whole process; or it breaks off in words of its own on standard error.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

__all__ = ["why_unreadable"]

SECONDS = 300.0
"""After this it is taken for stuck."""
MOST_BYTES = 4 << 30
"""Address space of the process: the most cells that are ever read take 1.5 GB at 32 bytes each."""
PROGRAM = """
import io, sys
try:
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]),) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
except (ImportError, ValueError, OSError):
    pass
import python_calamine
book = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(sys.stdin.buffer.read()))
next(book.get_sheet_by_name(sys.argv[2]).iter_rows(), None)
"""


def why_unreadable(data: bytes | Path, sheet: str, *, seconds: float = SECONDS) -> str | None:
    """Read the sheet of a workbook (its bytes, or a file) in a process of its own; None, or why that failed."""
    if isinstance(data, bytes):
        return _why(sheet, seconds, input=data)
    with data.open("rb") as source:  # handed over open, so that it is not held here as well
        return _why(sheet, seconds, stdin=source)


def _why(sheet: str, seconds: float, **given: Any) -> str | None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = [sys.executable, "-c", PROGRAM, str(MOST_BYTES), sheet]
    try:
        ended = subprocess.run(command, **given, capture_output=True, timeout=seconds, env=environment, check=False)
    except subprocess.TimeoutExpired:
        return f"it was not read within {seconds:.0f} s"
    if ended.returncode == 0:
        return None
    said = ended.stderr.decode("utf-8", "replace")
    if "memory allocation" in said or "capacity overflow" in said or "MemoryError" in said:
        return "it states a size that no workbook has"
    if "PanicException" in said:
        return "the reader broke on it"
    if ended.returncode < 0:
        return f"the reader was ended by signal {-ended.returncode}"
    return said.strip().rpartition("\n")[2].partition(": ")[2][:160].strip().rstrip(".") or "the reader gave up"
