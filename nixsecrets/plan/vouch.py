"""Vouching: lock records for age files whose recipients only a person knows.

X25519 stanzas are anonymous.  `accept` records that they belong to the readers of the
file's rule, unless the types, tags or number of the stanzas contradict that.
"""

from collections.abc import Mapping, Sequence

from nixsecrets.errors import SecretFileError, argument
from nixsecrets.files.age import header
from nixsecrets.files.age.header import Stanza
from nixsecrets.files.age.state import describe, fits
from nixsecrets.files.state import Actual, Record, Unknown
from nixsecrets.keys.forms import Backend
from nixsecrets.keys.recipients import Recipient
from nixsecrets.plan.model import Plan
from nixsecrets.plan.outputs import lock_step
from nixsecrets.world.world import World, require_actual

ADOPTED = "adopted"


def accept_plan(world: World, files: Mapping[str, bytes]) -> Plan:
    """Return the plan that records `files` (path -> bytes) in the lock as `adopted`.

    Files whose recipients are already known are skipped.

    Raises:
        SecretFileError: a file is not an age file, no rule matches it, or its stanzas
            contradict the map.
    """
    records: dict[str, Record | None] = {}
    for path, data in files.items():
        actual = require_actual(world, path)
        if isinstance(actual.state, Unknown):
            records[path] = _record(world, actual, data)
    return Plan.of(lock_step(world, records) if records else ())


def _record(world: World, actual: Actual, data: bytes) -> Record:
    if actual.backend is not Backend.AGE:
        raise SecretFileError(
            f"{actual.path}: a sops file states its readers itself",
            f"nixsecrets rekey {argument(actual.path)}",
        )
    want = world.policy.desired(actual.path, actual.backend)
    if want is None:
        raise SecretFileError(
            f"{actual.path}: no rule of the map matches it", "add a [[secrets]] rule"
        )
    stanzas = header.parse(data).entries
    ordered = in_stanza_order([r.recipient for r in want.readers], stanzas)
    if ordered is None:
        shown = ", ".join(describe(stanza) for stanza in stanzas)
        names = ", ".join(dict.fromkeys(reader.name for reader in want.readers))
        raise SecretFileError(
            f"{actual.path}: its stanzas ({shown}) are not those of {names}",
            f"nixsecrets rekey {argument(actual.path)}",
        )
    return Record(ordered, actual.sha256, ADOPTED)


def in_stanza_order(
    wanted: Sequence[Recipient], stanzas: Sequence[Stanza]
) -> tuple[Recipient, ...] | None:
    """Return `wanted` in the order of a file's stanzas, None if they do not fit.

    A tagged stanza takes the recipient with its tag, an anonymous one the next that is
    left in `wanted`.
    """
    left = list(wanted)
    ordered: list[Recipient] = []
    for stanza in stanzas:
        found = next((r for r in left if fits(stanza, r)), None)
        if found is None:
            return None
        left.remove(found)
        ordered.append(found)
    return None if left else tuple(ordered)
