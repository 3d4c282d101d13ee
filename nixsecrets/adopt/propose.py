"""The proposal: a map for old configurations, with the proof of equal access."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from nixsecrets.adopt.grouping import Naming, naming
from nixsecrets.adopt.hints import Hints
from nixsecrets.adopt.mapwriter import map_text
from nixsecrets.adopt.naming import Owner, owners
from nixsecrets.adopt.oldrules import Old, SopsRule
from nixsecrets.adopt.planned import Planned, Planner, Tree, settled
from nixsecrets.adopt.proof import Proof, Prover
from nixsecrets.errors import NixsecretsError, quoted
from nixsecrets.generated import sopsyaml
from nixsecrets.map.load import load
from nixsecrets.map.resolve import Policy


@dataclass(frozen=True)
class Proposal:
    """A map that grants exactly the access of the old configurations.

    `config` is the text of `.sops.yaml` with the adopted rules replaced in place, None
    without one; `foreign` are the rules that stay.
    """

    old: Old
    map_text: str = field(repr=False)
    owners: tuple[Owner, ...]
    rules: tuple[Planned, ...]
    naming: Naming
    foreign: tuple[SopsRule, ...]
    proof: Proof
    config: str | None = field(repr=False, default=None)


def propose(
    old: Old,
    tree: Tree,
    hints: Hints,
    *,
    config_text: str | None = None,
    loose: Sequence[str] = (),
) -> Proposal:
    """Return the proposal for the old configurations.

    `tree` are the files of the map's folder, `config_text` is that of `.sops.yaml`,
    `loose` are comments to keep.

    Raises:
        NixsecretsError: no rule can be adopted, or access would change.
    """
    files = [path for path, backend in tree.items() if backend is not None]
    old = settled(old, files)
    foreign = tuple(rule for rule in old.sops if rule.foreign is not None)
    _require_something(old, foreign)
    who = owners(old, hints, tree)
    prover = Prover(old, files)
    rules = tuple(Planner(old, who, tree, prover).planned())
    words = naming(who, rules, hints.sets)
    text = map_text(old, who, rules, words, loose)
    policy = Policy(load(text))
    proof = prover.prove(policy)
    _require_equal(proof.differences, "the new map")
    config = None
    if old.config is not None:
        config = sopsyaml.render(policy, config_text, adopted=_places(rules))
        _require_equal(prover.prove_config(config), old.config)
    return Proposal(old, text, who, rules, words, foreign, proof, config)


def _places(rules: Sequence[Planned]) -> Mapping[int, int]:
    """Return the index of the map's rule that replaces each creation rule."""
    return {index: at for at, rule in enumerate(rules) for index in rule.indices}


def _require_something(old: Old, foreign: Sequence[SopsRule]) -> None:
    """Raise NixsecretsError if nixsecrets manages none of the rules."""
    if not old.sops or len(foreign) < len(old.sops) or old.rules is not None:
        return
    reasons = dict.fromkeys(f"  line {r.rule.line}: {r.foreign}" for r in foreign)
    hint = (
        "nixsecrets manages age recipients in one key group; switch the readers first"
    )
    if foreign[0].rule.fault:
        hint = "correct the expression (it is not a glob), or remove the rule"
    raise NixsecretsError(
        "\n".join([f"{old.config}: no rule of it can be adopted", *reasons]), hint
    )


def _require_equal(differences: Sequence[str], where: str) -> None:
    if differences:
        paths = ", ".join(map(quoted, differences[:3]))
        raise NixsecretsError(
            f"{where} would change access to: {paths}",
            "nothing was written; simplify the rules that cover these paths",
        )
