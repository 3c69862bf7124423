"""The pytest plugin: contracts as test items `FILE::system.Object::check`, and fixtures for a project's own tests.

Nothing of weighbridge but this module and a list of names is imported until a contract is collected; no system is
touched unless `-m` names `integration` or a check, or `--wb-run` is given.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from weighbridge.names import CHECKS

if TYPE_CHECKING:
    from weighbridge.checks.base import Check
    from weighbridge.connectors.base import Connector
    from weighbridge.contracts.models import IntegrationPoint
    from weighbridge.contracts.scale import Scale
    from weighbridge.outcome import Outcome
    from weighbridge.project import Project
    from weighbridge.report.model import Report
    from weighbridge.sandbox.faults import FaultProxy
    from weighbridge.sandbox.practice import PracticeProject
    from weighbridge.weighing import Sessions

__all__ = ["connector", "faults", "integration_point", "sandbox", "scale"]

OPTIONS = {
    # name: (type of the command line's value, default, help); each is an ini option too
    "wb_env": (str, "staging", "environment of weighbridge.toml to use"),
    "wb_users": (int, None, "users of production; overrides contracts and [scale]"),
    "wb_run": (bool, False, "run the integration points even if -m does not name them"),
    "wb_report": (str, None, "write the report (json, html, md, xlsx, junit) into this folder"),
    "wb_allow_at_risk": (bool, False, "let AT_RISK pass"),
    "wb_seed": (int, 1, "seed of everything drawn at random"),
}
SUFFIXES = (".odcs.yaml", ".odcs.yml")
_POINT_ID = re.compile(r"\.odcs\.ya?ml::(?P<system>[^.:]+)\.")
TOUCHING = frozenset({"integration_point", "connector"})
"""Fixtures whose use means that a test touches a system."""
_SESSIONS = pytest.StashKey["Sessions"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("weighbridge", "weighing integration points")
    for name, (kind, default, text) in OPTIONS.items():
        flag = "--" + name.replace("_", "-")
        if kind is bool:
            group.addoption(flag, action="store_true", default=None, help=text)
            parser.addini(name, text, type="bool", default=default)
        else:
            group.addoption(flag, type=kind, default=None, help=text)
            parser.addini(name, text, default=None if default is None else str(default))


def _setting(config: pytest.Config, name: str) -> Any:
    given = config.getoption(name)
    if given is not None:
        return given
    value = config.getini(name)
    kind, default, _ = OPTIONS[name]
    if value in (None, ""):
        return default
    try:
        return value if kind is bool else kind(value)
    except ValueError:
        raise pytest.UsageError(f"ini option {name}: {value!r} is not a number") from None


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "integration: touches a real system; runs only with -m integration or --wb-run")
    config.addinivalue_line("markers", "wb_point(id): the integration point a test is about")
    for name in CHECKS:
        config.addinivalue_line("markers", f"{name}: the check '{name}' of an integration point")


def _active(config: pytest.Config) -> bool:
    if _setting(config, "wb_run"):
        return True
    words = set(re.findall(r"\w+", config.getoption("markexpr", "") or ""))
    return bool(words & {"integration", *CHECKS})


def _sessions(config: pytest.Config) -> Sessions:
    if _SESSIONS not in config.stash:
        from weighbridge.weighing import Sessions

        worker = getattr(config, "workerinput", None)
        config.stash[_SESSIONS] = Sessions(
            environment=_setting(config, "wb_env"),
            users=_setting(config, "wb_users"),
            seed=_setting(config, "wb_seed"),
            run_id=_run_id(worker),
        )
    return config.stash[_SESSIONS]


def _run_id(worker: dict[str, Any] | None) -> str | None:
    """Workers of one pytest-xdist run share one run."""
    return f"pytest-{worker['testrunuid']}" if worker is not None else None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """`--dist loadgroup` keeps the points of one system on one worker.

    The system is read from the test's id: the mark alone does not reach the scheduler under every pair of versions
    of pytest and pytest-xdist.
    """
    if config.getvalue("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadGroupScheduling

    class OneWorkerASystem(LoadGroupScheduling):
        def _split_scope(self, nodeid: str) -> str:
            point = _POINT_ID.search(nodeid)
            return point["system"] if point else super()._split_scope(nodeid)

    return OneWorkerASystem(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:  # noqa: ARG001 - pytest-xdist's signature
    """The controller of several workers collects nothing itself: it hears from them what was weighed, in which run."""
    told = getattr(node, "workeroutput", {}).get("weighbridge")
    if told:
        sessions = _sessions(node.config)
        sessions.run_id = told["run"]
        for contract in told["contracts"]:
            sessions.points(Path(contract))


# --- collection ------------------------------------------------------------------------------------------------------


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    if not file_path.name.endswith(SUFFIXES) or not _project_file(file_path):
        return None
    return ContractFile.from_parent(parent, path=file_path)


def _project_file(path: Path) -> bool:
    return _in_project(path.resolve().parent)


@cache
def _in_project(folder: Path) -> bool:
    return any((above / "weighbridge.toml").is_file() for above in (folder, *folder.parents))


@cache
def _mark(name: str) -> pytest.MarkDecorator:
    return getattr(pytest.mark, name)


class CollectionProblem(Exception):
    """A contract or weighbridge.toml that cannot be used; shown without a traceback."""


class ContractFile(pytest.File):
    """One contract: a collector of its integration points."""

    def collect(self) -> Iterator[pytest.Collector]:
        from weighbridge.contracts.problems import ContractError
        from weighbridge.errors import UsageProblem

        try:
            for point in _sessions(self.config).points(self.path):
                yield PointCollector.from_parent(self, name=point.id, point=point)
        except (UsageProblem, ContractError) as problem:
            raise CollectionProblem(str(problem)) from None

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException]) -> Any:
        return str(excinfo.value) if isinstance(excinfo.value, CollectionProblem) else super().repr_failure(excinfo)


class PointCollector(pytest.Collector):
    """One integration point: a collector of its checks."""

    def __init__(self, *, point: IntegrationPoint, **rest: Any) -> None:
        super().__init__(**rest)
        self.point = point

    def collect(self) -> Iterator[pytest.Item]:
        for check in _sessions(self.config).applicable(self.path, self.point):
            yield CheckItem.from_parent(self, name=check.name, point=self.point, check=check)


class CheckItem(pytest.Item):
    """One question asked of one point.

    The question is asked in set-up, so that 'could not look' is an error of the test; the call judges what was seen.
    """

    def __init__(self, *, point: IntegrationPoint, check: Check, **rest: Any) -> None:
        super().__init__(**rest)
        self.point = point
        self.check = check
        self.outcome: Outcome | None = None
        self.add_marker(_mark("integration"))
        if check.name not in CHECKS:
            self.config.addinivalue_line("markers", f"{check.name}: the check '{check.name}' of a plugin")
        self.add_marker(_mark(check.name))
        if self.config.pluginmanager.hasplugin("xdist"):
            self.add_marker(pytest.mark.xdist_group(point.system))

    def setup(self) -> None:
        outcome = self.outcome = _sessions(self.config).ask(self.path, self.point, self.check)
        report = outcome.report
        self.user_properties += [
            ("weighbridge.point", self.point.id),
            ("weighbridge.check", self.check.name),
            ("weighbridge.status", report.status),
            ("weighbridge.calls", report.calls),
        ]
        if report.status == "skipped":
            pytest.skip(f"{report.reason}: {report.message or ''}")
        if report.status == "unknown":
            # A failure in set-up is an error of the test; this form is shown without a traceback.
            pytest.fail(_unknown_text(self), pytrace=False)

    def runtest(self) -> None:
        from weighbridge.weighing import failure_text, section_text

        if self.outcome is None:
            raise Broken(f"{self.point.id}: the check {self.check.name} was not set up.")
        allowed = bool(_setting(self.config, "wb_allow_at_risk"))
        failure = failure_text(self.outcome, self.point, allow_at_risk=allowed)
        if failure:
            raise Broken(failure)
        section = section_text(self.outcome)
        if section:
            self.add_report_section("call", "weighbridge", section)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, (Broken, CollectionProblem)):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, max(0, self.point.object.line - 1), f"{self.point.id}::{self.check.name}"


class Broken(Exception):
    """What the check found breaks the point."""


def _unknown_text(item: CheckItem) -> str:
    report = item.outcome.report if item.outcome is not None else None
    cause = f"{report.error or report.message}" if report is not None else "it was not asked"
    remedy = f"\nWhat to do: {report.remedy}" if report is not None and report.remedy else ""
    return f"{item.point.id}: the check {item.check.name} could not look: {cause}{remedy}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "integration_point" not in metafunc.fixturenames or metafunc.definition.get_closest_marker("wb_point"):
        return
    if any("integration_point" in str(m.args[:1]) for m in metafunc.definition.iter_markers("parametrize")):
        return
    points = _sessions(metafunc.config).all_points(metafunc.config.rootpath)
    metafunc.parametrize("integration_point", points, ids=[p.id for p in points], indirect=True)


def pytest_itemcollected(item: pytest.Item) -> None:
    if TOUCHING & set(getattr(item, "fixturenames", ())):
        item.add_marker("integration")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if _active(config):
        return
    touching = [i for i in items if isinstance(i, CheckItem) or TOUCHING & set(getattr(i, "fixturenames", ()))]
    if touching:
        config.hook.pytest_deselected(items=touching)
        left = set(map(id, touching))
        items[:] = [i for i in items if id(i) not in left]


# --- the end ---------------------------------------------------------------------------------------------------------


def pytest_sessionfinish(session: pytest.Session) -> None:
    config = session.config
    if _SESSIONS in config.stash:
        worker = hasattr(config, "workerinput")
        if worker:
            sessions = config.stash[_SESSIONS]
            told = {"run": sessions.run_id, "contracts": sessions.contracts}
            config.workeroutput["weighbridge"] = told  # type: ignore[attr-defined]  # pytest-xdist sets it on workers
        folder = _setting(config, "wb_report")
        config.stash[_SESSIONS].finish(None if worker else folder and Path(folder), worker=worker)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if _SESSIONS not in config.stash:
        return
    reports: Sequence[Report] = config.stash[_SESSIONS].reports
    if not reports:
        return
    from weighbridge.report.terminal import summary

    terminalreporter.section("weighbridge")
    for report in reports:
        terminalreporter.write(summary(report, width=terminalreporter._tw.fullwidth))
    for line in config.stash[_SESSIONS].notes:
        terminalreporter.write_line(line)


# --- fixtures --------------------------------------------------------------------------------------------------------


def _project(request: pytest.FixtureRequest) -> Project:
    return _sessions(request.config).project_of(request.config.rootpath)


@pytest.fixture
def integration_point(request: pytest.FixtureRequest) -> IntegrationPoint:
    """The point a test is about: of `@pytest.mark.wb_point("crm.Account")`, else every point of the project in turn."""
    marker = request.node.get_closest_marker("wb_point")
    if marker is None:
        return request.param
    points = {p.id: p for p in _sessions(request.config).all_points(request.config.rootpath)}
    wanted = marker.args[0] if marker.args else "nothing"
    if wanted not in points:
        raise pytest.UsageError(f"wb_point: there is no point {wanted!r}; known are {', '.join(points)}")
    return points[wanted]


@pytest.fixture
def connector(request: pytest.FixtureRequest, integration_point: IntegrationPoint) -> Iterator[Connector]:
    """An open connector to the point's system in the environment of --wb-env; closed after the test."""
    environment = _setting(request.config, "wb_env")
    made = _project(request).connector(integration_point.system, environment)
    with made:
        yield made


@pytest.fixture
def scale(integration_point: IntegrationPoint) -> Scale:
    """What production asks of the point."""
    return integration_point.scale


@pytest.fixture
def faults() -> Iterator[FaultProxy]:
    """A fault proxy on loopback: `with faults.between(endpoint) as line: line.plan({"type": "latency", ...})`."""
    from weighbridge.sandbox.faults import FaultProxy

    with FaultProxy() as proxy:
        yield proxy


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PracticeProject]:
    """The practice systems, running, with a project folder that points at them."""
    from weighbridge.sandbox import practice

    with practice.start(tmp_path_factory.mktemp("sandbox")) as project:
        yield project
