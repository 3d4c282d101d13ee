"""Prepares the adoption of a folder, and summarizes it for the operator."""

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from nixsecrets.adopt.propose import Proposal, propose
from nixsecrets.adopt.sources import Fleet, Sources, read_sources
from nixsecrets.adopt.switch import Adoption, adoption
from nixsecrets.errors import counted, path_text
from nixsecrets.plan import approvals
from nixsecrets.repo.worktree import Repo
from nixsecrets.world.world import MAP_NAME


@dataclass(frozen=True, slots=True)
class Prepared:
    """A folder with secrets, and what adopting it would write."""

    fleet: Fleet
    sources: Sources
    proposal: Proposal
    adoption: Adoption


def prepare(
    repo: Repo,
    fleet: Fleet,
    folders: Sequence[str],
    env: Mapping[str, str],
    *,
    keep_rules: bool,
) -> Prepared:
    """Return what adopting the folder of `fleet` would write; write nothing.

    `folders` are all folders that are adopted, `env` is the environment.

    Raises:
        NixsecretsError: the old configurations cannot be read or adopted.
    """
    mine = Repo.at(repo.root / fleet.folder)
    others = [
        posixpath.relpath(folder, fleet.folder or ".")
        for folder in folders
        if folder != fleet.folder
        and (not fleet.folder or folder.startswith(fleet.folder + "/"))
    ]
    sources = read_sources(mine, fleet, env, others)
    proposal = propose(
        sources.old,
        sources.tree,
        sources.hints,
        config_text=sources.config_text,
        loose=sources.loose,
    )
    switch = adoption(mine, proposal, keep_rules=keep_rules, others=others)
    return Prepared(fleet, sources, proposal, switch)


def summary(one: Prepared, *, with_map: bool) -> Iterator[str]:
    """Yield the lines to show before asking: names, rules, verification."""
    place = posixpath.join(one.fleet.folder, MAP_NAME)
    if with_map:
        yield f"{place}:"
        yield ""
        yield from (f"  {line}".rstrip() for line in one.proposal.map_text.splitlines())
        yield ""
    yield from _names(one.proposal)
    yield from _rules(one)
    proof = one.proposal.proof
    files = counted(proof.files, "secret file")
    paths = counted(proof.samples, "other path")
    yield f"verified: the recipients of {files} and {paths} are unchanged"


def _names(proposal: Proposal) -> Iterator[str]:
    yield "names:"
    width = max((len(owner.name) for owner in proposal.owners), default=0)
    for owner in proposal.owners:
        kind = f"{owner.kind}?" if owner.guessed else owner.kind
        also = f"; also called {', '.join(owner.also)}" if owner.also else ""
        yield f"  {owner.name:<{width}}  {kind:<5}  {owner.origin}{also}"
        for key in owner.keys:
            yield f"  {'':<{width}}         {key.kind} {approvals.fingerprint(key)}"
    if not proposal.owners:
        yield "  none; begin with: nixsecrets add-user NAME --key KEY"
    if any(owner.guessed for owner in proposal.owners):
        yield "  (host?, user?: nothing says which it is; correct it in the map)"
    for name in proposal.naming.groups:
        yield f"  {name}: a group; {proposal.naming.origins[name]}"


def _rules(one: Prepared) -> Iterator[str]:
    old = one.proposal.old
    if old.config is not None:
        adopted = len(old.sops) - len(one.proposal.foreign)
        every = counted(len(old.sops), "rule")
        yield f"{old.config}: {adopted} of {every} adopted"
        for rule in one.proposal.foreign:
            yield f"  line {rule.rule.line} stays as it is: {rule.foreign}"
        for rule, above in old.dead():
            yield (
                f"  line {rule.rule.line} never applies:"
                f" line {above.rule.line} covers what it covers"
            )
    if old.rules is not None:
        count = counted(len(old.age), "entry", "entries")
        yield f"{old.rules}: {count} adopted"
        for entry in old.age:
            plain = posixpath.relpath(entry.path, posixpath.dirname(old.rules) or ".")
            if entry.name != plain:
                name, plain = path_text(entry.name), path_text(plain)
                yield f"  {name} is written {plain} from now on"
        for path in one.adoption.added:
            name = path_text(path)
            yield f"  {name} gets an entry: a rule of {old.config} covers it"
    for mixed in one.proposal.rules:
        if mixed.plaintext:
            pattern = mixed.path or mixed.path_regex
            yield f'  {pattern} also covers plaintext files: plaintext = "allowed"'
    for path in one.adoption.vouched:
        yield f"  {path_text(path)}: its readers are taken from the old rules"
    for warning in one.sources.warnings:
        yield f"  {warning}"
