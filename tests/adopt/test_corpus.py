"""Real configurations: each is adopted with equal access, or refused for its reason.

The samples lie outside of the project (`../shared/corpus`); without them these tests
are skipped.  The proof of adoption itself is not believed here: what the map, the
rewritten `.sops.yaml` and the regenerated rules say is computed anew.
"""

import json
from pathlib import Path

import pytest

from nixsecrets.adopt.hints import keys_in
from nixsecrets.adopt.patterns import nearby, samples
from nixsecrets.adopt.propose import Proposal
from nixsecrets.errors import NixsecretsError
from nixsecrets.generated import secretsnix, sopsyaml
from nixsecrets.generated.rules import Winners
from nixsecrets.keys.forms import Backend
from nixsecrets.keys.recipients import KeyId
from nixsecrets.map.load import load
from nixsecrets.map.resolve import Policy
from tests import gate
from tests.corpus import (
    AGENIX,
    CORPUS,
    SOPS,
    adopt_agenix,
    adopt_sops,
    agenix_rules,
    sops_text,
    sops_tree,
)
from tests.fleet import clean_env, program, run_program

pytestmark = pytest.mark.skipif(
    not CORPUS.is_dir(), reason=gate.reason("shared", "the corpus")
)

PGP = "names PGP"
REFUSED = {
    "sops/006": PGP,
    "sops/014": "placeholder",
    "sops/016": "key groups",
    "sops/018": PGP,
    "sops/020": "names AWS KMS",
    "sops/024": PGP,
    "sops/028": PGP,
    "sops/032": PGP,
    "sops/036": "names AWS KMS",
    "sops/048": "key groups",
    "sops/056": PGP,
    "sops/064": PGP,
    "agenix/016": "has no key",
    "agenix/032": "not a point of the curve",
    "agenix/038": "is not a string",
    "agenix/064": "placeholder",
}
FOREIGN = {"sops/030": 11, "sops/044": 25, "sops/066": 1, "sops/068": 2}
"""How many rules of an adopted configuration stay as they are."""


def ids(texts: tuple[str, ...]) -> frozenset[KeyId]:
    return frozenset(key.key_id for text in texts for key in keys_in(text))


def adopted_or_refused(sample: str) -> Proposal | None:
    kind, name = sample.split("/")
    adopt = adopt_sops if kind == "sops" else adopt_agenix
    if sample not in REFUSED:
        return adopt(name)
    with pytest.raises(NixsecretsError) as caught:
        adopt(name)
    assert REFUSED[sample] in caught.value.message
    assert caught.value.hint
    return None


@pytest.mark.parametrize("name", SOPS)
def test_a_sops_configuration_keeps_every_reader_or_is_refused(name: str) -> None:
    proposal = adopted_or_refused(f"sops/{name}")
    if proposal is None:
        return
    assert proposal.config is not None
    assert len(proposal.foreign) == FOREIGN.get(f"sops/{name}", 0)
    was = Winners(sops_text(name))
    now = Winners(proposal.config)
    policy = Policy(load(proposal.map_text))
    foreign = {one.rule.number for one in proposal.foreign}
    drawn = (path for rule in was.rules for path in nearby(samples(rule.path_regex)))
    for path in (*sops_tree(name), *drawn):
        before, after = was.winner(path), now.winner(path)
        want = policy.desired(path, Backend.SOPS)
        if before is None:
            assert after is None or after.ours
            assert want is None or "{host}" in want.rule.readers
            continue
        assert after is not None
        if before.number in foreign:
            assert after == before
            assert want is None
            continue
        assert ids(after.age) == ids(before.age), path
        assert dict(after.options) == dict(before.options)
        if not policy.never_secret(path):
            assert want is not None
            assert {r.recipient.key_id for r in want.readers} == ids(before.age)


@pytest.mark.parametrize("name", SOPS)
def test_an_adopted_configuration_is_written_the_same_way_again(name: str) -> None:
    if f"sops/{name}" in REFUSED:
        return
    proposal = adopt_sops(name)
    again = sopsyaml.render(Policy(load(proposal.map_text)), proposal.config)
    assert again == proposal.config


@pytest.mark.parametrize("name", AGENIX)
def test_agenix_rules_keep_every_reader_or_are_refused(
    name: str, tmp_path: Path
) -> None:
    proposal = adopted_or_refused(f"agenix/{name}")
    if proposal is None:
        return
    rules = agenix_rules(name)
    text = secretsnix.render(
        Policy(load(proposal.map_text)), [entry.path for entry in proposal.old.age]
    )
    (tmp_path / "secrets.nix").write_text(text)
    done = run_program(
        program("nix-instantiate"),
        *("--store", "dummy://", "--eval", "--strict", "--json", "--readonly-mode"),
        *("-E", "import ./secrets.nix"),
        env=clean_env(tmp_path),
        cwd=tmp_path,
    )
    evaluated = json.loads(done)
    assert set(evaluated) == {entry.removeprefix("./") for entry in rules}
    for entry, value in rules.items():
        new = evaluated[entry.removeprefix("./")]
        keys = ids(tuple("\n".join(value["publicKeys"]).split("\n")))
        assert ids(tuple(new["publicKeys"])) == keys
        assert bool(new.get("armor")) == bool(value.get("armor"))
