"""Resilience: an honest connector passes the whole matrix; each planted bug is caught by its name."""

from __future__ import annotations

import http.client
import json
import logging
import threading
import time
import uuid
from itertools import islice

import pytest

from weighbridge.checks.base import Finding, Inconclusive, Measurement, NotRun
from weighbridge.checks.completeness import CompletenessCheck
from weighbridge.checks.resilience import ResilienceCheck

CHECK = ResilienceCheck()


def codes(results):
    return {r.code for r in results if isinstance(r, Finding)}


def numbers(results):
    return next(r.data for r in results if isinstance(r, Measurement) and r.name == "resilience")


@pytest.mark.parametrize("matrix", ["default", pytest.param("full", marks=pytest.mark.slow)])
def test_an_honest_connector_is_clean(bench, ask, matrix):
    started = time.monotonic()
    made = bench(settings={"fault_matrix": matrix})
    results = ask(CHECK, made)
    assert [f"{r.code}: {r.message}" for r in results if isinstance(r, Finding)] == []
    data = numbers(results)
    assert data["protocol"] == "http"
    assert len(data["cells"]) >= (14 if matrix == "default" else 40)
    assert data["recovered"] + data["clear_errors"] == len(data["cells"])
    assert data["amplification"]["outage"] == pytest.approx(4, abs=0.5)
    assert time.monotonic() - started < 30


def test_tls_is_ended_in_between_so_that_http_faults_can_be_tried(tls_shop, bench, ask):
    cells = ["latency", "503 twice, then well", "body cut short, then well", "login page with 200", "quota spent"]
    results = ask(CHECK, bench(settings={"fault_matrix": cells}))
    assert codes(results) == set()
    assert numbers(results)["protocol"] == "http"


def test_tls_passes_through_where_the_connector_cannot_be_told_whom_to_trust(tls_shop, bench, ask, kinds):
    class OwnTrust(kinds.ShopConnector):
        def dial(self):
            return kinds.trusting(self, tls_shop.ca_file)

        def probe(self):
            self.count("things")
            return super().probe()

    results = ask(CHECK, bench(OwnTrust, settings={"fault_matrix": ["latency", "down"]}))
    assert codes(results) == {"resilience.http_not_tried"}
    assert numbers(results)["protocol"] == "tls"


def test_a_table_without_rows_is_no_pass(bench, ask, shop):
    shop.rows.clear()
    with pytest.raises(Inconclusive, match="no row"):
        ask(CHECK, bench())


def test_what_is_not_on_a_network_is_not_applicable(bench, ask, kinds):
    class OnDisk(kinds.ShopConnector):
        networked = False

    with pytest.raises(NotRun) as skipped:
        ask(CHECK, bench(OnDisk))
    assert skipped.value.reason == "not_applicable"


def test_a_connector_that_passes_the_proxy_by_is_no_pass(bench, ask, kinds):
    class PassesBy(kinds.ShopConnector):
        def dial(self):
            where = self.endpoints()[0]
            return http.client.HTTPConnection(where.host, where.port, timeout=3)

    with pytest.raises(Inconclusive, match="did not go through"):
        ask(CHECK, bench(PassesBy))


# --- the planted bugs: (what is wrong, the finding that must name it) --------------------------------------


def no_retry(k):
    class NoRetry(k.ShopConnector):
        def call(self, method, path, *, body=None, headers=None, idempotent=True):
            with self.session.attempt(method):
                return self.once(method, path, body, headers or {})

    return NoRetry


def no_timeout(k):
    class NoTimeout(k.ShopConnector):
        def dial(self):
            where = self.session.route(self.endpoints()[0])
            return http.client.HTTPConnection(where.host, where.port)

    return NoTimeout


def catches_everything(k):
    class CatchesEverything(k.ShopConnector):
        def get(self, path, asked):
            try:
                return super().get(path, asked)
            except Exception:  # noqa: BLE001 - the bug
                return {"rows": [], "next": None, "count": 0}

    return CatchesEverything


def swallows_the_page_that_fails(k):
    class Swallows(k.ShopConnector):
        def read(self, object, *, columns=None, after=None, page_rows=None):
            place = after or "0"
            while place is not None:
                try:
                    answer = self.get("/rows", {"size": page_rows or k.PAGE, "after": place})
                except k.errors.ProtocolError:
                    return
                yield self.page(answer["rows"], columns, answer["next"])
                place = answer["next"]

    return Swallows


def trusts_status_200(k):
    class Trusts(k.ShopConnector):
        def judged(self, response, data):
            if response.status == 200 and "json" not in response.getheader("Content-Type", ""):
                return {"rows": [], "next": None}
            return super().judged(response, data)

    return Trusts


def takes_part_of_an_answer(k):
    class TakesPart(k.ShopConnector):
        def once(self, method, path, body, headers):
            try:
                return super().once(method, path, body, headers)
            except k.errors.RetriableError as error:
                if "no JSON" in str(error) or "IncompleteRead" in str(error):
                    return {"rows": [], "next": str(int(path.rsplit("=", 1)[1]) + 40)}
                raise

    return TakesPart


def duplicates_on_resume(k):
    class Duplicates(k.ShopConnector):
        def read(self, object, *, columns=None, after=None, page_rows=None):
            place, again = after or "0", 0
            while place is not None:
                try:
                    answer = self.call_once("/rows", {"size": page_rows or k.PAGE, "after": place})
                except k.errors.RetriableError:
                    again += 1
                    if again > 3:
                        raise
                    place = str(max(0, int(place) - 10))
                    continue
                yield self.page(answer["rows"], columns, answer["next"])
                place = answer["next"]

        def call_once(self, path, asked):
            from urllib.parse import urlencode

            with self.session.attempt("GET"):
                return self.once("GET", f"{path}?{urlencode(asked)}", None, {})

    return Duplicates


def skips_the_page_after_a_failure(k):
    class Skips(k.ShopConnector):
        def read(self, object, *, columns=None, after=None, page_rows=None):
            size = page_rows or k.PAGE
            place = after or "0"
            while place is not None:
                try:
                    answer = self.get("/rows", {"size": size, "after": place})
                except k.errors.RetriableError:
                    place = str(int(place) + size)
                    continue
                yield self.page(answer["rows"], columns, answer["next"])
                place = answer["next"]

        def call(self, method, path, *, body=None, headers=None, idempotent=True):
            with self.session.attempt(method):
                return self.once(method, path, body, headers or {})

    return Skips


def leaks_connections(k):
    class Leaks(k.ShopConnector):
        kept = []  # noqa: RUF012 - keeps what leaks

        def drop(self):
            self.kept.append(self._connection)
            self._connection = None

        def judged(self, response, data):
            if response.status >= 400:
                self.kept.append(self._connection)
                self._connection = None
            return super().judged(response, data)

    return Leaks


def storms(k):
    class Storms(k.ShopConnector):
        def once(self, method, path, body, headers):
            for again in range(4):
                try:
                    return super().once(method, path, body, headers)
                except k.errors.RetriableError:
                    if again == 3:
                        raise
            return None

    return Storms


def hammers(k):
    class Hammers(k.ShopConnector):
        def call(self, method, path, *, body=None, headers=None, idempotent=True):
            for again in range(4):
                try:
                    with self.session.attempt(method):
                        return self.once(method, path, body, headers or {})
                except k.errors.RetriableError:
                    if again == 3:
                        raise
            return None

    return Hammers


def retries_in_step(k):
    class InStep(k.ShopConnector):
        def call(self, method, path, *, body=None, headers=None, idempotent=True):
            for again in range(4):
                try:
                    with self.session.attempt(method):
                        return self.once(method, path, body, headers or {})
                except k.errors.RetriableError as error:
                    if again == 3:
                        raise
                    pause = error.retry_after or 0.05 * 2**again
                    if pause > 8:
                        raise
                    self.session.meter.count(retries=1)
                    self.session.sleep(pause)
            return None

    return InStep


def ignores_retry_after(k):
    class Ignores(k.ShopConnector):
        def refused(self, status, retry_after, data):
            super().refused(status, None, data)

    return Ignores


def retries_spent_quota(k):
    class RetriesQuota(k.ShopConnector):
        def refused(self, status, retry_after, data):
            if status == 403:
                raise k.errors.ThrottledError("403")
            super().refused(status, retry_after, data)

    return RetriesQuota


def says_wrong_password(k):
    class WrongClass(k.ShopConnector):
        def refused(self, status, retry_after, data):
            if status == 403:
                raise k.errors.AuthError("wrong password")
            super().refused(status, retry_after, data)

    return WrongClass


def lets_raw_errors_out(k):
    class Raw(k.ShopConnector):
        def judged(self, response, data):
            if response.status == 200 and "json" in response.getheader("Content-Type", ""):
                return json.loads(data)
            return super().judged(response, data)

    return Raw


def follows_with_credentials(k):
    class Follows(k.ShopConnector):
        def judged(self, response, data):
            target = response.getheader("Location")
            if response.status in (301, 302, 303, 307, 308) and target:
                host, _, rest = target.removeprefix("http://").partition("/")
                elsewhere = http.client.HTTPConnection(host, timeout=2)
                elsewhere.request("GET", "/" + rest, headers={"Authorization": "Bearer " + self.options.token})
                elsewhere.getresponse().read()
                elsewhere.close()
            return super().judged(response, data)

    return Follows


def never_gives_up(k):
    class NeverGivesUp(k.ShopConnector):
        def call(self, method, path, *, body=None, headers=None, idempotent=True):
            while True:
                try:
                    with self.session.attempt(method):
                        return self.once(method, path, body, headers or {})
                except k.errors.RetriableError:
                    self.session.meter.count(retries=1)
                    self.session.sleep(self.session.random.uniform(0, 0.2))

    return NeverGivesUp


def answers_from_a_cache(k):
    class Caches(k.ShopConnector):
        seen = {}  # noqa: RUF012 - the cache that outlives its session

        def get(self, path, asked):
            place = (path, str(asked))
            try:
                self.seen[place] = super().get(path, asked)
            except k.errors.UnreachableError:
                if place not in self.seen:
                    raise
            return self.seen[place]

    return Caches


def leaks_threads(k):
    class LeaksThreads(k.ShopConnector):
        ended = threading.Event()

        def open(self):
            super().open()
            threading.Thread(target=self.beat, daemon=True).start()

        def beat(self):
            self.ended.wait(60)

    return LeaksThreads


def holds_its_sessions(k):
    class Holds(k.ShopConnector):
        held = []  # noqa: RUF012 - keeps what leaks

        def open(self):
            super().open()
            self.held.append(self)

    return Holds


def logs_credentials(k):
    class Logs(k.ShopConnector):
        def once(self, method, path, body, headers):
            logging.getLogger(__name__).debug("GET %s with %s", path, {"Authorization": self.options.token})
            return super().once(method, path, body, headers)

    return Logs


def tells_credentials(k):
    class Tells(k.ShopConnector):
        def refused(self, status, retry_after, data):
            if status == 500:
                raise k.errors.RetriableError(f"500 for Authorization: Bearer {self.options.token}")
            super().refused(status, retry_after, data)

    return Tells


def no_timeout_in_the_body(k):
    class NoBodyTimeout(k.ShopConnector):
        def body(self, response):
            if self._connection.sock is not None:
                self._connection.sock.settimeout(None)
            return super().body(response)

    return NoBodyTimeout


def times_out_between_bytes_only(k):
    class BetweenBytes(k.ShopConnector):
        def body(self, response):
            return response.read()

    return BetweenBytes


BUGS = [
    (answers_from_a_cache, "stale_answer", ["down"]),
    (leaks_threads, "thread_leak", ["latency", "503 twice, then well", "down"]),
    (holds_its_sessions, "memory_leak", ["latency", "503 twice, then well", "down"]),
    (logs_credentials, "credentials_shown", ["latency"]),
    (tells_credentials, "credentials_shown", ["500 without end"]),
    (no_timeout_in_the_body, "hangs", ["hang in the body, then well"]),
    (times_out_between_bytes_only, "hangs", ["dripping without end, then well"]),
    (no_retry, "not_recovered", ["503 twice, then well"]),
    (no_timeout, "hangs", ["no answer, then well"]),
    (catches_everything, "error_swallowed", ["500 without end"]),
    (swallows_the_page_that_fails, "error_swallowed", ["login page with 200"]),
    (trusts_status_200, "error_swallowed", ["login page with 200"]),
    (takes_part_of_an_answer, "records_lost", ["body cut short, then well"]),
    (duplicates_on_resume, "records_duplicated", ["reset, then well"]),
    (skips_the_page_after_a_failure, "records_lost", ["reset, then well"]),
    (leaks_connections, "connection_leak", ["500 without end"]),
    (storms, "retry_storm", ["500 without end"]),
    (hammers, "no_backoff", ["500 without end", "garbage"]),
    (retries_in_step, "no_jitter", ["500 without end", "down", "503 twice, then well", "garbage"]),
    (ignores_retry_after, "retry_after_ignored", ["429 with Retry-After, then well"]),
    (retries_spent_quota, "retried_in_vain", ["quota spent"]),
    (says_wrong_password, "wrong_error", ["quota spent"]),
    (lets_raw_errors_out, "wrong_error", ["garbage"]),
    (follows_with_credentials, "credentials_followed", ["redirect to another host"]),
    (never_gives_up, "hangs", ["down"]),
]
SLOW = {no_timeout, never_gives_up, no_timeout_in_the_body, times_out_between_bytes_only, leaks_connections}


@pytest.mark.parametrize(
    ("bug", "named", "cells"),
    [pytest.param(*row, id=row[0].__name__, marks=[pytest.mark.slow] if row[0] in SLOW else []) for row in BUGS],
)
def test_a_planted_bug_is_caught_by_name(bench, ask, kinds, bug, named, cells):
    kind = bug(kinds)
    found = codes(ask(CHECK, bench(kind, settings={"fault_matrix": cells})))
    for connection in getattr(kind, "kept", []):
        if connection is not None:
            connection.close()
    getattr(kind, "ended", threading.Event()).set()
    assert f"resilience.{named}" in found


@pytest.mark.slow
def test_a_machine_that_was_too_busy_once_is_no_hang(bench, ask, kinds):
    held = threading.Event()
    times = iter([False, False, True])  # two reads without faults are in time, the first one under them is not

    class BusyOnce(kinds.ShopConnector):
        def read(self, object, **options):
            if next(times, False):
                held.wait(12)  # a little longer than a hang takes to be called one
            yield from super().read(object, **options)

    found = codes(ask(CHECK, bench(BusyOnce, settings={"fault_matrix": ["latency"]})))
    held.set()
    assert "resilience.hangs" not in found


def test_the_cells_that_catch_bugs_are_passed_by_the_honest_connector(bench, ask):
    cells = sorted({cell for *_, names in BUGS for cell in names})
    assert codes(ask(CHECK, bench(settings={"fault_matrix": cells}))) == set()


def test_an_unknown_cell_is_named(bench, ask):
    with pytest.raises(ValueError, match="no cell is named 'meteor'"):
        ask(CHECK, bench(settings={"fault_matrix": ["meteor"]}))


def ignores_next(k):
    class IgnoresNext(k.ShopConnector):
        def read(self, object, **options):
            yield from islice(super().read(object, **options), 1)

    return IgnoresNext


def test_a_connector_that_ignores_the_next_link_is_caught_by_completeness(bench, ask, kinds):
    assert codes(ask(CompletenessCheck(), bench(ignores_next(kinds)))) == {"completeness.rows_missing"}


def drops_a_row_at_the_seam(k):
    class Drops(k.ShopConnector):
        def page(self, rows, columns, cursor):
            return super().page(rows[:-1] if cursor is not None else rows, columns, cursor)

    return Drops


def stops_at_a_hundred_rows(k):
    class Stops(k.ShopConnector):
        def read(self, object, **options):
            seen = 0
            for page in super().read(object, **options):
                seen += page.batch.num_rows
                if seen > 100:
                    return
                yield page

    return Stops


@pytest.mark.parametrize("bug", [drops_a_row_at_the_seam, stops_at_a_hundred_rows])
def test_rows_lost_without_any_fault_are_caught_by_completeness(bench, ask, kinds, bug):
    assert codes(ask(CompletenessCheck(), bench(bug(kinds)))) == {"completeness.rows_missing"}


ONE = {"fault_matrix": ["latency"]}


# --- writing -----------------------------------------------------------------------------------------------


def ledger_of(results):
    return next(r.data for r in results if isinstance(r, Measurement) and r.name == "ledger")


def test_writes_survive_lost_answers_and_leave_nothing(bench, ask, shop):
    before = dict(shop.rows)
    results = ask(CHECK, bench(writes=True, settings=ONE))
    assert codes(results) == set()
    books = ledger_of(results)
    assert [s["stage"] for s in books["stages"]] == ["submitted twice", "answer lost", "killed before the answer"]
    assert all(n == 1 for s in books["stages"] for n in s["at_the_system"].values())
    assert books["left_behind"] == 0
    assert shop.rows == before
    assert len(shop.writes) >= 9


def test_no_write_without_permission(bench, ask, shop):
    ask(CHECK, bench(writes=False, settings=ONE))
    assert shop.writes == []


def test_a_write_that_is_sent_again_blindly_is_caught(bench, ask, kinds):
    class SendsAgain(kinds.ShopConnector):
        def call(self, method, path, *, body=None, headers=None, idempotent=True):
            return super().call(method, path, body=body, headers=headers, idempotent=True)

    found = codes(ask(CHECK, bench(SendsAgain, writes=True, settings=ONE)))
    assert found == {"resilience.write_repeated"}


@pytest.mark.parametrize(("fresh", "found"), [(True, {"resilience.write_repeated"}), (False, set())])
def test_a_write_sent_again_under_a_new_idempotency_key_is_caught(bench, ask, kinds, fresh, found):
    class WithKey(kinds.ShopConnector):
        def call(self, method, path, *, body=None, headers=None, idempotent=True):
            given = {**(headers or {}), **({} if fresh else {"Idempotency-Key": uuid.uuid4().hex})}
            if method != "POST" or headers:
                return super().call(method, path, body=body, headers=headers, idempotent=idempotent)
            return super().call(method, path, body=body, headers=given, idempotent=True)

        def once(self, method, path, body, headers):
            if fresh and method == "POST":
                headers = {**headers, "Idempotency-Key": uuid.uuid4().hex}
            return super().once(method, path, body, headers)

    assert codes(ask(CHECK, bench(WithKey, writes=True, settings=ONE))) == found


def test_a_write_that_is_not_done_is_caught(bench, ask, kinds):
    class Pretends(kinds.ShopConnector):
        def once(self, method, path, body, headers):
            if method == "POST" and body["name"].endswith("1"):
                return {"id": 0, "created": True}
            return super().once(method, path, body, headers)

    assert "resilience.write_lost" in codes(ask(CHECK, bench(Pretends, writes=True, settings=ONE)))


def test_what_cannot_be_removed_is_told(bench, ask, kinds):
    class Keeps(kinds.ShopConnector):
        def delete(self, object, records):
            return []

    assert codes(ask(CHECK, bench(Keeps, writes=True, settings=ONE))) == {"resilience.not_cleaned_up"}
