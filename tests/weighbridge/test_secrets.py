"""Secrets are known again in the forms in which a system sends them back."""

from __future__ import annotations

import base64
import io
import json
from urllib.parse import quote, quote_plus

import pytest

from weighbridge.secrets import Hidden, Scrubbed

WORD = 'pä"s w/rd\\%1'


@pytest.fixture
def hidden() -> Hidden:
    known = Hidden()
    known.learn({"username": "keeper", "password": WORD, "token": "tok-123456", "client_id": "pilot-123456"})
    return known


@pytest.mark.parametrize(
    "form",
    [
        WORD,
        quote(WORD),
        quote(WORD, safe=""),
        quote_plus(WORD),
        json.dumps(WORD),
        json.dumps(WORD, ensure_ascii=False),
        repr(WORD),
        base64.b64encode(WORD.encode()).decode(),
        "Basic " + base64.b64encode(f"keeper:{WORD}".encode()).decode(),
        "Bearer tok-123456",
    ],
)
def test_every_form_is_hidden(hidden: Hidden, form: str) -> None:
    shown = hidden.hide(f"said {form} here")
    assert "***" in shown
    assert shown.startswith("said ")
    assert shown.endswith(" here")
    assert form.removeprefix("Bearer ") not in shown


@pytest.mark.parametrize(
    ("key", "value", "secret"),
    [
        ("url", "postgresql://keeper:p%40ss-9912@db:5432/shop", "p@ss-9912"),
        ("url", "https://u:word-8812@h/odata?key=abc-777-xyz", "abc-777-xyz"),
        ("connection_string", "DRIVER={X};UID=keeper;PWD={wo;rd-77};Server=h", "wo;rd-77"),
        ("connection_string", "DRIVER={X};uid=keeper;password=word-776;Server=h", "word-776"),
    ],
)
def test_of_an_address_only_what_is_secret(key: str, value: str, secret: str) -> None:
    hidden = Hidden()
    hidden.learn({key: value})
    assert hidden.hide(f"x {secret} y") == "x *** y"
    assert hidden.hide("db h 5432 keeper Server shop odata") == "db h 5432 keeper Server shop odata"


def test_ordinary_words_stay(hidden: Hidden) -> None:
    hidden.learn({"password": "postgres", "api_key": "abc"})
    assert hidden.hide("postgresql abc pilot-123456 keeper") == "postgresql abc pilot-123456 keeper"


def test_a_stream_writes_no_secret(hidden: Hidden) -> None:
    out = io.StringIO()
    stream = Scrubbed(out, hidden)
    print("token tok-123456", file=stream)
    stream.writelines(["a tok-123456\n", "b\n"])
    assert out.getvalue() == "token ***\na ***\nb\n"
    assert stream.isatty() is False
