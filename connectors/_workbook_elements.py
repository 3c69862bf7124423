"""Reads a part's XML element by element, in memory that does not grow with it; never document types or entities."""

from __future__ import annotations

import xml.parsers.expat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

__all__ = ["Element", "NotWellFormed", "elements"]

MAX_TEXT = 1 << 20
"""Characters of one element's text that are kept."""


MAX_DEPTH = 1_000
"""Elements inside each other; spreadsheets have some ten."""


class NotWellFormed(ValueError):
    """The part is no XML."""


@dataclass(frozen=True, slots=True)
class Element:
    """One element at its end: behind its children, with the name of the element around it."""

    name: str
    """Without namespace: transitional and strict files alike."""
    around: str
    attributes: dict[str, str]
    text: str

    def get(self, name: str, default: str = "") -> str:
        return self.attributes.get(name, default)

    def on(self, name: str) -> bool:
        """Whether a switch is set."""
        return self.attributes.get(name) in {"1", "true"}

    @property
    def relation(self) -> str:
        """The relationship that the element names."""
        return next((value for key, value in self.attributes.items() if key.endswith("}id")), "")


class _Reader:
    def __init__(self) -> None:
        self.open: list[tuple[str, dict[str, str]]] = []
        self.done: list[Element] = []
        self.text: list[str] = []
        self.size = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if len(self.open) >= MAX_DEPTH:
            raise NotWellFormed(f"its elements are nested more than {MAX_DEPTH:,} deep")
        self.open.append((name.rpartition("}")[2], attributes))
        self.text.clear()
        self.size = 0

    def characters(self, data: str) -> None:
        if self.size < MAX_TEXT:
            self.text.append(data)
            self.size += len(data)

    def end(self, _name: str) -> None:
        name, attributes = self.open.pop()
        around = self.open[-1][0] if self.open else ""
        self.done.append(Element(name, around, attributes, "".join(self.text)))
        self.text.clear()


def elements(chunks: Iterable[bytes]) -> Iterator[Element]:
    """The elements of UTF-8 XML in the order of their ends. Raises `NotWellFormed`."""
    reader = _Reader()
    parser = xml.parsers.expat.ParserCreate("utf-8", "}")
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.characters
    parser.buffer_text = True
    try:
        for chunk in chunks:
            for at in range(0, len(chunk), 1 << 16):  # so that few wait at a time
                parser.Parse(chunk[at : at + (1 << 16)], False)
                yield from reader.done
                reader.done.clear()
        parser.Parse(b"", True)
    except NotWellFormed:
        raise
    except (xml.parsers.expat.ExpatError, ValueError, LookupError) as error:
        raise NotWellFormed(str(error)) from None
    yield from reader.done
