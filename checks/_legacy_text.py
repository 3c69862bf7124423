"""What text looks like that was not meant to be text, or was read in the wrong code page."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

__all__ = [
    "CONTINUED_IN", "DATE_SHAPES", "GLOBS", "PATTERNS", "SENTINELS", "STRANGE_CAPITALS", "STRANGE_LETTERS", "is_ebcdic",
    "is_mojibake", "mojibake_pattern", "sentinel_of",
]  # fmt: skip

SENTINELS = ("1900-01-01", "9999-12-31", "1899-12-30", "1753-01-01", "0001-01-01", "2999-12-31", "1111-11-11")
"""Days that stand for 'unknown' or 'never' in old systems, and the zero days of Excel, SQL Server and .NET."""


def _spelled(day: str) -> dict[str, str]:
    year, month, date = day.split("-")
    forms = (day, f"{year}/{month}/{date}", f"{year}{month}{date}", f"{date}.{month}.{year}", f"{date}/{month}/{year}")
    return dict.fromkeys((*forms, f"{month}/{date}/{year}"), day)


SPELLINGS: Mapping[str, str] = {text: day for sentinel in SENTINELS for text, day in _spelled(sentinel).items()}
"""How the sentinel days are written in text -> the day."""

# --- code pages: what a SQL pattern can pick out, and what is then judged here ---------------------------------------

# the bytes 80 to BF, which continue a UTF-8 sequence, as latin-1 and as cp1252 show them
_CP1252 = "\u20ac\u201a\u0192\u201e\u2026\u2020\u2021\u02c6\u2030\u0160\u2039\u0152\u017d"
_CP1252 += "\u2018\u2019\u201c\u201d\u2022\u2013\u2014\u02dc\u2122\u0161\u203a\u0153\u017e\u0178"
CONTINUED = f"\u0080-\u00bf{_CP1252}"
CONTINUED_IN: Mapping[str, str] = {
    # in the encodings of PostgreSQL that lack some of these; in others mojibake is not looked for
    "UTF8": CONTINUED, "LATIN1": "\u0080-\u00bf", "WIN1252": f"\u00a0-\u00bf{_CP1252}",
}  # fmt: skip


def mojibake_pattern(continued: str = CONTINUED) -> str:
    """The lead bytes of two, three and four bytes as characters, and as many continuing ones as they ask for."""
    c = f"[{continued}]"
    return f"[\u00c2-\u00df]{c}|[\u00e0-\u00ef]{c}{c}|[\u00f0-\u00f4]{c}{c}{c}"


# EBCDIC read as latin-1: capitals and digits as accented letters, a space as @, small letters as signs and controls
STRANGE_CAPITALS = "\u00c1-\u00c9\u00d1-\u00d9\u00e2-\u00e9\u00f0-\u00f9"
STRANGE_LETTERS = f"{STRANGE_CAPITALS}@Kka`\u0081-\u0089\u0091-\u0099\u00a2-\u00a9"

_M, _D = "(0[1-9]|1[0-2])", "(0[1-9]|[12][0-9]|3[01])"
_ANY = "(0?[1-9]|[12][0-9]|3[01])"
_DIGITS = "|".join(t for t in SPELLINGS if t.isdigit())
_SIGNS = "|".join(t.replace(".", "[.]") for t in SPELLINGS if not t.isdigit())

PATTERNS: Mapping[str, str] = {
    "digits": "^[0-9]+$",
    "leading_zero": "^0[0-9]+$",
    "decimal_comma": "^[+-]?([0-9]+|[0-9]{1,3}([.][0-9]{3})+),[0-9]+$",
    "compact_date": f"^((19|20)[0-9]{{2}}{_M}{_D}|{_DIGITS})$",
    "iso_date": f"^[0-9]{{4}}[-/]{_M}[-/]{_D}([ T].*)?$",
    "local_date": f"^{_ANY}[./-]{_ANY}[./-][0-9]{{4}}( .*)?$",
    # with dots only in full: 1.2.10 is a version as well
    "short_year": f"^({_ANY}[/-]{_ANY}[/-]|{_D}[.]{_D}[.])[0-9]{{2}}$",
    "zero_date": "^0000-?00-?00",
    "sentinel": f"^(({_SIGNS})([ T].*)?|{_DIGITS})$",
    "mojibake": mojibake_pattern(),
    "ebcdic": f"^[{STRANGE_CAPITALS}][{STRANGE_LETTERS}]{{3,}}$",
}
DATE_SHAPES = ("compact_date", "iso_date", "local_date", "short_year", "zero_date")

_DAY = "[0-3][0-9]"
_MONTH = "[01][0-9]"
_C = f"[{CONTINUED}]"
GLOBS: Mapping[str, Sequence[str]] = {
    # the same in the patterns of SQLite's GLOB: any of these; digits and commas are written out elsewhere
    "compact_date": (
        f"19[0-9][0-9]{_MONTH}{_DAY}", f"20[0-9][0-9]{_MONTH}{_DAY}", *(t for t in SPELLINGS if t.isdigit())
    ),
    "iso_date": (f"[0-9][0-9][0-9][0-9][-/]{_MONTH}[-/]{_DAY}*",),
    "local_date": tuple(
        f"{d}[./-]{m}[./-][0-9][0-9][0-9][0-9]{end}"
        for d in (_DAY, "[1-9]") for m in (_DAY, "[1-9]") for end in ("", " *")
    ),
    "short_year": (
        *(f"{d}[/-]{m}[/-][0-9][0-9]" for d in (_DAY, "[1-9]") for m in (_DAY, "[1-9]")), f"{_DAY}.{_DAY}.[0-9][0-9]"
    ),
    "zero_date": ("0000-00-00*", "00000000*"),
    "sentinel": tuple(t if t.isdigit() else f"{t}*" for t in SPELLINGS),
    "mojibake": (f"*[\u00c2-\u00df]{_C}*", f"*[\u00e0-\u00ef]{_C}{_C}*", f"*[\u00f0-\u00f4]{_C}{_C}{_C}*"),
}  # fmt: skip


def sentinel_of(text: str) -> str | None:
    """The sentinel day that a text spells, with or without a time behind it."""
    words = re.split("[ T]", text.strip(), maxsplit=1)
    return SPELLINGS.get(words[0])


_SCRIPTS = (
    # what people write: signs and Latin, Greek, Cyrillic, Hebrew, Arabic, Thai, CJK and what belongs to it, emoji
    "\u00a1-\u017f\u0218-\u021b\u0370-\u03ff\u0400-\u045f\u0490\u0491\u05d0-\u05ea\u0600-\u06ff\u0e01-\u0e5b"
    "\u1e00-\u1eff\u2010-\u203a\u20a0-\u20bf\u2116\u2122\u2190-\u2193\u2600-\u27bf\u3000-\u30ff\u4e00-\u9fff"
    "\uac00-\ud7a3\ufb01\ufb02\uff01-\uff5e\U0001f300-\U0001faff"
)
_WRITTEN = re.compile(f"[{_SCRIPTS}]+")
_RUN = re.compile(f"(?:{mojibake_pattern()})+")
_SURE = ("\u00c2", "\u00c3", "\u00e2")
"""Lead bytes of what western text has most: signs, accented letters, quotation marks and dashes."""


def is_mojibake(text: str) -> bool:
    """Whether some part of the text is UTF-8 that was read as cp1252 or latin-1: its bytes spell letters."""
    return any(_spells(run, text) for run in _RUN.finditer(text))


def _spells(run: re.Match[str], text: str) -> bool:
    meant = _decoded(run.group())
    if meant is None or meant == run.group() or not _WRITTEN.fullmatch(meant):
        return False
    if run.group()[0] in _SURE or len(meant) > 1:
        return True
    # one other pair may be a capital before a quotation mark or dots: only inside a word it is none; and one triple a
    # letter before two such signs: only by itself it is none
    beside = text[max(0, run.start() - 1) : run.start()] + text[run.end() : run.end() + 1]
    if run.group()[0] < "\u00e0":
        return any(letter.islower() for letter in beside)
    return not any(letter.isalpha() for letter in beside)


def _decoded(part: str) -> str | None:
    for codec in ("cp1252", "latin-1"):
        try:
            return part.encode(codec).decode("utf-8")
        except UnicodeError:
            continue
    # some characters as cp1252 shows them, others as latin-1: editors mix the two
    try:
        return b"".join(_byte(letter) for letter in part).decode("utf-8")
    except UnicodeError:
        return None


def _byte(letter: str) -> bytes:
    try:
        return letter.encode("cp1252")
    except UnicodeError:
        return letter.encode("latin-1")


def is_ebcdic(text: str) -> bool:
    """Whether the characters, as bytes of a mainframe, spell plain words or numbers of more than one letter."""
    try:
        words = text.encode("latin-1").decode("cp037").strip()
    except UnicodeError:
        return False
    return bool(re.fullmatch(r"[A-Za-z0-9 .,/&'()-]+", words)) and len(set(words)) > 1
