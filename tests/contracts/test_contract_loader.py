"""Loading: what is wrong is said all at once with its place, and nothing hostile is obeyed."""

from __future__ import annotations

import textwrap
import time
from pathlib import Path

import pytest

from weighbridge.contracts import _yaml
from weighbridge.contracts.loader import ContractError, check, load, load_all

GOOD = """\
apiVersion: v3.1.0
kind: DataContract
id: crm
version: "1"
servers:
  - {server: crm, type: custom, environment: staging}
schema:
  - name: Account
    id: account
    physicalName: ACCOUNT
    properties:
      - {name: id, id: key, logicalType: string, primaryKey: true}
      - name: email
        logicalType: string
"""


def write(folder: Path, text: str, name: str = "c.odcs.yaml") -> Path:
    path = folder / name
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return path


def complaints(folder: Path, text: str) -> list[tuple[int, int, str]]:
    with pytest.raises(ContractError) as caught:
        load(write(folder, text))
    return [(p.line, p.column, p.message) for p in caught.value.problems]


def test_a_good_contract_is_plain_values(tmp_path: Path) -> None:
    contract = load(write(tmp_path, GOOD))
    account = contract.objects[0]
    assert (contract.id, account.physical_name, account.line) == ("crm", "ACCOUNT", 8)
    assert [p.name for p in account.key] == ["id"]
    assert account.properties[1].physical_name == "email"


def test_all_complaints_come_at_once_with_line_and_column(tmp_path: Path) -> None:
    text = GOOD.replace("logicalType: string\n", "logicalType: strin\n        requird: true\n").replace("id: crm\n", "")
    found = complaints(tmp_path, text)
    words = " / ".join(m for _, _, m in found)
    assert '"id" is a required property' in words
    assert "strin" in words
    assert "requird" in words
    assert "did you mean 'required'" in words
    line = next(line for line, _, m in found if "requird" in m)
    assert text.splitlines()[line - 1].strip().startswith("requird")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [1, 2", "is not YAML"),
        ("a: 1\n---\nb: 2\n", "second YAML document"),
        ("- 1\n", "must be a mapping"),
        ("", "empty"),
        ("a: 1\na: 2\n", "stands twice"),
        ("a: !!python/object/apply:os.system ['true']\n", "tag"),
        ("a: !local x\n", "tag"),
        ("a: &x [1]\nb: *y\n", "no anchor"),
        ("a: &x [*x]\n", "inside its own anchor"),
        ("1: a\n", "not text"),
        ("a: &x {b: 1}\nc: {<<: *x}\n", "merge key"),
        ("a: \x00\n", "YAML"),
        ("a: 0123\n", "octal"),
        ("a: NO\n", "boolean in YAML 1.1"),
        ("a: 1e999\n", "beyond"),
        ("a: " + "9" * 5000 + "\n", "digits"),
    ],
)
def test_broken_and_hostile_yaml_is_a_complaint(tmp_path: Path, text: str, words: str) -> None:
    assert any(words in message for _, _, message in complaints(tmp_path, text))


def test_what_yaml_tools_read_differently_is_a_warning(tmp_path: Path) -> None:
    text = GOOD + "contractCreatedTs: 2024-01-02T03:04:05Z\nslaProperties:\n  - {property: rows, value: 1e6}\n"
    contract, problems = check(write(tmp_path, text))
    assert contract is not None
    warned = {p.message.split(" ")[0] for p in problems if p.severity == "warning"}
    assert warned == {"2024-01-02T03:04:05Z", "1e6"}
    assert contract.raw["contractCreatedTs"] == "2024-01-02T03:04:05Z"


def test_an_alias_bomb_is_bounded(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    started = time.perf_counter()
    assert any("more than" in m for _, _, m in complaints(tmp_path, "\n".join(lines)))
    assert time.perf_counter() - started < 2


def test_depth_and_size_are_bounded(tmp_path: Path) -> None:
    assert any("nested deeper" in m for _, _, m in complaints(tmp_path, "a: " + "[" * 60))
    assert any("depth" in m for _, _, m in complaints(tmp_path, "a: " + "[" * 5000))
    big = tmp_path / "big.yaml"
    big.write_bytes(b"a: 1\n" + b"#" * (_yaml.MAX_BYTES + 1))
    with pytest.raises(ContractError, match="a contract may have"):
        load(big)


def test_a_hundred_thousand_properties_are_refused_quickly(tmp_path: Path) -> None:
    body = "".join(f"      - {{name: c{i}}}\n" for i in range(100_000))
    text = GOOD.split("    properties:", maxsplit=1)[0] + "    properties:\n" + body
    started = time.perf_counter()
    assert any("more than" in m for _, _, m in complaints(tmp_path, text))
    assert time.perf_counter() - started < 15


def test_missing_and_undecodable_files_are_complaints(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="No such file"):
        load(tmp_path / "none.yaml")
    path = tmp_path / "latin.yaml"
    path.write_bytes("a: ok\nb: caf\xe9\n".encode("latin-1"))
    with pytest.raises(ContractError) as caught:
        load(path)
    assert (caught.value.problems[0].line, caught.value.problems[0].column) == (2, 7)


NAMES = ['it"s', "two words", "😀", "select", "n" * 300, "a'b", "a;b--", "x.y", "Ünïcode"]


@pytest.mark.parametrize("name", NAMES)
def test_odd_names_are_names(tmp_path: Path, name: str) -> None:
    import json

    text = GOOD.replace("name: email", f"name: {json.dumps(name, ensure_ascii=False)}")
    assert load(write(tmp_path, text)).objects[0].properties[1].name == name


def test_several_files_complain_together(tmp_path: Path) -> None:
    one = write(tmp_path, GOOD.replace("kind: DataContract\n", ""), "one.yaml")
    two = write(tmp_path, GOOD.replace("name: Account", "nam: Account"), "two.yaml")
    good = write(tmp_path, GOOD, "good.yaml")
    with pytest.raises(ContractError) as caught:
        load_all([one, good, two])
    assert {p.path.name for p in caught.value.problems} == {"one.yaml", "two.yaml"}


# --- references ---------------------------------------------------------------------------------------------------


def referring(to: str) -> str:
    return GOOD + f"        relationships:\n          - to: {to}\n"


def test_a_reference_across_contracts_is_relative_to_its_file(tmp_path: Path) -> None:
    (tmp_path / "weighbridge.toml").touch()
    (tmp_path / "contracts" / "sub").mkdir(parents=True)
    write(tmp_path / "contracts", GOOD, "crm.odcs.yaml")
    erp = write(
        tmp_path / "contracts" / "sub", referring("../crm.odcs.yaml#/schema/account/properties/key"), "erp.odcs.yaml"
    )
    relation = load(erp).objects[0].properties[1].relationships[0]
    assert (relation.target_file, relation.target_object, relation.target_columns) == (
        "../crm.odcs.yaml",
        "Account",
        ("id",),
    )


def test_a_shorthand_reference_stays_inside_its_contract(tmp_path: Path) -> None:
    relation = load(write(tmp_path, referring("Account.id"))).objects[0].properties[1].relationships[0]
    assert (relation.target_file, relation.target_object, relation.columns) == (None, "Account", ("email",))


@pytest.mark.parametrize(
    ("to", "words"),
    [
        ("Nothing.id", "names no object"),
        ("Account.nothing", "names no property"),
        ("none.odcs.yaml#/schema/account/properties/key", "there is no file"),
        ("../../../../etc/passwd.yaml#/schema/account/properties/key", "leaves the project"),
        ("https://example.com/x.yaml#/schema/account/properties/key", "not fetched over a network"),
    ],
)
def test_a_reference_to_nothing_is_a_complaint_with_its_place(tmp_path: Path, to: str, words: str) -> None:
    (tmp_path / "weighbridge.toml").touch()
    found = complaints(tmp_path, referring(to))
    assert [words in m for _, _, m in found] == [True], found
    assert found[0][0] == 16


def test_a_composite_reference_needs_as_many_columns(tmp_path: Path) -> None:
    text = GOOD + "    relationships:\n      - {from: [Account.id, Account.email], to: [Account.id]}\n"
    assert any("2 to 1 columns" in m for _, _, m in complaints(tmp_path, text))


def test_a_link_out_of_the_project_is_refused(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "weighbridge.toml").touch()
    outside = write(tmp_path, GOOD, "outside.odcs.yaml")
    (project / "crm.odcs.yaml").symlink_to(outside)
    erp = write(project, referring("crm.odcs.yaml#/schema/account/properties/key"), "erp.odcs.yaml")
    with pytest.raises(ContractError, match="leaves the project"):
        load(erp)


@pytest.mark.slow
def test_two_hundred_contracts_in_two_seconds_without_great_expectations(tmp_path: Path) -> None:
    import subprocess
    import sys

    rules = "".join(
        f"      - {{name: c{i}, logicalType: string, logicalTypeOptions: {{pattern: '^[A-Z]{{{i}}}$'}}}}\n"
        for i in range(1, 9)
    )
    for i in range(200):
        write(tmp_path, GOOD.split("      - name: email", maxsplit=1)[0] + rules, f"c{i}.odcs.yaml")
    program = (
        "import sys, time, pathlib\n"
        "started = time.perf_counter()\n"
        "from weighbridge.contracts.loader import load_all\n"
        "from weighbridge.contracts.rules import compile_rules\n"
        "found = load_all(sorted(pathlib.Path(sys.argv[1]).glob('*.odcs.yaml')))\n"
        "rules = sum(len(compile_rules(c, c.objects[0])) for c in found)\n"
        "assert rules >= 2000 and not any('great_expectations' in m for m in sys.modules)\n"
        "print(time.perf_counter() - started)\n"
    )
    times = [
        float(subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, check=True).stdout)
        for _ in range(3)
    ]
    assert min(times) < 2
