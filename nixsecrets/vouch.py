"""Vouching: a person's word on age files whose readers cannot be told.

Pure.  Builds the lock's records for `accept`; refuses where types, tags or number of
the stanzas contradict what the map says.
"""

from collections.abc import Iterable, Sequence

from nixsecrets.diff import lock_step
from nixsecrets.errors import SecretFileError
from nixsecrets.keys.forms import Backend
from nixsecrets.keys.recipients import Recipient
from nixsecrets.plan import Plan
from nixsecrets.secretfiles.state import Actual, Record, Unknown
from nixsecrets.world import World, require_actual

ADOPTED = "adopted"


def accept_plan(world: World, paths: Iterable[str]) -> Plan:
    """Return the plan that enters the files in the lock as `adopted`.

    Files whose readers are known already are left out.

    Raises:
        SecretFileError: a file is no age file, no rule names it, or what its stanzas
            show contradicts the map.
    """
    records: dict[str, Record | None] = {}
    for path in paths:
        actual = require_actual(world, path)
        if isinstance(actual.state, Unknown):
            records[path] = _record(world, actual, actual.state)
    return Plan.of(lock_step(world, records) if records else ())


def _record(world: World, actual: Actual, state: Unknown) -> Record:
    if actual.backend is not Backend.AGE:
        raise SecretFileError(
            f"{actual.path}: a sops file states its readers itself",
            f"nixsecrets rekey {actual.path}",
        )
    want = world.policy.desired(actual.path, actual.backend)
    if want is None:
        raise SecretFileError(
            f"{actual.path}: no rule of the map names it", "add a [[secrets]] rule"
        )
    ordered = in_stanza_order([r.recipient for r in want.readers], state.seen)
    if ordered is None:
        raise SecretFileError(
            f"{actual.path}: its stanzas ({', '.join(state.seen) or 'none'}) are not "
            f"those of {', '.join(dict.fromkeys(r.name for r in want.readers))}",
            f"nixsecrets rekey {actual.path}",
        )
    return Record(ordered, actual.sha256, ADOPTED)


def in_stanza_order(
    wanted: Sequence[Recipient], seen: Sequence[str]
) -> tuple[Recipient, ...] | None:
    """Return `wanted` in the order of a file's stanzas, None where they disagree.

    `seen` describes each stanza: its type, for tagged ones `type:tag`.  Anonymous
    stanzas of one type are taken in the order of `wanted`.
    """
    left = list(wanted)
    ordered: list[Recipient] = []
    for stanza in seen:
        fits = (r for r in left if stanza in {_shape(r), f"{r.kind}:{r.tag}"})
        found = next(fits, None)
        if found is None:
            return None
        left.remove(found)
        ordered.append(found)
    return None if left else tuple(ordered)


def _shape(recipient: Recipient) -> str | None:
    """Return the type of an untagged stanza for `recipient`."""
    return None if recipient.tag else recipient.stanza_type
