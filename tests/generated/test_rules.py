"""Which creation rule wins: read here as the real sops reads it."""

import pytest

from nixsecrets.errors import NixsecretsError
from nixsecrets.generated.rules import Winners
from tests import gate
from tests.fleet import SHARED
from tests.generated.conftest import Encrypt
from tests.map.maps import converted

A, B, C, D = (converted(name) for name in "abcd")

CONFIGS = {
    "flat text": f"creation_rules: [{{age: '{A}'}}]",
    "flat text with commas": f"creation_rules:\n- age: >-\n    {A},\n    {B},\n",
    "flat list": f"creation_rules:\n- age: [{A}, '{B}, {C}']\n",
    "flat duplicates": f"creation_rules:\n- age: [{A}, {A}]\n",
    "key groups hide flat keys": (
        f"creation_rules:\n- age: {A}\n  key_groups:\n  - age: [{B}]\n"
    ),
    "empty key groups hide nothing": f"creation_rules:\n- age: {A}\n  key_groups: []\n",
    "null key groups hide nothing": f"creation_rules:\n- age: {A}\n  key_groups: ~\n",
    "duplicates in a group": (
        f"creation_rules:\n- key_groups:\n  - age: [{A}, {A}, '{B},{A}']\n"
    ),
    "merge in a group": (
        "creation_rules:\n- key_groups:\n"
        f"  - merge:\n    - age: [{A}]\n    - age: [{B}, {A}]\n    age: [{C}]\n"
    ),
    "anchors and aliases": (
        f"keys:\n- &a {A}\n- &list [{B}, {C}]\n"
        "creation_rules:\n- path_regex: ''\n  key_groups:\n  - age: *list\n"
    ),
    "a merged mapping": (
        f"x: &x\n  age: {A}\n  path_regex: no\ncreation_rules:\n"
        "- <<: *x\n  path_regex: ^f\n"
    ),
    "several merged mappings": (
        f"x: [&x {{age: {A}}}, &y {{age: {B}, path_regex: ^f}}]\ncreation_rules:\n"
        "- <<: [*x, *y]\n"
    ),
    "an anchor given twice": (
        f"keys:\n- &a {A}\n- &a {B}\ncreation_rules:\n- age: *a\n"
    ),
    "an anchored null as a key": (
        f"keys:\n- &users:\n  - &a {A}\ncreation_rules:\n- age: *a\n"
    ),
    "a misspelt field": f"creation_rules:\n- path_regexp: x\n  age: {A}\n- age: {B}\n",
    "the first that matches": (
        f"creation_rules:\n- path_regex: no\n  age: {A}\n"
        f"- path_regex: i\n  age: {B}\n- age: {C}\n"
    ),
    "an unanchored expression": f"creation_rules:\n- path_regex: ile$\n  age: {A}\n",
    "an invalid expression further down": (
        f"creation_rules:\n- age: {A}\n- path_regex: '('\n  age: {B}\n"
    ),
    "no rule": "creation_rules:\n- path_regex: ^no$\n  age: x\n",
    "no list": "keys: []\n",
    "a null list": "creation_rules:\n",
    "two documents": f"creation_rules:\n- age: {A}\n---\ncreation_rules:\n- age: {B}\n",
    "windows": f"creation_rules:\r\n- age: {A}\r\n",
    "a byte order mark": f"\ufeffcreation_rules:\n- age: {A}\n",
    "JSON": f'{{"creation_rules": [{{"path_regex": "file", "age": "{A}"}}]}}',
    "an alias for a rule": f"x: &x\n  age: {A}\ncreation_rules:\n- *x\n",
    "a null expression": f"creation_rules:\n- path_regex: null\n  age: {A}\n",
    "a number for an expression": f"creation_rules:\n- path_regex: 7\n  age: {A}\n",
}


@pytest.mark.parametrize("name", CONFIGS)
def test_the_winner_has_the_recipients_that_sops_takes(
    recipients_by_sops: Encrypt, name: str
) -> None:
    real = recipients_by_sops(CONFIGS[name], "file")
    found = Winners(CONFIGS[name]).winner("file")
    if found is None:
        assert "no matching creation rules" in real or "no creation rules" in real
    else:
        assert found.age == real


BROKEN = {
    "not YAML": "creation_rules: [\n",
    "a missing anchor": "creation_rules:\n- age: *nobody\n",
    "an anchor inside itself": "creation_rules: &a\n- age: *a\n",
    "a field twice": f"creation_rules:\n- age: {A}\n  age: {B}\n",
    "a section twice": f"creation_rules:\n- age: {A}\ncreation_rules: []\n",
    "rules as fields": f"creation_rules:\n  age: {A}\n",
    "a rule that is a text": "creation_rules:\n- text\n",
    "a text in a group": f"creation_rules:\n- key_groups:\n  - age: {A}\n",
    "a list for an expression": f"creation_rules:\n- path_regex: [a]\n  age: {A}\n",
    "a nested list": f"creation_rules:\n- age: [[{A}]]\n",
    "a control character": f"creation_rules:\n- age: {A}\x01\n",
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_sops_cannot_read_is_an_error_with_a_hint(
    recipients_by_sops: Encrypt, name: str
) -> None:
    assert isinstance(recipients_by_sops(BROKEN[name], "file"), str)
    with pytest.raises(NixsecretsError, match=r"^\.sops\.yaml(:\d)?: ") as caught:
        Winners(BROKEN[name]).winner("file")
    assert caught.value.hint
    assert A not in caught.value.message


def test_a_rule_has_its_line_and_its_fields() -> None:
    text = (
        "creation_rules:\n"
        "  # servers\n"
        "  - path_regex: ^a$\n"
        "    pgp: 85D77543B3D624B63CEA9E6DBC17301B491B3F21\n"
        "    kms: arn:one,arn:two\n"
        "    encrypted_regex: ^data$\n"
        "    mac_only_encrypted: true\n"
        "  - shamir_threshold: 2\n"
        "    key_groups:\n"
        f"    - age: [{A}]\n"
        "    - kms: [{arn: arn:three, role: r}]\n"
        "      hc_vault: [https://vault]\n"
    )
    first, second = Winners(text).rules
    assert (first.number, first.line, first.ours, first.groups) == (0, 3, False, 1)
    assert first.others == (
        "pgp:85D77543B3D624B63CEA9E6DBC17301B491B3F21",
        "kms:arn:one",
        "kms:arn:two",
    )
    assert first.options == (
        ("encrypted_regex", "^data$"),
        ("mac_only_encrypted", True),
    )
    assert (second.line, second.groups, second.age) == (8, 2, (A,))
    assert second.others == ("kms:arn:three r", "hc_vault:https://vault")


@pytest.mark.parametrize("path", ["../file", "/file", "../../a/b"])
def test_nothing_is_said_of_a_path_outside_of_the_folder(path: str) -> None:
    assert Winners(f"creation_rules:\n- age: {A}\n").winner(path) is None


def test_an_expression_that_sops_cannot_compile_ends_its_search() -> None:
    text = f"creation_rules:\n- path_regex: ^a$\n  age: {A}\n- path_regex: (?=x)\n"
    there = Winners(text).winner("a")
    assert there is not None
    assert there.fault is None
    failing = Winners(text).winner("b")
    assert failing is not None
    assert failing.fault is not None


CORPUS = sorted((SHARED / "corpus" / "sops").glob("*.files.tsv"))


@pytest.mark.skipif(not CORPUS, reason=gate.reason("shared", "the corpus"))
def test_real_files_have_the_recipients_of_the_rule_that_wins_them() -> None:
    agreeing = total = 0
    for listing in CORPUS:
        config = listing.with_name(listing.name.replace(".files.tsv", ".yaml"))
        decide = Winners(config.read_bytes().decode(), config.name)
        for line in listing.read_text().splitlines()[1:]:
            path, _, recipients = line.partition("\t")
            if found := decide.winner(path):
                stated = {one.lower() for one in recipients.split(",") if one}
                wanted = {one.lower() for one in (*found.age, *found.others)}
                agreeing += wanted == stated
                total += 1
    assert total > 2000
    assert total - agreeing < 15  # these have drifted: that is why we are here
