"""Step arithmetic: one file as it is against what the map wants, as a `Step` or none.

Pure; the table of actions of the design lives here.  `plan` has the value types that
come out, `diff` applies this to whole worlds.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from nixsecrets.files.kind import SopsFormat, format_for
from nixsecrets.files.sops.selectors import Options, canonical_options, selection_of
from nixsecrets.files.state import Actual, Unknown
from nixsecrets.keys.book import KeyBook
from nixsecrets.keys.foreign import ForeignKey
from nixsecrets.keys.forms import Backend
from nixsecrets.keys.recipients import KeyId, Kind, Recipient
from nixsecrets.map.model import Desired, Reader
from nixsecrets.plan.model import Action, Reason, Step


@dataclass(frozen=True, slots=True)
class Context:
    """What has to be known besides the files.

    `shared` are the key prints that several secrets carry: none of these is granted.
    `users` are the names whose gain of a sops file re-encrypts it (they hold the git
    history); `native` are the operator's keys whose stanzas we unwrap ourselves, None
    where no identity is at hand (status, check); `gone` are keys that the command takes
    out of every file, also of one that the map never gave them.  With `separate`, files
    that share a symmetric key get one each.
    """

    book: KeyBook
    users: frozenset[str] = frozenset()
    keep_data_key: bool = False
    native: frozenset[KeyId] | None = None
    shared: frozenset[bytes] = field(default=frozenset(), repr=False)
    gone: frozenset[KeyId] = frozenset()
    separate: bool = False


def converge(actual: Actual, desired: Desired, context: Context) -> Step | None:
    """Return the step that makes `actual` what the map wants, None if it is."""
    options = wanted_options(actual, desired)
    seal = _seals(actual, options)
    drop = actual.others
    return _step(actual, desired.readers, options, context, seal=seal, drop=drop)


def of_each(
    alike: Sequence[Actual], step_of: Callable[[Actual], Step | None], context: Context
) -> list[Step]:
    """Return the steps for files that show the same (`World.alike`).

    What has to happen to one of them has to happen to all, but where copies share a
    symmetric key: then `step_of` is asked about each.
    """
    if any(not context.shared.isdisjoint(one.key_prints) for one in alike):
        return [step for actual in alike if (step := step_of(actual)) is not None]
    first = step_of(alike[0])
    if first is None:
        return []
    return [replace(first, path=one.path, before=one.sha256) for one in alike]


def change(
    actual: Actual, before: Desired | None, after: Desired | None, context: Context
) -> Step | None:
    """Return the step for a map that went from `before` to `after`, and no other.

    The target is what the file has, plus what the change gives, minus what it takes;
    a file whose readers are unknown gets what `after` says.
    """
    old = before.readers if before else ()
    new = after.readers if after else ()
    options_changed = (
        before is not None
        and after is not None
        and dict(before.rule.sops) != dict(after.rule.sops)
    )
    options = wanted_options(actual, after) if after and options_changed else None
    taken = _taken(actual, new, context) if context.gone and after else ()
    if options is None and _same_readers(old, new) and not taken:
        return None
    if isinstance(actual.state, Unknown):
        gained = _without(new, old)
        lost = tuple(_ids([*_without(old, new), *taken]).values())
        step = _step(actual, new, options, context, gained=gained, lost=lost)
        return _encrypting(step, actual, after)
    target = _moved(actual.recipients, (*old, *taken), new, context.book)
    return _encrypting(_step(actual, target, options, context), actual, after)


def _encrypting(
    step: Step | None, actual: Actual, after: Desired | None
) -> Step | None:
    """Return a step that leaves nothing in plaintext, where it re-encrypts anyway."""
    if step is None or after is None or step.action is not Action.REENCRYPT:
        return step
    all_of_it = not selection_of(after.rule.sops)
    options = wanted_options(actual, after) if all_of_it else None
    seals = _seals(actual, options)
    return replace(
        step, options=step.options if options is None else options, seals=seals
    )


def _seals(actual: Actual, options: Options | None) -> bool:
    """Tell whether a re-encryption with `options` encrypts what is in plaintext."""
    left = actual.left_open
    return left.comments or (left.weak and options is not None)


def _taken(
    actual: Actual, new: Iterable[Reader], context: Context
) -> tuple[Reader, ...]:
    """Return the readers of `context.gone` that a file has, or may have.

    Where nobody can tell its readers a tag tells one; an anonymous stanza may be that
    of any X25519 key, and a removal has to be sure.
    """
    found = actual.recipients
    if isinstance(actual.state, Unknown):
        seen = actual.state.seen
        known = (r for r in context.book.recipients if r.key_id in context.gone)
        found = tuple(
            r
            for r in known
            if f"{r.kind}:{r.tag}" in seen
            or (r.kind is Kind.X25519 and r.kind.value in seen)
        )
    now = _ids(new)
    return tuple(
        Reader(context.book.label(r), r)
        for r in found
        if r.key_id in context.gone and r.key_id not in now
    )


def _same_readers(old: Iterable[Reader], new: Iterable[Reader]) -> bool:
    return {r.recipient for r in old} == {r.recipient for r in new}


def _without(readers: Iterable[Reader], others: Iterable[Reader]) -> tuple[Reader, ...]:
    """Return the readers whose key none of the others has."""
    taken = _ids(others)
    return tuple(r for i, r in _ids(readers).items() if i not in taken)


def _moved(
    have: Sequence[Recipient],
    old: Sequence[Reader],
    new: Sequence[Reader],
    book: KeyBook,
) -> tuple[Reader, ...]:
    """Return `have`, plus `new` without `old`, minus `old` without `new`.

    In the order they are written.

    Keys compare whatever their form; a form that the change itself alters follows it.
    """
    was, now = _ids(old), _ids(new)
    kept = [
        _follow_form(recipient, was, now, book)
        for recipient in have
        if recipient.key_id not in was or recipient.key_id in now
    ]
    held = {reader.recipient.key_id for reader in kept}
    gained = [r for i, r in now.items() if i not in was and i not in held]
    return tuple(kept + gained)


def _follow_form(
    recipient: Recipient,
    was: Mapping[KeyId, Reader],
    now: Mapping[KeyId, Reader],
    book: KeyBook,
) -> Reader:
    key = recipient.key_id
    if key in now and (key not in was or was[key].recipient != now[key].recipient):
        return now[key]
    return Reader(book.label(recipient), recipient)


@dataclass(frozen=True, slots=True)
class _Apart:
    """How a file's readers and those wanted differ, compared as keys.

    `reformed` tells of a key in another form, `doubled` of one that stands there in
    both.  `anew` is the target as a re-encryption writes it, `appended` as a grant.
    """

    add: tuple[Reader, ...]
    remove: tuple[Reader, ...]
    reformed: bool
    doubled: bool
    anew: tuple[Reader, ...]
    appended: tuple[Reader, ...]

    @property
    def nothing(self) -> bool:
        """Whether they do not differ at all."""
        return not (self.add or self.remove or self.reformed or self.doubled)


def _compared(
    recipients: Sequence[Recipient], target: Sequence[Reader], book: KeyBook
) -> _Apart:
    have: dict[KeyId, list[Recipient]] = {}
    for recipient in recipients:
        have.setdefault(recipient.key_id, []).append(recipient)
    want = _ids(target)
    add = tuple(r for i, r in want.items() if i not in have)
    return _Apart(
        add=add,
        remove=tuple(
            Reader(book.label(found[0]), found[0])
            for i, found in have.items()
            if i not in want
        ),
        reformed=any(have[i] != [r.recipient] for i, r in want.items() if i in have),
        doubled=any(len(found) > 1 for found in have.values()),
        anew=tuple(want.values()),
        appended=(*(want[i] for i in have if i in want), *add),
    )


def _step(
    actual: Actual,
    target: Sequence[Reader],
    options: Options | None,
    context: Context,
    *,
    seal: bool = False,
    gained: tuple[Reader, ...] | None = None,
    lost: tuple[Reader, ...] = (),
    drop: tuple[ForeignKey, ...] = (),
) -> Step | None:
    """Return the step from `actual` to `target`, None where they are equal.

    `drop` are the keys that are not age and have to go; whatever the reason of a
    re-encryption, all of them do, for no new key is wrapped for one.

    Where nobody can tell who reads the file, `gained` and `lost` are what the change
    of the map says; without a change, all of `target` gain it.
    """
    if actual.refusal is not None:
        return None
    apart = _compared(actual.recipients, target, context.book)
    unknown = isinstance(actual.state, Unknown)
    separate = context.separate and not context.shared.isdisjoint(actual.key_prints)
    other = seal or separate or bool(drop)
    if apart.nothing and options is None and not (unknown or other):
        return None
    add, remove = apart.add, apart.remove
    if unknown:
        add = tuple(_ids(target).values()) if gained is None else gained
        remove = lost
    revoke = bool(remove or drop)
    anew = _anew(seal=seal, options=options is not None, separate=separate)
    verdict = _verdict(actual, add, apart, context, revoke=revoke, anew=anew)
    if verdict is None:
        return None
    action, reason = verdict
    return Step(
        path=actual.path,
        backend=actual.backend,
        action=action,
        reason=reason,
        add=add,
        remove=remove,
        target=apart.anew if action is Action.REENCRYPT else apart.appended,
        before=actual.sha256,
        options=options if options is not None else actual.options,
        armored=actual.armored,
        dropped=actual.others if action is Action.REENCRYPT else (),
        seals=seal and action is Action.REENCRYPT,
    )


def _anew(*, seal: bool, options: bool, separate: bool) -> Reason | None:
    """Return why a file is re-encrypted though nobody loses it, None if it is not."""
    if seal:
        return Reason.PLAINTEXT
    if options:
        return Reason.OPTIONS_CHANGED
    return Reason.SHARED_KEY if separate else None


def _verdict(
    actual: Actual,
    add: Sequence[Reader],
    apart: _Apart,
    context: Context,
    *,
    revoke: bool,
    anew: Reason | None,
) -> tuple[Action, Reason] | None:
    """Return action and reason, first match wins (design: the table of actions)."""
    if isinstance(actual.state, Unknown):
        return Action.REENCRYPT, Reason.UNKNOWN
    if revoke:
        return Action.REENCRYPT, Reason.REVOKED
    if anew is not None:
        return Action.REENCRYPT, anew
    if add:
        return _granting(actual, add, context)
    if apart.doubled:
        return Action.REENCRYPT, Reason.FORM  # both forms of a key: one must go
    if apart.reformed:
        return Action.FORM_CHANGE, Reason.FORM
    return None


def _granting(
    actual: Actual, add: Sequence[Reader], context: Context
) -> tuple[Action, Reason]:
    """Return grant, or re-encryption where a grant would give more than was asked."""
    if not context.shared.isdisjoint(actual.key_prints):
        return Action.REENCRYPT, Reason.SHARED_KEY
    if actual.backend is Backend.SOPS:
        to_user = any(reader.name in context.users for reader in add)
        if to_user and not context.keep_data_key:
            return Action.REENCRYPT, Reason.GRANTED
        return Action.GRANT, Reason.GRANTED
    ours = all(reader.recipient.ours for reader in add)
    native = context.native is None or any(
        r.ours and r.key_id in context.native for r in actual.recipients
    )
    if not (ours and native):
        return Action.REENCRYPT, Reason.GRANTED
    return Action.GRANT, Reason.GRANTED


def _ids(readers: Iterable[Reader]) -> dict[KeyId, Reader]:
    return {reader.recipient.key_id: reader for reader in readers}


def wanted_options(actual: Actual, desired: Desired) -> Options | None:
    """Return the rule's sops options where the file records others.

    None means: nothing to change.  So it is for a binary file, which has no values to
    select; and where the rule selects none, hence all, and the file's options leave
    nothing in plaintext: it keeps what it was written with.
    """
    rule = desired.rule.sops
    if actual.backend is not Backend.SOPS:
        return None
    if format_for(actual.path) is SopsFormat.BINARY:
        return None
    if not rule:
        return rule if actual.left_open.weak else None
    same = canonical_options(rule) == canonical_options(actual.options)
    return None if same else rule
