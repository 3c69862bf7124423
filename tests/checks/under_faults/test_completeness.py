"""Completeness: a whole read passes; every way of losing or repeating rows is named."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pyarrow.compute as pc
import pytest

from weighbridge.checks.base import Finding, Inconclusive, Measurement
from weighbridge.checks.completeness import CompletenessCheck
from weighbridge.connectors.base import Observation

CHECK = CompletenessCheck()


def codes(results):
    return [r.code for r in results if isinstance(r, Finding)]


@pytest.mark.parametrize("style", ["keyset", "offset"])
def test_a_whole_read_passes(bench, ask, kinds, style):
    results = ask(CHECK, bench(type("Whole", (kinds.ShopConnector,), {"style": style})))
    assert codes(results) == []
    (numbers,) = [r.data for r in results if isinstance(r, Measurement)]
    assert (numbers["read"], numbers["distinct_keys"], numbers["pages"]) == (130, 130, 4)


def test_a_swallowed_last_page_is_missing_rows(bench, ask, kinds):
    class SwallowsLastPage(kinds.ShopConnector):
        def read(self, object, **options):
            for page in super().read(object, **options):
                if page.cursor is not None:
                    yield page

    (found,) = [r for r in ask(CHECK, bench(SwallowsLastPage)) if isinstance(r, Finding)]
    assert found.code == "completeness.rows_missing"
    assert (found.expected, found.observed) == (130, 120)


def test_inserted_while_read_by_offset_repeats_a_row(bench, ask, kinds, shop):
    class ByOffset(kinds.ShopConnector):
        style = "offset"

    def insert_in_front(shop, asked):
        if asked.get("offset") == "40" and 0 not in shop.rows:
            shop.rows[0] = dict(shop.rows[1], id=0)

    shop.on_get = insert_in_front
    found = ask(CHECK, bench(ByOffset))
    assert codes(found) == ["completeness.read_twice", "completeness.changed_while_reading"]
    assert found[0].evidence["seams"] == [{"first_on_page": 1, "again_on_page": 2, "keys": 1}]


def test_deleted_while_read_by_offset_is_bounded(bench, ask, kinds, shop):
    class ByOffset(kinds.ShopConnector):
        style = "offset"

    def delete_first(shop, asked):
        if asked.get("offset") == "40":
            shop.rows.pop(1, None)
            shop.rows.pop(2, None)

    shop.on_get = delete_first
    results = ask(CHECK, bench(ByOffset))
    # 130 before, 128 after: the two that the seam swallowed cannot be told from the two that went, and it says so.
    assert codes(results) == ["completeness.changed_while_reading"]
    assert "Up to 2 rows are not proved" in results[0].message


def test_changes_while_reading_by_key_are_explained(bench, ask, shop):
    def append(shop, asked):
        if asked.get("after") == "40":
            shop.rows[500] = dict(shop.rows[2], id=500)

    shop.on_get = append
    assert codes(ask(CHECK, bench())) == ["completeness.changed_while_reading"]


def test_a_repeated_page_is_named(bench, ask, kinds):
    class Repeats(kinds.ShopConnector):
        def read(self, object, **options):
            for number, page in enumerate(super().read(object, **options)):
                yield page
                if number == 1:
                    yield page

    assert codes(ask(CHECK, bench(Repeats))) == ["completeness.page_repeated", "completeness.read_twice"]


def test_more_rows_than_counted(bench, ask, shop):
    shop.count_off = -5
    assert codes(ask(CHECK, bench())) == ["completeness.rows_unexpected"]


def test_rows_left_out_are_told(bench, ask, kinds):
    class Skips(kinds.ShopConnector):
        def read(self, object, **options):
            for page in super().read(object, **options):
                yield replace(page, raw_rows=page.batch.num_rows + (page.cursor is None))

    assert codes(ask(CHECK, bench(Skips))) == ["completeness.rows_skipped"]


def test_rows_cut_for_this_user_are_unknown_unless_declared(bench, ask, kinds):
    class Cut(kinds.ShopConnector):
        def probe(self):
            seen = Observation("row_security", "a policy hides rows from user me")
            return replace(super().probe(), observations=(seen,))

    with pytest.raises(Inconclusive, match="does not see all"):
        ask(CHECK, bench(Cut))
    assert codes(ask(CHECK, bench(Cut, custom={"weighbridge.expected_rows": 130}))) == []


def test_expected_rows_are_held_to(bench, ask):
    assert codes(ask(CHECK, bench(custom={"weighbridge.expected_rows": 131}))) == ["completeness.expected_rows"]


def test_an_estimate_proves_nothing(bench, ask, kinds):
    take = {"before": kinds.Count(130, False), "after": kinds.Count(130, False)}
    with pytest.raises(Inconclusive, match="only estimates"):
        ask(CHECK, bench(take=take))


def test_changes_that_lose_ties_are_found(bench, ask, kinds):
    class LosesTies(kinds.ShopConnector):
        def changes(self, object, since, *, columns=None):

            for page in super().changes(object, since):
                later = pc.greater(page.batch.column("changed"), datetime.fromisoformat(since))
                yield replace(page, batch=page.batch.filter(later).select(list(columns)))

    assert codes(ask(CHECK, bench(LosesTies))) == ["completeness.incremental_misses"]


def test_late_rows_without_a_change_time_are_invisible_to_changes(bench, ask, shop):
    shop.rows[131] = {"id": 131, "name": "late", "note": "", "changed": None}
    assert codes(ask(CHECK, bench())) == ["completeness.incremental_blind"]
