"""Settings are complained about all at once, before any contact, and never with a secret's value."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from weighbridge.errors import UsageProblem
from weighbridge.project import Project


def load(folder: Path, text: str, **environ: str) -> Project:
    (folder / "weighbridge.toml").write_text(text)
    return Project.load(start=folder, environ=environ)


def complaint(folder: Path, text: str, environment: str = "staging", **environ: str) -> str:
    with pytest.raises(UsageProblem) as caught:
        load(folder, text, **environ).system("crm", environment)
    return str(caught.value)


def test_the_nearest_file_above_is_found(shop: Path) -> None:
    assert Project.load(start=shop / "contracts").folder == shop.resolve()


def test_no_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageProblem, match="weighbridge init"):
        Project.load(start=tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[scale\n", "not valid TOML"),
        ("[scale]\nproduction_user = 5\n", "did you mean 'production_users'"),
        ("[scale]\nproduction_users = 0\n", "scale.production_users"),
        ("[scale]\nhourly_profile = [1, 2]\n", "24 weights"),
        ("[sytems.crm]\n", "did you mean 'systems'"),
    ],
)
def test_a_broken_file_names_the_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageProblem, match=r"weighbridge\.toml") as caught:
        load(tmp_path, text)
    assert said in str(caught.value)


def test_unknown_system_and_environment_are_named_with_the_known_ones(shop: Path) -> None:
    project = Project.load(start=shop)
    with pytest.raises(UsageProblem, match="Did you mean 'shop'"):
        project.system("shopp", "sandbox")
    with pytest.raises(UsageProblem, match=r"it has: sandbox, staging"):
        project.system("shop", "production")


def test_every_complaint_comes_at_once(tmp_path: Path) -> None:
    text = '[systems.crm]\nconnector = "sql"\n[systems.crm.staging]\nurl = "${NOPE}"\nmax_user = 3\nschma = "x"\n'
    said = complaint(tmp_path, text)
    assert "${NOPE} is not set" in said
    assert "did you mean 'max_users'" in said
    assert "did you mean 'schema'" in said


def test_a_literal_secret_is_refused_and_not_repeated(tmp_path: Path) -> None:
    text = '[systems.crm]\nconnector = "sql"\n[systems.crm.staging]\nurl = "postgresql://u:hunter2@h/d"\n'
    said = complaint(tmp_path, text)
    assert "secret" in said
    assert "${CRM_URL}" in said
    assert "hunter2" not in said


def test_a_literal_secret_is_allowed_in_the_sandbox(tmp_path: Path) -> None:
    text = '[systems.crm]\nconnector = "sql"\n[systems.crm.sandbox]\nurl = "sqlite:///x.db"\n'
    system = load(tmp_path, text).system("crm", "sandbox")
    assert "sqlite" not in repr(system)


def test_the_environment_wins_over_dotenv(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A=from-file\nB=from-file\n")
    text = '[systems.crm]\nconnector = "sql"\n[systems.crm.staging]\nurl = "${A}/${B}"\n'
    assert load(tmp_path, text, A="from-env").system("crm", "staging").options["url"] == "from-env/from-file"


def test_an_unknown_connector_is_suggested(tmp_path: Path) -> None:
    text = '[systems.crm]\nconnector = "salesfroce"\n[systems.crm.staging]\n'
    assert "salesforce" in complaint(tmp_path, text)


@pytest.mark.parametrize(
    ("environment", "policy", "users", "burst", "writes", "rung"),
    [
        ("sandbox", "", 500, 128, True, 4),
        ("staging", "", 10, 0, False, 2),
        ("staging", "max_users = 20\nmax_burst = 64", 20, 64, False, 3),
        ("staging", "read_only = false", 10, 0, True, 4),
        ("production", "", 0, 0, False, 0),
        ("production", "max_users = 50\nmax_burst = 9\nread_only = false", 0, 0, False, 0),
    ],
)
def test_the_ladder(tmp_path: Path, environment, policy, users, burst, writes, rung) -> None:
    text = f'[systems.crm]\nconnector = "excel"\n[systems.crm.{environment}]\npath = "x.xlsx"\n{policy}\n'

    point = SimpleNamespace(object=SimpleNamespace(writes=True))
    allowed = load(tmp_path, text).system("crm", environment).permissions(point)  # type: ignore[arg-type]
    assert (allowed.max_users, allowed.max_burst, allowed.writes, allowed.rung) == (users, burst, writes, rung)


def test_a_contract_that_does_not_allow_writes_keeps_the_point_below_rung_4(shop: Path) -> None:
    project = Project.load(start=shop)
    (point,) = project.points()
    assert project.system("shop", "sandbox").permissions(point).rung == 3


def test_a_transfer_needs_an_author_and_a_date(tmp_path: Path) -> None:
    text = '[systems.crm]\nconnector = "excel"\n[systems.crm.staging]\npath = "x"\nproduction_like = true\n'
    assert "declared_by" in complaint(tmp_path, text)


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    text = '[systems.crm]\nconnector = "excel"\n[systems.crm.staging]\npath = "books/a.xlsx"\n'
    assert load(tmp_path, text).system("crm", "staging").options["path"] == str(tmp_path / "books/a.xlsx")


def test_missing_contracts_say_how_to_draft_one(tmp_path: Path) -> None:
    (tmp_path / "contracts").mkdir()
    with pytest.raises(UsageProblem, match="weighbridge infer"):
        load(tmp_path, "").contract_files()
    with pytest.raises(UsageProblem, match="no such file"):
        load(tmp_path, "").contract_files([tmp_path / "nope.odcs.yaml"])


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("sqlite:///data/x.db", "sqlite:///{}/data/x.db"),
        ("sqlite+pysqlite:///x.db", "sqlite+pysqlite:///{}/x.db"),
        ("sqlite:////data/x.db", "sqlite:////data/x.db"),
        ("sqlite:///C:/x.db", "sqlite:///C:/x.db"),
        ("sqlite:///:memory:", "sqlite:///:memory:"),
        ("postgresql://h/d", "postgresql://h/d"),
    ],
)
def test_a_sqlite_file_lies_beside_the_project_file(tmp_path: Path, url: str, wanted: str) -> None:
    text = f'[systems.crm]\nconnector = "sql"\n[systems.crm.sandbox]\nurl = "{url}"\n'
    assert load(tmp_path, text).system("crm", "sandbox").options["url"] == wanted.format(tmp_path)
