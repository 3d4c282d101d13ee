"""The part of `nixsecrets init` that adopts what a repository has already."""

import os
import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nixsecrets.adopt.propose import Proposal, propose
from nixsecrets.adopt.sources import Fleet, Sources, discovered, read_sources
from nixsecrets.adopt.switch import Adoption, adoption
from nixsecrets.apply.apply import Tools, apply
from nixsecrets.cli import consent, show, ui
from nixsecrets.cli.outcome import git_add
from nixsecrets.cli.session import Session, unlock
from nixsecrets.errors import UsageError
from nixsecrets.findings.lint.drift import with_content
from nixsecrets.keys.identities import Keyring
from nixsecrets.plan import approvals
from nixsecrets.plan.model import Step
from nixsecrets.repo.tree import Repo
from nixsecrets.world.world import MAP_NAME


@dataclass(frozen=True, slots=True)
class Wish:
    """What the command line says about an adoption."""

    rules: Path | None = None
    config: Path | None = None
    sops_only: bool = False
    keep_rules: bool = False
    dry_run: bool = False
    yes: bool = False
    stage: bool = False


@dataclass(frozen=True, slots=True)
class _Ready:
    fleet: Fleet
    session: Session
    sources: Sources
    proposal: Proposal
    adoption: Adoption


def found(repo: Repo, wish: Wish) -> list[Fleet]:
    """Return the folders to adopt: what the command line names, else what is there."""
    if wish.rules is None and wish.config is None:
        fleets = discovered(repo)
    else:
        named = (wish.config, wish.rules)
        config, rules = (None if p is None else _below(repo, p) for p in named)
        fleets = [Fleet("", config, rules)]
    if wish.sops_only:
        fleets = [Fleet(one.folder, one.config) for one in fleets if one.config]
    return fleets


def _below(repo: Repo, path: Path) -> str:
    place = path.resolve()
    if not place.is_relative_to(repo.root) or not place.is_file():
        raise UsageError(
            f"{path}: no file below {repo.root}", "run this in a folder above it"
        )
    return place.relative_to(repo.root).as_posix()


def adopt(repo: Repo, fleets: Sequence[Fleet], wish: Wish) -> None:
    """Show what adopting each folder gives, have it confirmed, write it.

    The caller holds the repository's lock.
    """
    folders = [fleet.folder for fleet in fleets]
    ready = [_prepare(repo, fleet, folders, wish) for fleet in fleets]
    tell = ui.answer if wish.dry_run else ui.say
    for one in ready:
        for line in _report(one, with_map=wish.dry_run):
            tell(line)
    if wish.dry_run:
        return
    if not wish.yes:
        ui.confirm("write this?", hint="agree beforehand with --yes")
    for one in ready:
        steps = _write(one)
        git_add(one.session, steps, stage=wish.stage, below=one.fleet.folder)


def _prepare(repo: Repo, fleet: Fleet, folders: Sequence[str], wish: Wish) -> _Ready:
    mine = Repo.at(repo.root / fleet.folder)
    others = [
        posixpath.relpath(folder, fleet.folder or ".")
        for folder in folders
        if folder != fleet.folder
        and (not fleet.folder or folder.startswith(fleet.folder + "/"))
    ]
    sources = read_sources(mine, fleet, os.environ, others)
    proposal = propose(
        sources.old,
        sources.tree,
        sources.hints,
        config_text=sources.config_text,
        loose=sources.loose,
    )
    switch = adoption(mine, proposal, keep_rules=wish.keep_rules, others=others)
    return _Ready(fleet, Session(mine), sources, proposal, switch)


def _write(one: _Ready) -> tuple[Step, ...]:
    tools = Tools(Keyring(), unlock)
    outcome = apply(one.adoption.plan, one.adoption.world, tools)
    for step in outcome.done:
        ui.say(f"wrote {posixpath.join(one.fleet.folder, step.path)}")
    world = one.adoption.world
    readers = approvals.readers_of(world.map)
    agreed = approvals.approving(readers, world.map, consent.today())
    consent.remember(world.repo, agreed)
    return outcome.done


def _report(one: _Ready, *, with_map: bool) -> Iterator[str]:
    """Yield everything a person should know before saying yes."""
    place = posixpath.join(one.fleet.folder, MAP_NAME)
    if with_map:
        yield f"{place}:"
        yield ""
        yield from (f"  {line}".rstrip() for line in one.proposal.map_text.splitlines())
        yield ""
    yield from _names(one.proposal)
    yield from _rules(one)
    proof = one.proposal.proof
    files = show.counted(proof.files, "secret file")
    paths = show.counted(proof.samples, "other path")
    yield f"proved: the keys that read {files} and {paths} are the same as before"
    yield from _findings(one.adoption)


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
        yield "  (user?: nothing tells whether it is a host; correct it in the map)"
    for name in proposal.naming.groups:
        yield f"  {name}: a group; {proposal.naming.origins[name]}"


def _rules(one: _Ready) -> Iterator[str]:
    old = one.proposal.old
    if old.config is not None:
        adopted = len(old.sops) - len(one.proposal.foreign)
        every = show.counted(len(old.sops), "rule")
        yield f"{old.config}: {adopted} of {every} adopted"
        for rule in one.proposal.foreign:
            yield f"  line {rule.rule.line} stays as it is: {rule.foreign}"
        for rule, above in old.dead():
            yield (
                f"  line {rule.rule.line} never decides:"
                f" line {above.rule.line} covers what it covers"
            )
    if old.rules is not None:
        count = show.counted(len(old.age), "entry", "entries")
        yield f"{old.rules}: {count} adopted"
        for entry in old.age:
            plain = posixpath.relpath(entry.path, posixpath.dirname(old.rules) or ".")
            if entry.name != plain:
                name, plain = show.path_text(entry.name), show.path_text(plain)
                yield f"  {name} is written {plain} from now on"
        for path in one.adoption.added:
            name = show.path_text(path)
            yield f"  {name} gets an entry: a rule of {old.config} covers it"
    for mixed in one.proposal.rules:
        if mixed.plaintext:
            pattern = mixed.path or mixed.path_regex
            yield f'  {pattern} covers plain files too: plaintext = "allowed"'
    for path in one.adoption.vouched:
        yield f"  {show.path_text(path)}: its readers are taken from the old rules"
    for warning in one.sources.warnings:
        yield f"  {warning}"


def _findings(switch: Adoption) -> Iterator[str]:
    plan = with_content(switch.findings, switch.world)
    lines = [*show.drift_lines(plan), *show.problem_lines(plan.problems)]
    if lines:
        yield "found in the repository as it is (nixsecrets status shows it too):"
        yield from lines
