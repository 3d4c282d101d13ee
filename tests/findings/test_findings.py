"""The catalogue: every code is explained, documented, and stays what it was."""

import re

import pytest

from nixsecrets.findings.catalogue import (
    CATALOGUE,
    Code,
    Finding,
    Severity,
    document,
    explain,
    failing,
)
from tests import findings_doc
from tests.fleet import Fleet

# Suppressions and CI configurations name these: a code never changes its meaning.
PROMISED = {
    "NS001": "plaintext",
    "NS010": "stale-recipients",
    "NS011": "unknown-recipients",
    "NS020": "unmanaged",
    "NS030": "rule-matches-nothing",
}


def test_the_documentation_is_written_from_the_catalogue() -> None:
    assert findings_doc.FILE.read_text(encoding="utf-8") == document()


@pytest.mark.parametrize("code", Code)
def test_every_code_has_a_title_and_says_what_to_do(code: Code) -> None:
    kind = CATALOGUE[code]
    assert re.fullmatch(r"NS\d{3}", code.value)
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", kind.slug)
    assert not kind.title.endswith(".")
    assert kind.help.endswith(".")


def test_no_two_codes_share_a_number_or_a_name() -> None:
    assert len({code.value for code in Code}) == len(list(Code))
    assert len({kind.slug for kind in CATALOGUE.values()}) == len(CATALOGUE)


def test_promised_codes_keep_their_names() -> None:
    assert {c.value: CATALOGUE[c].slug for c in Code if c.value in PROMISED} == PROMISED


def test_errors_fail_a_check_and_the_rest_only_a_strict_one() -> None:
    found = [Finding("a", code, "m") for code in Code]
    assert {one.code for one in failing(found)} == {
        code for code in Code if code.severity is Severity.ERROR
    }
    assert failing(found, strict=True) == found


def test_explain_knows_a_finding_by_number_and_by_name(fleet: Fleet) -> None:
    by_number = fleet.ok("explain", "ns010")
    assert by_number == fleet.ok("explain", "stale-recipients")
    assert by_number == explain(Code.STALE)
    listed = fleet.ok("explain").splitlines()
    assert len(listed) == len(CATALOGUE)
    assert listed[0].startswith("NS001  error   plaintext: ")


def test_explain_refuses_a_code_that_is_none(fleet: Fleet) -> None:
    done = fleet.run("explain", "NS999")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        'nixsecrets: error: no finding is called "NS999"\n'
        "nixsecrets: hint: nixsecrets explain lists them\n"
    )
