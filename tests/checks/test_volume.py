"""The volume check on real SQLite files and a paging stand-in: rates, growth, windows."""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import SimpleNamespace

import pyarrow as pa
import pytest
from load_kit import Tiny, context, permissions, point

from weighbridge.checks.base import Finding, Forecast, Inconclusive, Landing, Measurement, PageLog
from weighbridge.checks.volume import VolumeCheck
from weighbridge.connectors.base import Count, Page
from weighbridge.connectors.session import Session
from weighbridge.contracts.scale import Scale


class Paging(Tiny):
    """Pages whose cost is stated: `per_row` seconds a row, plus `per_offset` for every row before the page."""

    rows, per_row, per_offset = 3_000, 2e-6, 0.0

    def read(self, object, *, columns=None, after=None, page_rows=None) -> Iterator[Page]:
        size = page_rows or 250
        for first in range(0, self.rows, size):
            count = min(size, self.rows - first)
            started = time.perf_counter()
            time.sleep(count * (self.per_row + self.per_offset * first))
            batch = pa.record_batch({"id": pa.array(range(first, first + count))})
            yield Page(batch, ("id",), time.perf_counter() - started, 1)


def weigh(tmp_path, kind=Paging, *, scale=None, expected_rows=None, page_rows=250, peak=None, allowed=None, limits=()):
    connector = kind({"port": 0}, Session("tiny"))
    connector.open()
    log, first = [], 0
    for number, page in enumerate(connector.read("things", page_rows=page_rows)):
        log.append(PageLog(number, first, page.batch.num_rows, page.seconds, 1))
        first += page.batch.num_rows
    landing = Landing(
        tmp_path / "x.duckdb", "t", first, ("id",), ("id",), tuple(log), 0, sum(p.seconds for p in log), peak_bytes=peak
    )
    seen = SimpleNamespace(landing=landing, count_before=Count(first, True), limits=limits)
    at = point(Scale(**(scale or {})), expected_rows=expected_rows)
    results = list(VolumeCheck()(at, seen, context(connector, allowed or permissions())))
    return (
        {r.limit: r for r in results if isinstance(r, Forecast)},
        {r.code: r for r in results if isinstance(r, Finding)},
        next(r.data for r in results if isinstance(r, Measurement)),
    )


class Slow(Paging):
    per_row = 1e-4


class Offset(Paging):
    per_offset = 3e-8


def test_a_linear_read_within_its_window_has_no_finding(tmp_path):
    forecasts, findings, data = weigh(tmp_path, Slow, scale={"batch_window_h": 1.0}, expected_rows=100_000)
    assert findings == {}
    window = forecasts["batch_window"]
    # 100,000 rows x 0.1 ms = 10 s against an hour
    assert window.low > 600
    assert data["seconds_at_production"][0] <= 12 <= data["seconds_at_production"][2] * 1.5
    assert len(data["sizes"]) == 3
    assert data["exponent"] == pytest.approx(1.0, abs=0.3)


def test_a_window_that_is_too_short(tmp_path):
    forecasts, findings, _ = weigh(tmp_path, Slow, scale={"batch_window_h": 0.01}, expected_rows=2_000_000)
    assert "volume.window_exceeded" in findings
    assert forecasts["batch_window"].high < 500
    assert forecasts["batch_window"].remedies


def test_offset_paging_is_named(tmp_path):
    forecasts, findings, data = weigh(
        tmp_path, Offset, scale={"batch_window_h": 1.0}, expected_rows=10_000_000, page_rows=100
    )
    assert "OFFSET" in findings["volume.square_paging"].message
    assert data["exponent_at_production"] > 1.7
    assert "keyset" in forecasts["batch_window"].remedies[0]["remedy"]


def test_a_page_that_the_server_would_cut(tmp_path):
    from weighbridge.connectors.base import Limit

    timeout = Limit("statement_timeout", "server", 5.0, "seconds", None, None, "reported", "sandbox", "")
    _, findings, _ = weigh(tmp_path, Offset, expected_rows=10_000_000, page_rows=100, limits=(timeout,))
    assert "volume.page_times_out" in findings


def test_few_pages_are_read_again_in_finer_ones(tmp_path):
    _, _, data = weigh(tmp_path, page_rows=3_000)
    assert "second read" in data["note"]
    assert len(data["sizes"]) == 3


def test_a_file_that_outgrows_memory(tmp_path):
    class Book(Paging):
        networked = False

    _, findings, _ = weigh(tmp_path, Book, peak=2**30, expected_rows=30_000_000)
    assert "volume.memory" in findings


def test_staging_speed_is_not_productions(tmp_path):
    forecasts, _, _ = weigh(
        tmp_path, Slow, scale={"batch_window_h": 1.0}, allowed=permissions("staging", max_users=1, max_burst=0)
    )
    assert not forecasts["batch_window"].answers_target


def test_no_rows_and_a_window_is_unknown(tmp_path):
    class Empty(Paging):
        rows = 0

    with pytest.raises(Inconclusive, match="no row could be timed"):
        weigh(tmp_path, Empty, scale={"batch_window_h": 1.0})
    assert weigh(tmp_path, Empty)[0] == {}
