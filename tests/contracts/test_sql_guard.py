"""A statement of a contract that could write, wait or reach out of the data is refused; one that only reads is not."""

from __future__ import annotations

import pytest

from weighbridge.contracts._sql import refusal

WRITES = [
    "INSERT INTO t VALUES (1)",
    "WITH x AS (INSERT INTO t VALUES (1) RETURNING 1) SELECT * FROM x",
    "WITH x AS (DELETE FROM t RETURNING 1) SELECT count(*) FROM x",
    "WITH x AS (UPDATE t SET a = 1 RETURNING 1) SELECT count(*) FROM x",
    "SELECT 1; DROP TABLE t",
    "SELECT a INTO made FROM t",
    "SELECT a FROM t FOR UPDATE",
    "COPY t TO 'x'",
    "ATTACH 'x.db'",
    "PRAGMA database_list",
    "SET x = 1",
    "EXPLAIN ANALYZE DELETE FROM t",
    "SELECT /*!50000 sleep(10) */ 1",
    "SELECT @x := 5",
]
REACHES_OUT = [
    "read_csv('/etc/passwd')", "read_text('x')", "read_blob('x')", "parquet_scan('x')", "csv_scan('x')", "glob('/*')",
    "pg_read_file('x')", "pg_catalog.pg_read_file('x')", "pg_ls_dir('/')", "lo_import('x')", "dblink('x', 'y')",
    "query('drop table t')", "query_table('t')", "load_file('x')", "load_extension('x')", "sys_eval('id')",
    "postgres_query('x', 'y')", "json_execute_serialized_sql('x')", "getenv('HOME')",
]  # fmt: skip
DOES = [
    "nextval('s')", "setval('s', 1)", "pg_sleep(9)", "sleep(9)", "sleep_ms(9)", "benchmark(9, 1)",
    "pg_notify('a', 'b')",
    "pg_rotate_logfile()", "pg_drop_replication_slot('x')", "pg_stat_reset()", "pg_try_advisory_lock(1)",
    "get_lock('a', 9)", "setseed(0.5)", "set_config('a', 'b', true)", "query_to_xml('delete from t', true, true, '')",
    "dbms_pipe.receive_message('a', 9)", "utl_http.request('http://x')", "release_all_locks()", "write_log('x')",
    "last_insert_id(5)", "our_own_procedure(1)", "dbo.our_own_procedure(1)",
]  # fmt: skip
READS = [
    "SELECT count(*) FROM t",
    "SELECT count(*) FROM ${object} WHERE ${property} IS NULL",
    "WITH a AS (SELECT * FROM t) SELECT count(*) FROM a JOIN u USING (id)",
    "SELECT count(*) FROM (SELECT id FROM t GROUP BY id HAVING count(*) > 1) d",
    "SELECT sum(amount) / nullif(count(DISTINCT id), 0) FROM t WHERE day >= date '2024-01-01' - interval '7 days'",
    "SELECT count(*) FROM t WHERE NOT regexp_full_match(code, '[A-Z]+') OR strlen(code) > 3 OR list_contains(a, 'x')",
    "SELECT max(row_number) FROM (SELECT row_number() OVER (PARTITION BY a ORDER BY b) AS row_number FROM t)",
    "SELECT quantile_cont(amount, 0.5) FROM t",
    "SELECT count(*) FROM t WHERE try_strptime(day, '%Y') IS NULL AND isfinite(amount) AND json_valid(body)",
    "SELECT count(*) FROM t WHERE date_part('year', day) = 2024 AND date_diff('day', day, today()) < 9",
    "SELECT count(*) FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.id = t.id UNION ALL SELECT 2)",
    "SELECT median(a) FILTER (WHERE b > 1) FROM t WHERE note LIKE '%delete from%; --' -- as written",
    "SELECT jaro_similarity(a, b) FROM t",
]


@pytest.mark.parametrize("statement", WRITES)
def test_writing_is_refused(statement: str) -> None:
    assert refusal(statement) is not None


@pytest.mark.parametrize("call", [*REACHES_OUT, *DOES])
@pytest.mark.parametrize("dialect", [None, "duckdb", "postgres", "mysql", "tsql"])
def test_a_function_that_does_more_than_work_out_a_value_is_refused(call: str, dialect: str | None) -> None:
    assert refusal(f"SELECT {call}", dialect) is not None
    assert refusal(f"SELECT count(*) FROM t WHERE 1 = (SELECT {call})", dialect) is not None
    assert refusal(f"SELECT count(*) FROM {call} x", dialect) is not None


@pytest.mark.parametrize("statement", READS)
def test_reading_is_not_refused(statement: str) -> None:
    assert refusal(statement) is None
