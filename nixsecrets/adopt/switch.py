"""The switch: what adoption writes, and what `status` will report afterwards.

No secret file is changed.  The findings come from an ordinary plan for the repository
as it will be, so they are those of `status`.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from nixsecrets.adopt.propose import Proposal
from nixsecrets.files.age import header
from nixsecrets.files.state import Actual, Record, Recorded, Unknown
from nixsecrets.generated.lock import Lock
from nixsecrets.keys.forms import Backend
from nixsecrets.keys.recipients import Recipient
from nixsecrets.plan.diff import converge_plan, switch_plan
from nixsecrets.plan.model import Plan
from nixsecrets.plan.outputs import age_paths, lock_text, rendered, with_attributes
from nixsecrets.plan.vouch import ADOPTED, in_stanza_order
from nixsecrets.repo.worktree import Repo
from nixsecrets.world.world import (
    ATTRIBUTES,
    LOCK_NAME,
    MAP_NAME,
    World,
    adopting_world,
    text_if_there,
)


@dataclass(frozen=True)
class Adoption:
    """One folder's adoption: what to write, and what then differs from the map.

    `vouched` are age files whose anonymous recipients are assumed to be those of the
    old rules, `added` those that only the new rules file names.
    """

    world: World
    plan: Plan
    findings: Plan
    vouched: tuple[str, ...]
    added: tuple[str, ...]


def adoption(
    repo: Repo,
    proposal: Proposal,
    *,
    keep_rules: bool = False,
    others: Collection[str] = (),
) -> Adoption:
    """Return what switching to the proposed map writes, and the drift that remains.

    `keep_rules` keeps a copy of the old rules file; `others` are folders that get
    their own map.
    """
    text = proposal.map_text
    world = adopting_world(repo, text, Lock(), without=others)
    listed = {path: one.listed for path, one in proposal.old.entries.items()}
    records = _records(world, listed)
    lock = lock_text(world, records)
    world = adopting_world(repo, text, Lock.parse(lock), without=others)
    vouched = [p for p, actual in world.secrets.items() if _vouched(actual)]
    if len(vouched) < len(records):
        kept = {path: records[path] for path in vouched}
        lock = lock_text(world._replace(lock=Lock()), kept)
        world = adopting_world(repo, text, Lock.parse(lock), without=others)
    config = world.map.sops_config
    held = {} if config is None else {config: proposal.config}
    world = world._replace(texts={**world.texts, **held})
    after = _after(world, lock)
    before = {path: text_if_there(repo, path) for path in after}
    if keep_rules and (rules := world.map.agenix_rules) is not None:
        after |= {f"{rules}.orig": before[rules]}
    world = world._replace(texts={**world.texts, **after})
    return Adoption(
        world,
        switch_plan(before, after),
        converge_plan(world),
        tuple(vouched),
        tuple(path for path in age_paths(world) if path not in proposal.old.entries),
    )


def _after(world: World, lock: str) -> dict[str, str | None]:
    attributes = with_attributes(world.texts.get(ATTRIBUTES) or "")
    return {
        MAP_NAME: world.map_text,
        LOCK_NAME: lock,
        ATTRIBUTES: attributes,
        **rendered(world),
    }


def _records(
    world: World, listed: Mapping[str, Sequence[Recipient]]
) -> Mapping[str, Record]:
    """Return a record for each age file whose stanzas fit the readers of its rule.

    `listed` are the keys of the old rules for each path.
    """
    found = (
        (path, _record(world, actual, listed.get(path, ())))
        for path, actual in world.secrets.items()
    )
    return {path: record for path, record in found if record is not None}


def _record(world: World, actual: Actual, listed: Sequence[Recipient]) -> Record | None:
    if actual.backend is not Backend.AGE or not isinstance(actual.state, Unknown):
        return None
    want = world.policy.desired(actual.path, Backend.AGE)
    if want is None or actual.refusal is not None:
        return None
    stanzas = header.parse(world.repo.read(actual.path)).entries
    readers = [reader.recipient for reader in want.readers]
    ordered = in_stanza_order(readers, stanzas)
    if ordered is None and len(listed) > len(readers):
        forms = {reader.key_id: reader for reader in readers}
        again = [forms[key.key_id] for key in listed if key.key_id in forms]
        ordered = in_stanza_order(again, stanzas)
    return None if ordered is None else Record(ordered, actual.sha256, ADOPTED)


def _vouched(actual: Actual) -> bool:
    return isinstance(actual.state, Recorded) and actual.state.how == ADOPTED
