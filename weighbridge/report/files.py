"""Writing files so that a reader never sees half of one, and an unwritable place is known before any contact."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from pathlib import Path

from weighbridge.errors import DeliveryProblem, UsageProblem

__all__ = ["prepare_folder", "write_atomically"]

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG} if hasattr(errno, "EDQUOT") else {errno.ENOSPC, errno.EFBIG}


def prepare_folder(folder: Path) -> Path:
    """Make the folder and prove that it can be written; raises UsageProblem, before any system is touched."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".wb-"):
            pass
    except OSError as error:
        raise UsageProblem(
            f"The output folder {folder} cannot be written ({error.strerror or error}). "
            "Choose another with --out DIR, or make it writable."
        ) from None
    return folder


def write_atomically(path: Path, content: bytes | str, *, mode: int = 0o644) -> Path:
    """Write aside, flush to disk, rename. What stood there before stays whole if this fails.

    Raises DeliveryProblem, with the reason in words, when the disk is full or the place has become unwritable.
    """
    body = content.encode("utf-8") if isinstance(content, str) else content
    aside: str | None = None
    try:
        handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        with os.fdopen(handle, "wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        Path(aside).chmod(mode)
        Path(aside).replace(path)
    except OSError as error:
        if aside is not None:
            with contextlib.suppress(OSError):
                Path(aside).unlink()
        raise DeliveryProblem(_why(path, len(body), error)) from None
    _sync_folder(path.parent)
    return path


def _why(path: Path, size: int, error: OSError) -> str:
    if error.errno in _FULL:
        return (
            f"{path} could not be written: the disk is full or a quota is reached ({size:,} bytes were needed). "
            "Free some space and render it again with `weighbridge report RUN`."
        )
    return (
        f"{path} could not be written ({error.strerror or error}). Check the folder and run `weighbridge report RUN`."
    )


def _sync_folder(folder: Path) -> None:
    # Makes the rename itself durable; Windows has no handle for a folder.
    if os.name != "posix":
        return
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
