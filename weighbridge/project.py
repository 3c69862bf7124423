"""A user's project: weighbridge.toml and the contracts beside it, checked before any system is touched."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from weighbridge.checks.base import Permissions
from weighbridge.connectors.base import Connector
from weighbridge.connectors.errors import ConnectorError
from weighbridge.connectors.session import Budget, Session
from weighbridge.contracts.models import Contract, IntegrationPoint
from weighbridge.contracts.scale import Scale
from weighbridge.errors import UsageProblem
from weighbridge.secrets import KNOWN, SECRET_KEYS, Hidden, Resolver, is_reference

__all__ = ["ENVIRONMENTS", "Fallback", "Project", "System"]

ENVIRONMENTS = ("sandbox", "staging", "production")
FILE = "weighbridge.toml"
SQLITE_FILE = re.compile(r"^(sqlite(?:\+\w+)?:///)(?!/|[A-Za-z]:[/\\]|:memory:|file:)(.+)$")
"""A SQLite address whose path is relative."""
REQUIRED_CHECKS = ("connection", "schema", "quality", "completeness", "volume", "limits", "load", "resilience")
"""What READY needs by default; `[checks] required` changes it, and the report shows the set."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DeclaredLimit(_Strict):
    """A ceiling the owner knows of: `[[systems.NAME.limits]]`."""

    name: str
    """What it is called, for example `daily_calls`."""
    cap: Annotated[float, Field(ge=0)] | None = None
    """The ceiling; none where `unlimited`."""
    environment: Literal["sandbox", "staging", "production"] = "production"
    """Where it holds."""
    window: str | None = None
    """`rolling 24 h`, `midnight Europe/Berlin`, `300 s`, `bucket 200/s burst 100` or `concurrent`."""
    scope: str = "account"
    """Who shares it: `org`, `account`, `user`, `server`, `file`, `database`."""
    unit: str = "calls"
    """What is counted: `calls`, `connections`, `rows`, `seconds`, `bytes`, `users`."""
    used: Annotated[float, Field(ge=0)] | None = None
    """What others use of it."""
    unlimited: bool = False
    """There is no such limit: its owner says so."""
    source: str | None = None
    """Who said so, and when."""
    at: str | None = None
    """Date on which it was so."""


class Background(_Strict):
    """What already runs on the system: `[[systems.NAME.background]]`."""

    name: str
    calls_per_hour: Annotated[float, Field(ge=0)] | None = None
    """None: something runs there, and nobody knows how much."""
    hours: str | None = None
    """`22:00-02:00` in the scale's time zone; None is all day."""


class Fallback(_Strict):
    """What answers while the system is down: `[systems.NAME.fallback]`; the check `resilience` tries it."""

    words: str | None = None
    """For people: what to use instead."""
    system: str | None = None
    """Another system of this file that has a copy."""
    object: str | None = None
    """The copy's name there; the point's own by default."""
    url: str | None = None
    """What answers instead, asked by GET; `{object}` stands for the object's name."""
    file: str | None = None
    """A file, or a pattern whose newest file counts; `{object}` stands for the object's name."""
    command: str | None = None
    """Starts the program that answers at `url`, with the system's address in WEIGHBRIDGE_PROXY_URL: it is asked with
    the system up, then with the system down."""
    max_age_h: Annotated[float, Field(gt=0)] | None = None
    """Hours that its answers may be old."""
    age_column: str | None = None
    """Column that tells when a row was copied."""
    age_field: str | None = None
    """JSON: the dotted path of the time, `meta.as_of`."""
    age_header: str | None = None
    """HTTP: the header with the age in seconds or a time; Age and Last-Modified by default."""
    label: str | None = None
    """Regular expression of the words by which an answer says that it is not live."""
    label_column: str | None = None
    """Column that says so in every row; `age_column` by default."""

    @model_validator(mode="before")
    @classmethod
    def _only_words(cls, value: Any) -> Any:
        return {"words": value} if isinstance(value, str) else value

    @field_validator("url")
    @classmethod
    def _no_login(cls, value: str | None) -> str | None:
        if value and "@" in value.partition("://")[2].partition("/")[0] and not is_reference(value):
            raise ValueError("carries a login: write the whole address as ${NAME} and set that variable")
        return value

    @field_validator("label")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(f"is no regular expression ({error})") from None
        return value

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if sum(place is not None for place in (self.system, self.url, self.file)) > 1:
            raise ValueError("name one of system, url and file")
        return self


class SystemSettings(_Strict):
    """The keys of `[systems.NAME]` that are not options of its connector."""

    connector: str
    """Its kind: `salesforce`, `odata`, `odoo`, `rest`, `sql`, `odbc`, `excel`, or an installed plugin's."""
    owner: str | None = None
    """Whom to call; stands beside every finding."""
    deputy: str | None = None
    """Whom to call when the owner does not answer."""
    business_owner: str | None = None
    """Who decides what the data must be."""
    runbook: str | None = None
    """Address of what to do at 2 am; the check `operations` looks whether it resolves."""
    fallback: Fallback | None = None
    """What answers while the system is down: words for people, or a table that can be tried."""
    identity: Annotated[str, Field(pattern=r"^(shared|per_user|pool:[1-9]\d*)$")] = "shared"
    """`shared`: one account for all users; `per_user`; `pool:4`: a cap for each user is shared accordingly."""
    quota_group: str | None = None
    """Systems of one group draw on one quota: what they ask adds up."""
    limits: tuple[DeclaredLimit, ...] = ()
    """Ceilings that the owner knows of."""
    background: tuple[Background, ...] = ()
    """What already runs there."""
    retention_days: int | None = None
    """How long this system's data may be kept."""
    credentials_expire: str | None = None
    """Date on which the login's password or certificate ends."""
    pilot_command: str | None = None
    """What starts the pilot, for drills."""
    fault_matrix: Literal["default", "full"] = "default"
    """`full` puts every fault that applies on each point; `default` a dozen."""
    in_place: bool = False
    """Let Great Expectations validate in the database itself instead of over the landed rows."""
    demand: dict[str, Any] = {}
    """`connections_per_user` and other measured demand that `weighbridge demand` writes."""


class EnvironmentSettings(_Strict):
    """The keys of `[systems.NAME.ENV]` that are not options of its connector."""

    read_only: bool | None = None
    """True everywhere but in the sandbox; false is one of the two permissions a write needs."""
    max_users: Annotated[int, Field(ge=0)] | None = None
    """How far a ramp may go: sandbox 500, staging 10; production 0, whatever is written here."""
    max_burst: Annotated[int, Field(ge=0)] | None = None
    """Calls released at once: sandbox 128, staging 0; production 0, whatever is written here."""
    call_budget: Annotated[int, Field(ge=0)] | None = None
    """Most calls of one run to this system; none is no ceiling."""
    allowed_hours: Annotated[str, Field(pattern=r"^\d\d:\d\d-\d\d:\d\d$")] | None = None
    """`22:00-06:00` in the scale's time zone: outside of it nothing but metadata is asked for."""
    production_like: bool = False
    """Somebody answers for it that this environment carries what production does."""
    capacity_factor: tuple[float, float] | None = None
    """[low, high]: production's capacity against this environment's."""
    declared_by: str | None = None
    """Author of `production_like` or `capacity_factor`."""
    declared_on: str | None = None
    """Date of that."""
    ramp_seconds: float | None = None
    """Most seconds of one point's ramp."""

    @field_validator("declared_on", mode="before")
    @classmethod
    def _a_date(cls, value: Any) -> Any:
        return value.isoformat() if hasattr(value, "isoformat") else value


class Waiver(_Strict):
    """A finding somebody answers for until a date: `[[waivers]]`."""

    point: str
    """`system.Object`, a system, or `*`."""
    code: str
    """The finding, as `quality.rule_failed`."""
    approver: str
    """Who answers for it."""
    expires: str
    """Date after which it counts again."""
    reason: str
    """Why."""

    @field_validator("expires", mode="before")
    @classmethod
    def _a_date(cls, value: Any) -> Any:
        return value.isoformat() if hasattr(value, "isoformat") else value


class ChecksSettings(_Strict):
    required: tuple[str, ...] = REQUIRED_CHECKS


class _File(_Strict):
    contracts: str | list[str] = "contracts"
    scale: Scale = Scale()
    systems: dict[str, dict[str, Any]] = {}
    checks: ChecksSettings = ChecksSettings()
    waivers: tuple[Waiver, ...] = ()
    history: dict[str, Any] = {}
    alerts: dict[str, Any] = {}
    nightly: dict[str, Any] = {}


DEFAULT_USERS = {"sandbox": 500, "staging": 10, "production": 0}
DEFAULT_BURST = {"sandbox": 128, "staging": 0, "production": 0}


@dataclass(frozen=True, slots=True)
class System:
    """One system of the project in one environment, ready to be opened."""

    name: str
    environment: str
    settings: SystemSettings
    policy: EnvironmentSettings
    options: Mapping[str, Any] = field(repr=False)
    """Connector options with secrets filled in."""
    budget: Budget = field(default_factory=Budget, repr=False)

    @property
    def read_only(self) -> bool:
        return self.environment != "sandbox" if self.policy.read_only is None else self.policy.read_only

    def session(self, **changes: Any) -> Session:
        """A session under this system's policy; writing is off until a check that may write asks for it."""
        return Session(
            system=self.name,
            environment=self.environment,
            timeout=float(self.options.get("timeout", 30.0)),
            budget=self.budget,
        ).fork(**changes)

    def connector(self, session: Session | None = None) -> Connector:
        """The connector, not yet opened. Raises SettingsError or DriverError."""
        from weighbridge.connectors.registry import connectors

        return connectors[self.settings.connector](dict(self.options), session or self.session())

    def permissions(self, point: IntegrationPoint | None = None) -> Permissions:
        """What the owner allows here; production's defaults cannot be overridden."""
        production = self.environment == "production"
        users, burst = self.policy.max_users, self.policy.max_burst
        note = " ".join(p for p in (self.policy.declared_by, self.policy.declared_on) if p)
        return Permissions(
            environment=self.environment,
            max_users=0 if production else DEFAULT_USERS[self.environment] if users is None else users,
            max_burst=0 if production else DEFAULT_BURST[self.environment] if burst is None else burst,
            writes=not production and not self.read_only and point is not None and point.object.writes,
            production_like=self.policy.production_like,
            capacity_factor=self.policy.capacity_factor,
            transfer_note=note or None,
        )


class Project:
    """weighbridge.toml, its systems and its contracts. All complaints about settings are raised at once."""

    def __init__(self, folder: Path, content: _File, environ: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self._content = content
        self._resolver = Resolver(folder, environ)
        self._systems: dict[tuple[str, str], System] = {}
        self.hidden = Hidden()
        """Secrets of the systems that were asked for; nothing that a system says may show them."""
        self.scale = content.scale
        self.required_checks = content.checks.required
        self.waivers = content.waivers

    @classmethod
    def load(
        cls, config: Path | None = None, *, start: Path | None = None, environ: Mapping[str, str] | None = None
    ) -> Project:
        """Read `config`, or the nearest weighbridge.toml at or above `start` (the working folder by default)."""
        path = config or _nearest(start or Path.cwd())
        if path is None:
            raise UsageProblem(
                f"There is no {FILE} in {start or Path.cwd()} or above it. "
                "Run `weighbridge init` to make one, or name it with --config."
            )
        try:
            raw = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UsageProblem(f"{path}: there is no such file. Run `weighbridge init` to make one.") from None
        except (OSError, UnicodeDecodeError) as error:
            raise UsageProblem(f"{path}: could not be read ({error}). Check that it is a UTF-8 text file.") from None
        except tomllib.TOMLDecodeError as error:
            raise UsageProblem(f"{path}: is not valid TOML: {error}. Mend that line and run again.") from None
        try:
            content = _File.model_validate(raw)
        except ValidationError as error:
            raise UsageProblem(f"{path}: " + "; ".join(_complaints(error, _File))) from None
        return cls(path.resolve().parent, content, environ)

    @property
    def file(self) -> Path:
        return self.folder / FILE

    @property
    def data_folder(self) -> Path:
        """Where runs, evidence and history are kept."""
        return self.folder / ".weighbridge"

    @property
    def system_names(self) -> Sequence[str]:
        return tuple(self._content.systems)

    def section(self, name: Literal["history", "alerts", "nightly"]) -> dict[str, Any]:
        """A section of weighbridge.toml that a command of its own reads, with references filled in."""
        problems: list[str] = []
        filled = self._resolver.fill(getattr(self._content, name), name, problems.append)
        if problems:
            raise UsageProblem(f"{self.file}: " + "; ".join(problems))
        return filled

    # --- systems -----------------------------------------------------------------------------------------------

    def system(self, name: str, environment: str) -> System:
        """The system in that environment. Raises UsageProblem naming everything that is wrong with it."""
        found = self._systems.get((name, environment))
        if found is None:
            problems: list[str] = []
            found = self._build(name, environment, problems)
            if found is None or problems:
                raise UsageProblem(f"{self.file}: " + "; ".join(problems))
            self._systems[name, environment] = found
        return found

    def require(self, names: Iterable[str], environment: str) -> list[System]:
        """The named systems, or one UsageProblem with every complaint about any of them."""
        problems: list[str] = []
        systems: list[System] = []
        for name in names:
            try:
                systems.append(self.system(name, environment))
            except UsageProblem as error:
                problems.append(str(error).removeprefix(f"{self.file}: "))
        if problems:
            raise UsageProblem(f"{self.file}: " + "; ".join(problems))
        return systems

    def environments(self, name: str) -> tuple[str, ...]:
        """Environments for which the system has a table."""
        return tuple(e for e in ENVIRONMENTS if e in self._content.systems.get(name, {}))

    def settings(self, name: str) -> SystemSettings:
        """The system's settings without its options: no secret is resolved for this."""
        problems: list[str] = []
        settings = self._settings(name, self._raw(name, problems), problems)
        if settings is None or problems:
            raise UsageProblem(f"{self.file}: " + "; ".join(problems))
        return settings

    def _raw(self, name: str, problems: list[str]) -> dict[str, Any]:
        raw = self._content.systems.get(name)
        if raw is None:
            known = ", ".join(self._content.systems) or "none"
            close = difflib.get_close_matches(name, self._content.systems, n=1)
            hint = f"Did you mean '{close[0]}'?" if close else f"It has: {known}."
            problems.append(f"there is no [systems.{name}]. {hint} A contract's `server` must name a system")
            return {}
        return raw

    def _settings(self, name: str, raw: Mapping[str, Any], problems: list[str]) -> SystemSettings | None:
        own = {k: v for k, v in raw.items() if k in SystemSettings.model_fields}
        if problems:
            return None
        try:
            return SystemSettings.model_validate(own)
        except ValidationError as error:
            problems += _complaints(error, SystemSettings, f"systems.{name}.")
            return None

    def _build(self, name: str, environment: str, problems: list[str]) -> System | None:
        raw = self._raw(name, problems)
        settings = self._settings(name, raw, problems)
        if settings is None:
            return None
        table = raw.get(environment)
        if not isinstance(table, dict):
            have = ", ".join(self.environments(name)) or "none"
            problems.append(
                f"systems.{name} has no [systems.{name}.{environment}] (it has: {have}). "
                f"Add that table, or choose another environment with --env"
            )
            return None
        own, options = _split(raw, SystemSettings, skip=ENVIRONMENTS)
        policy_values, env_options = _split(cast("dict[str, Any]", table), EnvironmentSettings)
        del own
        options = {**options, **env_options}
        where = f"systems.{name}.{environment}"
        try:
            policy = EnvironmentSettings.model_validate(policy_values)
        except ValidationError as error:
            problems += _complaints(error, EnvironmentSettings, f"{where}.")
            return None
        transfers = policy.capacity_factor is not None or policy.production_like
        if transfers and not (policy.declared_by and policy.declared_on):
            problems.append(
                f"{where}: production_like and capacity_factor need declared_by and declared_on, "
                "so that the report can say who answers for them and since when"
            )
        if environment != "sandbox":
            for key in sorted(SECRET_KEYS & options.keys()):
                if not is_reference(options[key]):
                    problems.append(
                        f"{where}.{key} is secret and must not be written out; "
                        f'write {key} = "${{{name.upper()}_{key.upper()}}}" and set that variable or put it into .env'
                    )
        filled = self._resolver.fill(options, where, problems.append)
        if isinstance(settings.fallback, Fallback) and settings.fallback.url:
            url = self._resolver.fill(settings.fallback.url, f"systems.{name}.fallback.url", problems.append)
            settings = settings.model_copy(update={"fallback": settings.fallback.model_copy(update={"url": url})})
            self._hide({"url": url})
        problems += self._unknown_options(settings, filled, where)
        if problems:
            return None
        self._hide(filled)
        filled = {k: self._path(k, v) for k, v in filled.items()}
        return System(name, environment, settings, policy, filled, Budget(policy.call_budget))

    def _hide(self, options: Mapping[str, Any]) -> None:
        self.hidden.learn(options)
        KNOWN.learn(options)

    def _unknown_options(self, settings: SystemSettings, options: Mapping[str, Any], where: str) -> list[str]:
        from weighbridge.connectors.registry import connectors

        try:
            known = set(connectors[settings.connector].options_model.names())
        except ConnectorError as error:
            return [f"{where.rsplit('.', 1)[0]}: {error}"]
        everything = known | set(EnvironmentSettings.model_fields) | set(SystemSettings.model_fields)
        return [_unknown(f"{where}.{key}", key, everything) for key in options if key not in known]

    def _path(self, key: str, value: Any) -> Any:
        """Paths are relative to weighbridge.toml."""
        is_path = key in {"path", "glob", "ca_file", "client_certificate"} or key.endswith("_file")
        if is_path and isinstance(value, str) and value:
            return str(self.folder / value)
        if key == "url" and isinstance(value, str) and (match := SQLITE_FILE.match(value)):
            return f"{match[1]}{self.folder / match[2]}"
        return value

    # --- contracts ---------------------------------------------------------------------------------------------

    def contract_files(self, paths: Sequence[Path] = ()) -> list[Path]:
        """The contract files under `paths`, or all of the project; sorted."""
        listed = self._content.contracts
        roots = list(paths) or [self.folder / p for p in ([listed] if isinstance(listed, str) else listed)]
        files: list[Path] = []
        for root in roots:
            if root.is_dir():
                files += sorted(root.rglob("*.odcs.yaml")) + sorted(root.rglob("*.odcs.yml"))
            elif root.is_file():
                files.append(root)
            else:
                raise UsageProblem(f"{root}: there is no such file or folder. Contracts are files named *.odcs.yaml.")
        if not files:
            raise UsageProblem(
                f"No contract (*.odcs.yaml) was found in {', '.join(str(r) for r in roots)}. "
                "Write one, or draft it from a live system with `weighbridge infer SYSTEM`."
            )
        return list(dict.fromkeys(files))

    def contracts(self, paths: Sequence[Path] = ()) -> list[Contract]:
        """All contracts under `paths`; every complaint about any of them in one ContractError."""
        from weighbridge.contracts.loader import load_all

        files = [f.resolve() for f in self.contract_files(paths)]
        inside = all(f.is_relative_to(self.folder) for f in files)
        # References may not leave the project; contracts kept elsewhere may not leave the folder they are in.
        root = self.folder if inside else Path(os.path.commonpath([f.parent for f in files]))
        return load_all(files, root)

    def points(self, paths: Sequence[Path] = (), *, users: int | None = None) -> list[IntegrationPoint]:
        """Every integration point of the contracts, in the order of files and objects."""
        from weighbridge.contracts.points import points

        return points(self.contracts(paths), self.scale, users)

    def everything(self, users: int | None = None) -> tuple[list[IntegrationPoint], list[Path]]:
        """Every point of every readable contract, whatever was selected, and the files that could not be read.

        What a selected point may draw of a shared quota depends on all others, selected or not.
        """
        from weighbridge.contracts.points import points
        from weighbridge.contracts.problems import ContractError

        found: dict[str, IntegrationPoint] = {}
        unread: list[Path] = []
        try:
            files = self.contract_files()
        except UsageProblem:
            return [], []
        for file in files:
            try:
                found |= {p.id: p for p in points(self.contracts([file]), self.scale, users)}
            except ContractError:
                unread.append(file)
        return list(found.values()), unread

    def connector(self, name: str, environment: str, session: Session | None = None) -> Connector:
        """A system's connector, not yet opened."""
        return self.system(name, environment).connector(session)

    def quota_groups(self) -> dict[str, list[str]]:
        """quota_group -> systems that draw on it."""
        groups: dict[str, list[str]] = {}
        for name in self._content.systems:
            group = self.settings(name).quota_group
            if group:
                groups.setdefault(group, []).append(name)
        return groups


def _nearest(start: Path) -> Path | None:
    start = start.resolve()
    for folder in (start, *start.parents):
        if (folder / FILE).is_file():
            return folder / FILE
    return None


def _split(
    values: Mapping[str, Any], model: type[BaseModel], *, skip: Sequence[str] = ()
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The keys that belong to the model, and the rest."""
    own = {k: v for k, v in values.items() if k in model.model_fields}
    rest = {k: v for k, v in values.items() if k not in model.model_fields and k not in skip}
    return own, rest


def _unknown(where: str, key: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(key, list(known), n=1)
    hint = f"; did you mean '{close[0]}'?" if close else f"; known are: {', '.join(sorted(known))}"
    return f"{where} is not a known key{hint}"


def _complaints(error: ValidationError, model: type[BaseModel], prefix: str = "") -> list[str]:
    """One sentence a complaint, without the offending value: it may be secret."""
    found: list[str] = []
    for item in error.errors(include_input=False, include_url=False, include_context=False):
        path = prefix + ".".join(str(p) for p in item["loc"])
        if item["type"] == "extra_forbidden":
            owners: dict[Any, type[BaseModel]] = {"scale": Scale, "fallback": Fallback}
            owner = owners.get(item["loc"][0], model)
            found.append(_unknown(path, str(item["loc"][-1]), owner.model_fields))
        else:
            found.append(f"{path}: {item['msg']}")
    return found
