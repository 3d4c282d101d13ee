"""The keys of a sops file and their types, in files of the real sops."""

import json
from pathlib import Path

import pytest

from nixsecrets.errors import SecretFileError
from nixsecrets.files.sops.keytree import Value, keys_of
from nixsecrets.files.sops.metadata import SopsFormat
from tests.fleet import Fleet

CONTENT = {
    "text": "x",
    "empty": "",
    "number": 5432,
    "float": 1.5,
    "yes": True,
    "db": {"password": "y", "port": 1, "deep": {"er": "z"}},
    "list": ["a"],
    "with space": "x",
    "plain_unencrypted": "x",
    "number_unencrypted": 3,
    "nested": {"sops": "a key like any other"},
}
EXPECTED = {
    "text": Value.TEXT,
    "empty": Value.TEXT,
    "number": Value.OTHER,
    "float": Value.OTHER,
    "yes": Value.OTHER,
    "db": Value.TREE,
    "db/password": Value.TEXT,
    "db/port": Value.OTHER,
    "db/deep/er": Value.TEXT,
    "db/gone": Value.ABSENT,
    "text/x": Value.ABSENT,
    "list": Value.TREE,
    "list/0": Value.ABSENT,
    "with space": Value.TEXT,
    "plain_unencrypted": Value.TEXT,
    "number_unencrypted": Value.OTHER,
    "nested/sops": Value.TEXT,
    "sops": Value.ABSENT,
    "sops/mac": Value.ABSENT,
    "": Value.ABSENT,
    "/": Value.ABSENT,
}


@pytest.mark.parametrize("name", ["x.yaml", "x.json"])
def test_every_key_is_found_with_the_type_that_sops_recorded(
    fleet: Fleet, name: str
) -> None:
    path = fleet.sops_encrypt(name, json.dumps(CONTENT), [fleet.public("alice")])
    kind = SopsFormat(Path(name).suffix[1:])
    keys = keys_of(kind, path.read_bytes())
    assert {key: keys.find(key) for key in EXPECTED} == EXPECTED


def test_only_the_first_document_counts_as_in_sops_nix(fleet: Fleet) -> None:
    text = "first: a\n---\nsecond: b\n"
    path = fleet.sops_encrypt("x.yaml", text, [fleet.public("alice")])
    keys = keys_of(SopsFormat.YAML, path.read_bytes())
    assert keys.top() == {"first"}
    assert keys.find("second") is Value.ABSENT


def test_a_file_that_nobody_can_parse_is_refused_without_a_word_of_it() -> None:
    for kind, text in ((SopsFormat.JSON, b"{"), (SopsFormat.YAML, b"a: [secret-word")):
        with pytest.raises(SecretFileError) as caught:
            keys_of(kind, text)
        assert "secret-word" not in caught.value.message


def test_a_file_as_sops_writes_it_needs_no_yaml_library(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "a: x\nb:\n    c: y\n    d: 3\n"
    path = fleet.sops_encrypt("x.yaml", text, [fleet.public("alice")])
    monkeypatch.setattr(
        "nixsecrets.files.sops.tree.loaded", lambda _: pytest.fail("asked")
    )
    keys = keys_of(SopsFormat.YAML, path.read_bytes())
    assert (keys.find("b/c"), keys.find("b/d")) == (Value.TEXT, Value.OTHER)
