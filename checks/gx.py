"""The one module of Great Expectations: it gives the verdict on a compiled suite, on DuckDB or in place.

Two small adaptations make GX run on DuckDB, which it does not support itself: results are fetched before GX closes
their connection, and GX is told how DuckDB spells a regular expression. Both touch internals, so the version is
pinned and a canary test says when either is no longer needed or no longer fits.

Importing this module costs seconds: import it where a suite is run, nowhere else. Two libraries that only the
divergence and Kolmogorov-Smirnov metrics of GX use, which no rule compiles to, are left out: without them the import
takes 40 % less time and 80 MB less memory.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

from weighbridge.checks.left_out import left_out

os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")

with warnings.catch_warnings(), left_out("altair", "scipy.stats"):
    # Its dependencies' deprecations are not ours to mend.
    warnings.simplefilter("ignore")
    import great_expectations as gx
    from great_expectations.core import (
        ExpectationSuiteValidationResult,
        ExpectationValidationResult,
        RunIdentifier,
    )
    from great_expectations.core.batch import Batch
    from great_expectations.core.metric_domain_types import MetricDomainTypes
    from great_expectations.core.metric_function_types import MetricPartialFunctionTypes
    from great_expectations.data_context.types.resource_identifiers import (
        ExpectationSuiteIdentifier,
        ValidationResultIdentifier,
    )
    from great_expectations.execution_engine.sparkdf_batch_data import SparkDFBatchData
    from great_expectations.execution_engine.sparkdf_execution_engine import SparkDFExecutionEngine
    from great_expectations.execution_engine.sqlalchemy_batch_data import SqlAlchemyBatchData
    from great_expectations.execution_engine.sqlalchemy_execution_engine import SqlAlchemyExecutionEngine
    from great_expectations.expectations.expectation import BatchExpectation
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
    from great_expectations.expectations.metrics.column_map_metrics import (
        column_values_match_regex,
        column_values_match_regex_list,
        column_values_not_match_regex,
        column_values_not_match_regex_list,
    )
    from great_expectations.expectations.metrics.metric_provider import metric_partial, metric_value
    from great_expectations.expectations.metrics.table_metric_provider import TableMetricProvider
    from great_expectations.validator.validator import Validator

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine.cursor import FullyBufferedCursorFetchStrategy

from weighbridge.checks.masking import mask_text
from weighbridge.checks.suite import Planned, meets
from weighbridge.checks.workspace import Workspace
from weighbridge.contracts.models import Rule

__all__ = [
    "VERSION",
    "ExpectFailingRowsToMeet",
    "ExpectQueryToMeet",
    "SuiteResult",
    "Verdict",
    "data_docs",
    "duckdb_engine_of",
    "validate",
    "validate_frame",
]

VERSION: str = gx.__version__
RESULT_FORMAT = {"result_format": "BASIC", "partial_unexpected_count": 0}
_QUIET = threading.Lock()

logging.getLogger("great_expectations").setLevel(logging.CRITICAL)


class _Quiet:
    """Silences Great Expectations' warnings while any thread is inside it.

    `warnings.catch_warnings` restores what it found on entering, which between threads is another's silence.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._caught: warnings.catch_warnings[Any] | None = None

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._caught is None:
                self._caught = warnings.catch_warnings()
                self._caught.__enter__()
                warnings.simplefilter("ignore")

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0 and self._caught is not None:
                self._caught.__exit__(None, None, None)
                self._caught = None


_quiet = _Quiet()


# --- expectations of ours ------------------------------------------------------------------------------------------


class FailingRows(TableMetricProvider):
    """An aggregate over the rows, fused by GX into one SELECT with all others of the same table."""

    metric_name = "table.weighbridge_failing_rows"
    value_keys = ("aggregate",)

    @metric_partial(
        engine=SqlAlchemyExecutionEngine,
        partial_fn_type=MetricPartialFunctionTypes.AGGREGATE_FN,
        domain_type=MetricDomainTypes.TABLE,
    )
    def _sqlalchemy(
        cls,  # noqa: N805
        execution_engine: Any,  # noqa: ARG002
        metric_domain_kwargs: dict[str, Any],
        metric_value_kwargs: dict[str, Any],
        metrics: dict[str, Any],  # noqa: ARG002
        runtime_configuration: dict[str, Any],  # noqa: ARG002
    ) -> Any:
        return sa.literal_column(metric_value_kwargs["aggregate"]), metric_domain_kwargs, {}

    @metric_partial(
        engine=SparkDFExecutionEngine,
        partial_fn_type=MetricPartialFunctionTypes.AGGREGATE_FN,
        domain_type=MetricDomainTypes.TABLE,
    )
    def _spark(
        cls,  # noqa: N805
        execution_engine: Any,  # noqa: ARG002
        metric_domain_kwargs: dict[str, Any],
        metric_value_kwargs: dict[str, Any],
        metrics: dict[str, Any],  # noqa: ARG002
        runtime_configuration: dict[str, Any],  # noqa: ARG002
    ) -> Any:
        return import_module("pyspark.sql.functions").expr(metric_value_kwargs["aggregate"]), metric_domain_kwargs, {}


class QueryNumber(TableMetricProvider):
    """The one value that a statement of a rule returns."""

    metric_name = "table.weighbridge_query"
    value_keys = ("query",)

    @metric_value(engine=SqlAlchemyExecutionEngine)
    def _sqlalchemy(
        cls,  # noqa: N805
        execution_engine: Any,
        metric_domain_kwargs: dict[str, Any],  # noqa: ARG002
        metric_value_kwargs: dict[str, Any],
        metrics: dict[str, Any],  # noqa: ARG002
        runtime_configuration: dict[str, Any],  # noqa: ARG002
    ) -> Any:
        statement = sa.text(metric_value_kwargs["query"].replace(":", r"\:"))
        rows = execution_engine.execute_query(statement).fetchmany(2)
        if len(rows) != 1 or len(rows[0]) != 1:
            shape = f"{len(rows)} row(s)" if len(rows) != 1 else f"{len(rows[0])} columns"
            raise ValueError(f"the statement returns {shape}; a rule needs exactly one value")
        value = rows[0][0]
        if value is None:
            raise ValueError("the statement returns NULL, which cannot be held against a number")
        return value

    @metric_value(engine=SparkDFExecutionEngine)
    def _spark(
        cls,  # noqa: N805
        execution_engine: Any,
        metric_domain_kwargs: dict[str, Any],  # noqa: ARG002
        metric_value_kwargs: dict[str, Any],
        metrics: dict[str, Any],  # noqa: ARG002
        runtime_configuration: dict[str, Any],  # noqa: ARG002
    ) -> Any:
        return execution_engine.spark.sql(metric_value_kwargs["query"]).collect()[0][0]


class _Meets(BatchExpectation):
    """Shared by both: a number held against the standard's operators."""

    rule: str
    operator: str
    value: Any = None
    unit: str = "rows"

    domain_keys: ClassVar[tuple[str, ...]] = ("batch_id",)

    def _verdict(self, number: Any, total: int | None) -> dict[str, Any]:
        observed = number
        if self.unit == "percent":
            if not total:
                raise ValueError("a percentage of no rows says nothing")
            observed = 100.0 * number / total
        if hasattr(observed, "as_tuple"):
            observed = float(observed)
        if isinstance(observed, float) and math.isnan(observed):
            raise ValueError("the value is not a number (NaN), which cannot be held against one")
        value = tuple(self.value) if isinstance(self.value, list) else self.value
        if isinstance(value, str) and isinstance(observed, date):
            observed, value = str(observed), value.replace("T", " ", 1)
        result = {"observed_value": observed, "element_count": total}
        if isinstance(number, int):
            result["unexpected_count"] = number
        return {"success": meets(self.operator, observed, value), "result": result}


class ExpectFailingRowsToMeet(_Meets):
    """The rows that break a rule, counted by an aggregate, are as many as the contract allows."""

    aggregate: str

    metric_dependencies = ("table.weighbridge_failing_rows", "table.row_count")
    success_keys: ClassVar[tuple[str, ...]] = ("aggregate", "operator", "value", "unit", "rule")

    def _validate(
        self,
        metrics: dict[str, Any],
        runtime_configuration: dict[str, Any] | None = None,  # noqa: ARG002
        execution_engine: Any = None,  # noqa: ARG002
    ) -> Any:
        return self._verdict(int(metrics["table.weighbridge_failing_rows"] or 0), metrics["table.row_count"])


class ExpectQueryToMeet(_Meets):
    """The one value that a read-only statement returns is as the contract demands."""

    query: str

    metric_dependencies = ("table.weighbridge_query", "table.row_count")
    success_keys: ClassVar[tuple[str, ...]] = ("query", "operator", "value", "unit", "rule")

    def _validate(
        self,
        metrics: dict[str, Any],
        runtime_configuration: dict[str, Any] | None = None,  # noqa: ARG002
        execution_engine: Any = None,  # noqa: ARG002
    ) -> Any:
        return self._verdict(metrics["table.weighbridge_query"], metrics["table.row_count"])


# --- the adaptation to DuckDB ---------------------------------------------------------------------------------------


def duckdb_engine_of(workspace: Workspace) -> sa.Engine:
    """A SQLAlchemy engine over an open workspace, adapted so that GX can use it."""
    import duckdb_engine

    engine = sa.create_engine(
        "duckdb:///:memory:",
        creator=lambda: duckdb_engine.ConnectionWrapper(workspace.cursor()),
        poolclass=sa.pool.StaticPool,
    )
    fetch_before_close(engine)
    teach_regex()
    return engine


def fetch_before_close(engine: sa.Engine) -> None:
    """Fetch every result at once: GX closes the connection before it reads the rows."""

    @event.listens_for(engine, "after_cursor_execute")
    def _fetch(_conn: Any, cursor: Any, _statement: Any, _parameters: Any, context: Any, _many: Any) -> None:
        if cursor.description:
            context.cursor_fetch_strategy = FullyBufferedCursorFetchStrategy(
                cursor, alternate_description=cursor.description, initial_buffer=cursor.fetchall()
            )


REGEX_MODULES: tuple[ModuleType, ...] = (
    column_values_match_regex,
    column_values_match_regex_list,
    column_values_not_match_regex,
    column_values_not_match_regex_list,
)


def teach_regex() -> None:
    """Tell GX how DuckDB and SQLite spell a regular expression; safe to call again."""
    with _QUIET:
        for module in REGEX_MODULES:
            original = module.get_dialect_regex_expression
            if not getattr(original, "taught", False):
                module.get_dialect_regex_expression = _taught(original)  # type: ignore[attr-defined]


def _taught(original: Callable[..., Any]) -> Callable[..., Any]:
    def spelled(column: Any, regex: str, dialect: Any, positive: bool = True) -> Any:
        name = getattr(dialect, "name", None) or getattr(getattr(dialect, "dialect", None), "name", None)
        if name == "duckdb" or getattr(dialect, "__name__", "") == "duckdb_engine":
            found = sa.func.regexp_matches(column, sa.literal(regex))
            return found if positive else sa.not_(found)
        return original(column, regex, dialect, positive)

    spelled.taught = True  # type: ignore[attr-defined]
    return spelled


# --- the verdict ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Verdict:
    """What GX says of one planned rule. `error` is why it could not say anything."""

    success: bool | None
    count: int | None = None
    total: int | None = None
    observed: Any = None
    error: str | None = None
    raw: Any = None
    """GX's own result, for its Data Docs."""


class _Validator(Validator):
    """GX's validator without its progress bar."""

    def _determine_progress_bars(self) -> bool:
        return False


def validate(engine: sa.Engine, table: str, planned: Sequence[Planned], *, schema: str | None = None) -> list[Verdict]:
    """GX's verdict on each planned rule that has an expectation, in order; an exception inside GX is an error.

    All aggregates go through the table in as few passes as GX needs. Where one statement fails for all, each rule is
    asked alone, so that one impossible rule does not hide the others.
    """
    teach_regex()
    with _quiet:
        execution = SqlAlchemyExecutionEngine(engine=engine)
        # The engine is the caller's: GX would dispose of it whenever the garbage collector finds this object, which
        # may be in the middle of the next suite.
        execution.close = lambda: None
        try:
            verdicts = _ask_all(execution, table, planned, schema)
        finally:
            kept, execution._connection = execution._connection, None
            if kept is not None:
                kept.close()
    return verdicts


def _ask_all(
    execution: SqlAlchemyExecutionEngine, table: str, planned: Sequence[Planned], schema: str | None
) -> list[Verdict]:
    data = SqlAlchemyBatchData(execution_engine=execution, table_name=table, schema_name=schema)
    return _ask_loaded(execution, data, planned)


def validate_frame(frame: Any, planned: Sequence[Planned]) -> list[Verdict]:
    """As `validate`, on a Spark data frame; statements of rules name the session's temporary views."""
    with _quiet:
        execution = SparkDFExecutionEngine(spark=frame.sparkSession, persist=False)
        return _ask_loaded(execution, SparkDFBatchData(execution_engine=execution, dataframe=frame), planned)


def _ask_loaded(execution: Any, data: Any, planned: Sequence[Planned]) -> list[Verdict]:
    execution.load_batch_data("rows", data)
    validator = _Validator(execution_engine=execution, batches=[Batch(data=data)])
    verdicts = _ask(validator, planned)
    broken = [i for i, v in enumerate(verdicts) if v.error is not None]
    if len(broken) > 1:
        for index in broken:
            verdicts[index] = _ask(validator, [planned[index]])[0]
    return verdicts


def _ask(validator: Validator, planned: Sequence[Planned]) -> list[Verdict]:
    configurations = [
        ExpectationConfiguration(type=str(p.type), kwargs=dict(p.kwargs), meta={"wb": i}) for i, p in enumerate(planned)
    ]
    found: dict[int, Verdict] = {}
    try:
        results = validator.graph_validate(
            configurations, runtime_configuration={"result_format": dict(RESULT_FORMAT), "catch_exceptions": True}
        )
    except Exception as error:  # noqa: BLE001 - GX raises what it likes while it builds its graph: not bad data
        if len(planned) == 1:
            return [Verdict(None, error=_words(error))]
        return [_ask(validator, [p])[0] for p in planned]
    for result in results:
        number = (result.expectation_config.meta or {}).get("wb") if result.expectation_config else None
        if isinstance(number, int):
            found[number] = _verdict(result)
    return [found.get(i, Verdict(None, error="Great Expectations gave no result")) for i in range(len(planned))]


def _verdict(result: Any) -> Verdict:
    error = _exception(result.exception_info)
    if error is not None:
        return Verdict(None, error=error, raw=result)
    body = result.result or {}
    count, total = body.get("unexpected_count"), body.get("element_count")
    observed = body.get("observed_value", count)
    return Verdict(bool(result.success), count, total, observed, raw=result)


def _exception(info: Any) -> str | None:
    """The first exception GX caught, in one line; None where it caught none."""
    if not isinstance(info, dict):
        return None
    if "raised_exception" in info:
        return _tidy(str(info.get("exception_message"))) if info["raised_exception"] else None
    for inner in info.values():
        if isinstance(inner, dict) and inner.get("raised_exception", True):
            return _tidy(str(inner.get("exception_message")))
    return None


def _words(error: BaseException) -> str:
    return _tidy(f"{type(error).__name__}: {error}")


def _tidy(text: str) -> str:
    kept = " ".join(text.split("Traceback", maxsplit=1)[0].split("[SQL:", maxsplit=1)[0].split())
    return mask_text(kept)[:400]


# --- Data Docs --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SuiteResult:
    """One point's rules for Data Docs: its name and, a rule, the expectation and the rule's row of the report."""

    name: str
    rules: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]


def data_docs(suites: Sequence[SuiteResult], folder: Path, *, run: str, at: datetime) -> Path:
    """Render Great Expectations' Data Docs of results that are already there; returns the index page.

    Nothing is validated again: what the report says is what the Data Docs say. Rules that were not run appear as
    expectations that raised, with the reason, so that they are never shown as met.
    """
    with _quiet:
        context = gx.get_context(mode="ephemeral")
        context.variables.progress_bars = {"globally": False}  # type: ignore[assignment]  # GX documents a dict
        site = {
            "class_name": "SiteBuilder",
            "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(folder.resolve())},
            "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
        }
        context.add_data_docs_site(site_name="weighbridge", site_config=site)  # type: ignore[arg-type]  # a plain dict is what GX documents
        run_id = RunIdentifier(run_name=run, run_time=at)
        for suite in suites:
            _add_suite(context, suite, run_id)
        context.build_data_docs(site_names=["weighbridge"])
    return folder / "index.html"


def _add_suite(context: Any, suite: SuiteResult, run_id: RunIdentifier) -> None:
    pairs = [(_configuration(expectation, rule), rule) for expectation, rule in suite.rules]
    context.suites.add(gx.ExpectationSuite(name=suite.name, expectations=[c.to_domain_obj() for c, _ in pairs]))
    results = [_past_result(configuration, rule) for configuration, rule in pairs]
    met = sum(bool(r.success) for r in results)
    total = len(results)
    past = ExpectationSuiteValidationResult(
        success=met == total,
        results=results,
        suite_name=suite.name,
        statistics={
            "evaluated_expectations": total,
            "successful_expectations": met,
            "unsuccessful_expectations": total - met,
            "success_percent": 100 * met / total if total else None,
        },
        meta={"run_id": run_id, "great_expectations_version": VERSION, "active_batch_definition": None},
    )
    key = ValidationResultIdentifier(
        expectation_suite_identifier=ExpectationSuiteIdentifier(suite.name),
        run_id=run_id,
        batch_identifier=suite.name,
    )
    context.validation_results_store.add(key, past)


def _configuration(expectation: Mapping[str, Any], rule: Mapping[str, Any]) -> ExpectationConfiguration:
    words = f"{rule['path']} (line {rule['line']}): {rule['expected']}"
    return ExpectationConfiguration(
        type=str(expectation["type"]),
        kwargs=dict(expectation["kwargs"]),
        meta={"rule": rule["path"]},
        description=words,
    )


def _past_result(configuration: ExpectationConfiguration, rule: Mapping[str, Any]) -> ExpectationValidationResult:
    unanswered = rule["outcome"] in ("errored", "not_run")
    count, total = rule.get("count"), rule.get("total")
    result: dict[str, Any] = {"observed_value": rule.get("observed")}
    if count is not None and total:
        share = 100 * count / total
        result |= {
            "element_count": total,
            "unexpected_count": count,
            "unexpected_percent": share,
            "unexpected_percent_total": share,
            "unexpected_percent_nonmissing": share,
            "partial_unexpected_list": list(rule.get("samples") or ()),
        }
    reason = str(rule.get("reason") or rule["outcome"])
    return ExpectationValidationResult(
        success=rule["outcome"] == "passed",
        expectation_config=configuration,
        result={} if unanswered else result,
        exception_info={
            "raised_exception": unanswered,
            "exception_message": reason if unanswered else None,
            "exception_traceback": reason if unanswered else None,
        },
    )


# --- whether all this works here -------------------------------------------------------------------------------------


_SELF_TEST: list[str | None] = []


def duckdb_problem() -> str | None:
    """Why GX cannot be trusted on this DuckDB, None where it can; tried once a process on three rows."""
    with _QUIET:
        if _SELF_TEST:
            return _SELF_TEST[0]
    try:
        problem = _try_duckdb()
    except Exception as error:  # noqa: BLE001 - whatever breaks here, the stock engine takes over and says why
        problem = _words(error)
    with _QUIET:
        _SELF_TEST[:] = [problem]
    return problem


def _try_duckdb() -> str | None:
    import duckdb
    import duckdb_engine

    raw = duckdb.connect(":memory:")
    raw.execute("CREATE TABLE canary AS SELECT * FROM (VALUES (1, 'a'), (2, 'b'), (NULL, 'b')) t(n, word)")
    engine = sa.create_engine(
        "duckdb:///:memory:", creator=lambda: duckdb_engine.ConnectionWrapper(raw), poolclass=sa.pool.StaticPool
    )
    fetch_before_close(engine)
    asked = (
        ("expect_column_values_to_not_be_null", {"column": "n"}, 1),
        ("expect_column_values_to_match_regex", {"column": "word", "regex": "^a"}, 2),
        (
            "expect_failing_rows_to_meet",
            {"rule": "canary", "aggregate": "COUNT(word) - COUNT(DISTINCT word)", "operator": "mustBe", "value": 0},
            1,
        ),
    )
    planned = [Planned(_CANARY, kind, kwargs) for kind, kwargs, _ in asked]
    try:
        for (kind, _, count), verdict in zip(asked, validate(engine, "canary", planned), strict=True):
            if verdict.error is not None:
                return f"{kind}: {verdict.error}"
            if verdict.count != count or verdict.total != 3 or verdict.success:
                return f"{kind} counted {verdict.count} of {verdict.total} where {count} of 3 was right"
    finally:
        engine.dispose()
        raw.close()
    return None


_CANARY = Rule(
    id="canary", path="canary", name="canary", line=0, check="quality", kind="row_count", severity="info", columns=(),
    arguments={}, expected="",
)  # fmt: skip
