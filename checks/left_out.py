"""Keeps libraries that a dependency imports for parts nobody here uses from being loaded with it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

__all__ = ["left_out"]


class _LeftOut:
    def __init__(self, *_: object, **__: object) -> None:
        raise ImportError("left out when its user was loaded: nothing of Weighbridge uses this part of it")


class _Placeholder(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _LeftOut


@contextmanager
def left_out(*names: str) -> Iterator[None]:
    """Put placeholders where these modules are not loaded yet, for as long as others import them."""
    absent = {name: _Placeholder(name) for name in names if name not in sys.modules}
    sys.modules.update(absent)
    try:
        yield
    finally:
        for name in absent:
            sys.modules.pop(name, None)
