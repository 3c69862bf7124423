"""What was seen of each point: made once a run, on first use, kept in the run's folder, and shared by all checks.

`Systems` holds one open connector a system; `PointEvidence` is the `Evidence` of one point. A failed item is
remembered: each check that needs it ends unknown with that cause, and the system is not asked again.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock

from weighbridge.checks.base import Demand, Inconclusive, Landing
from weighbridge.connectors.base import Connector, Count, Limit, ObjectRef, Probe, TableSchema
from weighbridge.connectors.errors import ConnectorError
from weighbridge.connectors.session import Session
from weighbridge.contracts.models import Contract, IntegrationPoint, Relationship
from weighbridge.errors import UsageProblem
from weighbridge.landing import land, recall
from weighbridge.project import Project, System

__all__ = ["FailedEvidence", "PointEvidence", "Store", "Systems", "delete_rows", "folder_name"]

T = TypeVar("T")
KEYS_SAMPLED = 2_000


class FailedEvidence(Inconclusive):
    """An evidence item could not be made; `cause` is the first error."""

    def __init__(self, item: str, cause: ConnectorError | Inconclusive) -> None:
        super().__init__(cause.message, remedy=cause.remedy)
        self.item = item
        self.cause = cause


def folder_name(name: str) -> str:
    """A file name for any point id: readable, and never the same for two ids."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", name)[:80]
    return plain if plain == name else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


class Systems:
    """The project's systems in one environment: opened on first use, one connector each, closed together."""

    def __init__(self, project: Project, environment: str) -> None:
        self.project = project
        self.environment = environment
        self._open: dict[str, Connector | ConnectorError] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()
        self._stack = ExitStack()

    def system(self, name: str) -> System:
        return self.project.system(name, self.environment)

    def lock(self, name: str) -> threading.Lock:
        """Held while the system's one connector is in use from another thread than its own."""
        with self._guard:
            return self._locks.setdefault(name, threading.Lock())

    def connector(self, name: str) -> Connector:
        """The open connector of the system; an error of opening it is raised again, not tried again."""
        with self.lock(name):
            found = self._open.get(name)
            if found is None:
                try:
                    found = self.system(name).connector()
                    found.open()
                    self._stack.callback(found.close)
                except ConnectorError as error:
                    found = error
                self._open[name] = found
        if isinstance(found, ConnectorError):
            raise found
        return found

    def calls(self) -> dict[str, int]:
        """Attempts sent to each system so far."""
        return {name: self.system(name).budget.used for name in self._open}

    def close(self) -> None:
        """Close every connector. An error of closing is not news: everything was read."""
        with contextlib.suppress(ConnectorError):
            self._stack.close()


class Store:
    """The evidence of one run, in a folder of mode 0700."""

    def __init__(self, folder: Path, systems: Systems, *, seed: int, now: Callable[[], datetime]) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)
        self.folder = folder
        self.systems = systems
        self.seed = seed
        self.now = now
        self._points: dict[str, PointEvidence] = {}
        self._contracts: dict[Path, Contract] = {}
        self._guard = threading.Lock()

    def of(self, point: IntegrationPoint, progress: Callable[[str], None] = lambda _m: None) -> PointEvidence:
        with self._guard:
            if point.id not in self._points:
                self._points[point.id] = PointEvidence(self, point, progress)
            return self._points[point.id]

    def point_folder(self, point_id: str) -> Path:
        folder = self.folder / "points" / folder_name(point_id)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return folder

    def sibling(self, point: IntegrationPoint, name: str) -> Landing:
        """The landing of another object of the point's own contract."""
        other = point.contract.object(name)
        if other is None:
            raise Inconclusive(f"{point.id}: the contract {point.contract.path.name} has no object {name}.")
        return self.of(IntegrationPoint(point.system, other, point.contract, point.scale, ())).landing

    def target(self, point: IntegrationPoint, relationship: Relationship) -> Landing:
        """The key columns a relationship points at, read in the same environment with archived records included.

        Of several servers of the target's contract the one at the same place as the point's own server is meant.
        """
        contract = self._target_contract(point, relationship)
        target = contract.object(relationship.target_object)
        if target is None:
            raise Inconclusive(f"{point.id}: {contract.path.name} has no object {relationship.target_object}.")
        system = _counterpart(point, contract)
        columns = []
        for name in relationship.target_columns:
            found = target.property(name)
            if found is None:
                raise Inconclusive(f"{point.id}: {contract.path.name} has no property {target.name}.{name}.")
            columns.append(found.physical_name)
        tag = folder_name(f"{system}.{target.name}." + ".".join(columns))
        path = self.folder / "targets" / f"{tag}.duckdb"
        path.parent.mkdir(exist_ok=True, mode=0o700)
        with FileLock(f"{path}.lock"):
            kept = recall(path)
            if kept is not None:
                return kept
            try:
                main = self.systems.connector(system)
                with contextlib.closing(main.fork(self.systems.system(system).session())) as connector:
                    ref = ObjectRef(target.physical_name, target.filter, everything=True)
                    schema = connector.discover(ref)
                    return land(connector, ref, path, schema=schema, columns=columns, keys=columns)
            except ConnectorError as error:
                raise Inconclusive(
                    f"{point.id}: the target {system}.{target.name} could not be read: {error.message}",
                    remedy=error.remedy,
                ) from error
            except UsageProblem as error:
                raise Inconclusive(
                    f"{point.id}: the target {system}.{target.name} could not be read: {error}"
                ) from error

    def _target_contract(self, point: IntegrationPoint, relationship: Relationship) -> Contract:
        if relationship.target_file is None:
            return point.contract
        from weighbridge.contracts.loader import ContractError, load

        path = (point.contract.path.parent / relationship.target_file).resolve()
        with self._guard:
            if path not in self._contracts:
                try:
                    self._contracts[path] = load(path)
                except (OSError, ContractError) as error:
                    raise Inconclusive(
                        f"{point.id}: the target contract {path.name} could not be read: {error}"
                    ) from error
            return self._contracts[path]

    def delete_rows(self) -> None:
        delete_rows(self.folder)


def delete_rows(run: Path) -> None:
    """Remove from a run's folder what may be personal data, landed rows and reference keys, and keys of fault lines."""
    for path in [*run.rglob("*.duckdb"), *run.rglob("*.duckdb.*"), *run.rglob("*.part*")]:
        path.unlink(missing_ok=True)
    for folder in run.glob("points/*/fault-ca-*"):
        shutil.rmtree(folder, ignore_errors=True)


def _counterpart(point: IntegrationPoint, contract: Contract) -> str:
    mine = [s.server for s in point.contract.servers]
    theirs = [s.server for s in contract.servers]
    if not theirs:
        raise Inconclusive(f"{point.id}: the target contract {contract.path.name} names no server.")
    if point.system in theirs:
        return point.system
    place = mine.index(point.system) if point.system in mine else 0
    return theirs[place] if place < len(theirs) else theirs[0]


class PointEvidence:
    """The evidence of one point; see `weighbridge.checks.base.Evidence`."""

    def __init__(self, store: Store, point: IntegrationPoint, progress: Callable[[str], None]) -> None:
        self._store = store
        self._point = point
        self._progress = progress
        self._made: dict[str, Any] = {}
        self._lock = threading.RLock()
        self.folder = store.point_folder(point.id)
        self.ref = ObjectRef(point.object.physical_name, point.object.filter)

    @property
    def connector(self) -> Connector:
        return self._store.systems.connector(self._point.system)

    def made(self, item: str) -> Any:
        """The item if it was made, None otherwise: never makes it."""
        found = self._made.get(item)
        return None if isinstance(found, FailedEvidence) else found

    def resolve(self, items: Sequence[str]) -> None:
        """Make the items; raises FailedEvidence at the first that cannot be made."""
        for item in items:
            getattr(self, item)

    def _once(self, item: str, make: Callable[[], T]) -> T:
        with self._lock:
            if item not in self._made:
                try:
                    self._made[item] = make()
                except FailedEvidence as error:
                    self._made[item] = error
                except (ConnectorError, Inconclusive) as error:
                    self._made[item] = FailedEvidence(item, error)
            found = self._made[item]
        if isinstance(found, FailedEvidence):
            raise found
        return found

    @property
    def probe(self) -> Probe:
        return self._once("probe", lambda: self.connector.probe())  # noqa: PLW0108 - opening may fail and belongs inside

    @property
    def limits(self) -> Sequence[Limit]:
        return self._once("limits", lambda: tuple(self.connector.limits()))

    @property
    def schema(self) -> TableSchema:
        return self._once("schema", lambda: self.connector.discover(self.ref))

    @property
    def count_before(self) -> Count:
        return self._once("count_before", lambda: self.connector.count(self.ref))

    @property
    def count_after(self) -> Count:
        def make() -> Count:
            self.landing  # noqa: B018 - counted after the rows were read, or not at all
            return self.connector.count(self.ref)

        return self._once("count_after", make)

    @property
    def landing(self) -> Landing:
        return self._once("landing", self._land)

    def _land(self) -> Landing:
        path = self.folder / "landing.duckdb"
        with FileLock(f"{path}.lock"):
            kept = recall(path)
            if kept is not None:
                return kept
            self.count_before  # noqa: B018 - the source is counted before its rows are read
            schema = self.schema
            known = {c.name for c in schema.columns}
            promised = [p.physical_name for p in self._point.object.properties]
            wanted = [c for c in promised if c in known] if promised else [c.name for c in schema.columns]
            keys = [p.physical_name for p in self._point.object.key if p.physical_name in known] or list(schema.keys)
            columns = list(dict.fromkeys([*wanted, *keys]))
            if not columns:
                raise Inconclusive(
                    f"{self._point.id}: none of the contract's columns exists in {self.ref}, so no row could be read.",
                    remedy="See the findings of the check schema: the contract and the system name other columns.",
                )
            return land(
                self.connector,
                self.ref,
                path,
                schema=schema,
                columns=columns,
                keys=keys,
                progress=self._progress,
            )

    @property
    def profile(self) -> Mapping[str, Any]:
        def make() -> Mapping[str, Any]:
            from weighbridge.checks.profile import profile

            return profile(self.landing)

        return self._once("profile", make)

    @property
    def keys(self) -> Sequence[tuple[Any, ...]]:
        def make() -> Sequence[tuple[Any, ...]]:
            from weighbridge.checks.keysample import sample

            return sample(self.landing, self._point, self._store.seed, KEYS_SAMPLED)

        return self._once("keys", make)

    @property
    def demand(self) -> Demand:
        def make() -> Demand:
            from weighbridge.checks.demand import measure
            from weighbridge.traffic import kept

            systems = self._store.systems
            session = systems.system(self._point.system).session()
            pilot = kept(systems.project.data_folder, self._point.system)
            return measure(
                self._point, self.keys, self.connect, session, self._point.scale, now=self._store.now, pilot=pilot
            )

        return self._once("demand", make)

    def connect(self, session: Session | None = None) -> Connector:
        """The system's open connector, or a fork of it that works under `session` (close that one after use)."""
        return self.connector if session is None else self.connector.fork(session)
