"""Masking: by classification and by what a value looks like; identifiers and amounts stay readable."""

from __future__ import annotations

import pytest

from weighbridge.checks.masking import is_sensitive, mask_text, mask_value


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("anna.schmidt@firma.de", "schmidt"),
        ("mail <o'neil+x@sub.example.co.uk>", "neil"),
        ("DE89 3704 0044 0532 0130 00", "3704"),
        ("DE89370400440532013000", "370400"),
        ("+49 170 1234567", "1234567"),
        ("0049-170-1234567", "1234567"),
        ("030 1234567", "1234567"),
        ("card 4111 1111 1111 1111", "1111 1111"),
        ("123456789", "1234567"),
    ],
)
def test_what_looks_personal_is_masked(text: str, hidden: str) -> None:
    assert hidden not in mask_text(text)
    assert "***" in mask_text(text)


@pytest.mark.parametrize(
    "text", ["C-000123", "SO-2024-000017", "2024-01-31", "12345.67", "Berlin", "row 123456", "-1.0", "v1.2.3"]
)
def test_what_is_not_stays(text: str) -> None:
    assert mask_text(text) == text


@pytest.mark.parametrize(
    ("word", "masked"),
    [
        (None, False),
        ("public", False),
        ("Internal", False),
        ("restricted", True),
        ("pii", True),
        ("confidential", True),
    ],
)
def test_a_classification_asks_for_masking(word: str | None, masked: bool) -> None:
    assert is_sensitive(word) is masked
    assert (mask_value("Schmidt", word) == "Schmidt") is not masked


def test_values_keep_their_kind_where_nothing_is_hidden() -> None:
    assert [mask_value(v) for v in (None, True, 7, 1234567890123)] == [None, True, 7, "***23"]
    assert len(mask_value("x" * 500)) == 80
