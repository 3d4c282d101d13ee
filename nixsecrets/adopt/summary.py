"""Prepares the adoption of a folder, and summarizes it for the operator."""

import contextlib
import posixpath
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from nixsecrets.adopt.propose import Proposal, propose
from nixsecrets.adopt.sources import Fleet, Sources, read_sources
from nixsecrets.adopt.switch import Adoption, adoption
from nixsecrets.errors import NixsecretsError, ProgramError, counted, path_text
from nixsecrets.generated.blocks import BEGIN
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


def prepare_all(
    repo: Repo,
    fleets: Sequence[Fleet],
    env: Mapping[str, str],
    *,
    keep_rules: bool,
    all_or_none: bool,
    impure: bool,
) -> tuple[list[Prepared], list[NixsecretsError]]:
    """Prepare the adoption of every folder; write nothing.

    Unless `all_or_none`, an old configuration that cannot be adopted stays as it is,
    and its error is returned with those that can.

    Raises:
        NixsecretsError: nothing can be adopted, or not all of it with `all_or_none`.
        ProgramError: nix-instantiate is missing, which says nothing about the rules.
    """

    def one(fleet: Fleet) -> Prepared:
        folders = [fleet.folder for fleet in wanted]
        return prepare(repo, fleet, folders, env, keep_rules=keep_rules, impure=impure)

    left: list[NixsecretsError] = []
    wanted = list(fleets)
    while True:
        ready: list[Prepared] = []
        for fleet in wanted:
            try:
                ready.append(one(fleet))
            except NixsecretsError as error:
                environment = isinstance(error, ProgramError)
                if all_or_none or environment or _was_ours(repo, fleet):
                    raise
                left.append(error)
                break
        else:
            break
        at = wanted.index(fleet)
        wanted[at : at + 1] = _one_side(fleet, one)
    if not ready:
        raise left[0]
    return ready, left


def _was_ours(repo: Repo, fleet: Fleet) -> bool:
    """Return whether the sops configuration has blocks of a map that is gone."""
    if fleet.config is None:
        return False
    text = repo.read(posixpath.join(fleet.folder, fleet.config))
    return BEGIN.encode() in text


def _one_side(fleet: Fleet, prepared: Callable[[Fleet], Prepared]) -> list[Fleet]:
    """Return the half of a folder with two configurations that can be adopted alone."""
    if fleet.config is None or fleet.rules is None:
        return []
    for half in (replace(fleet, rules=None), replace(fleet, config=None)):
        with contextlib.suppress(NixsecretsError):
            prepared(half)
            return [half]
    return []


def prepare(
    repo: Repo,
    fleet: Fleet,
    folders: Sequence[str],
    env: Mapping[str, str],
    *,
    keep_rules: bool,
    impure: bool,
) -> Prepared:
    """Return what adopting the folder of `fleet` would write; write nothing.

    `folders` are all folders that are adopted, `env` is the environment; with `impure`
    agenix rules are evaluated without a sandbox.

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
    sources = read_sources(mine, fleet, env, others, impure=impure)
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
