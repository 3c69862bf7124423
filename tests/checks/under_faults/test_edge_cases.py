"""Edge cases: a faithful system passes; every lossy trip names the value, the place and the effect."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import duckdb
import pytest

from weighbridge.checks.base import Finding, Landing, Measurement
from weighbridge.checks.edge_cases import EdgeCasesCheck
from weighbridge.checks.edge_corpus import CORPUS, change_of
from weighbridge.contracts.models import Relationship

CHECK = EdgeCasesCheck()


def found(results, code):
    return [r for r in results if isinstance(r, Finding) and r.code == f"edge_cases.{code}"]


def written(results):
    return next(r.data["written"] for r in results if isinstance(r, Measurement))


def test_a_faithful_system_returns_every_text_and_keeps_none(bench, ask, shop):
    before = dict(shop.rows)
    results = ask(CHECK, bench(writes=True))
    assert [r for r in results if isinstance(r, Finding)] == []
    texts = sum(edge.kind == "text" for edge in CORPUS)
    assert [w["outcome"] for w in written(results)] == ["unchanged"] * texts
    assert {w["place"] for w in written(results)} == {"Things.note"}
    assert shop.rows == before


def test_without_permission_nothing_is_written(bench, ask, shop):
    assert written(ask(CHECK, bench(writes=False))) == []
    assert shop.writes == []


def mangling(kinds, change):
    class Mangles(kinds.ShopConnector):
        def write(self, object, records, *, key=None):
            return super().write(object, [{**r, "note": change(r["note"])} for r in records], key=key)

    return Mangles


@pytest.mark.parametrize(
    ("change", "value", "says", "code"),
    [
        (lambda v: v and v[:255], "a cell full of text", "cut to 255 of 32,767", "value_changed"),
        (lambda v: str(int(v)) if v and v.isdigit() else v, "leading zeros", "leading zeros lost", "value_changed"),
        (lambda v: None if v == "NULL" else v, "the word NULL", "became no value", "value_changed"),
        (lambda v: v and v.upper(), "Turkish dotted and dotless i", "", "value_changed"),
        (
            lambda v: v and v.encode("latin-1", "replace").decode("latin-1"),
            "right to left",
            "replaced",
            "value_changed",
        ),
        (lambda v: v and v.strip(), "spaces around", "spaces cut off", "value_normalised"),
        (lambda v: v or None, "empty text", "became no value", "value_normalised"),
    ],
)
def test_a_lossy_trip_names_value_place_and_effect(bench, ask, kinds, change, value, says, code):
    results = found(ask(CHECK, bench(mangling(kinds, change), writes=True)), code)
    (finding,) = [r for r in results if f"'{value}'" in r.message]
    assert says in finding.message
    assert "Things.note" in finding.message
    assert finding.business_effect


def test_what_is_said_to_be_written_and_is_not_there(bench, ask, kinds):
    class Pretends(kinds.ShopConnector):
        def once(self, method, path, body, headers):
            if method == "POST" and body["note"] == "O'Brien":
                return {"id": 0, "created": True}
            return super().once(method, path, body, headers)

    (finding,) = found(ask(CHECK, bench(Pretends, writes=True)), "value_lost")
    assert "apostrophe" in finding.message


def test_a_refusal_is_sound_and_a_left_over_is_not(bench, ask, kinds):
    class Refuses(kinds.ShopConnector):
        def write(self, object, records, *, key=None):
            if any("\0" in (r["note"] or "") for r in records):
                raise kinds.errors.RejectedError("no NUL in text")
            return super().write(object, records, key=key)

        def delete(self, object, records):
            return []

    results = ask(CHECK, bench(Refuses, writes=True))
    assert [r.message for r in found(results, "value_refused")] == [
        "shop.Things: 'NUL' is refused in Things.note: RejectedError: no NUL in text"
    ]
    assert len(found(results, "not_cleaned_up")) == 1


def test_what_is_there_is_looked_through(bench, ask, shop):
    for n, note in enumerate(("00123", "=1+1", "a\u00a0b", "line\nline", "N/A", "1.234,56", "👩", "שלום"), 200):
        shop.rows[n] = dict(shop.rows[1], id=n, note=note)
    (finding,) = found(ask(CHECK, bench()), "seen")
    assert set(finding.observed) == {"note"}
    assert {"leading zeros", "no-break space", "line break", "decimal comma", "right to left"} <= set(
        finding.observed["note"]
    )


def test_a_key_that_is_spelt_otherwise_in_the_other_system_is_followed(bench, ask, shop, tmp_path):
    path = tmp_path / "target.duckdb"
    with closing(duckdb.connect(str(path))) as database:
        database.execute("CREATE TABLE rows AS SELECT unnest(['name 1', 'NAME 2', 'name\u00a03', '007']) AS number")
    target = Landing(path, "rows", 4, ("number",), ("number",), (), 0, 0.0)
    shop.rows[4]["name"] = "7"
    made = bench()
    reference = Relationship("foreignKey", ("name",), "other.odcs.yaml", "Accounts", ("number",), 1)
    made.point = replace(made.point, object=replace(made.point.object, relationships=(reference,)))
    made.context = replace(made.context, target_keys=lambda relationship: target)
    (finding,) = found(ask(CHECK, made), "key_mangled")
    assert finding.observed == 3
    assert finding.evidence["ways"] == ["case differs", "leading zeros differ", "spaces differ"]


def test_changes_are_named():
    assert change_of("x", "x") is None
    assert change_of("Cafe\u0301", "Café") == "accents recomposed"
    assert change_of("a\r\nb", "a\nb") == "line breaks changed"
    assert change_of("a\0b", "ab") == "NUL removed"
    assert change_of("Grüße", "Gr??e") == "characters replaced"
