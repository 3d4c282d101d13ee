"""What has to happen to one secret file: its actual against its desired readers.

The table of actions is `_action`: the first condition that holds decides between
grant, re-encryption and form change.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from nixsecrets.files.kind import SopsFormat, format_for
from nixsecrets.files.sops.selectors import Options, canonical_options, selection_of
from nixsecrets.files.state import Actual, Unknown
from nixsecrets.frozen import NamedTuple
from nixsecrets.keys.book import KeyBook
from nixsecrets.keys.foreign import ForeignKey
from nixsecrets.keys.forms import Backend
from nixsecrets.keys.recipients import KeyId, Kind, Recipient
from nixsecrets.map.model import Desired, Reader
from nixsecrets.plan.model import Action, Reason, Step
from nixsecrets.world.world import World


class Context(NamedTuple):
    """What decides on steps in addition to the files.

    `shared` are the key prints that several secrets have in common; such a file is
    never granted, because the grant would open the copies too.  `users` are the names
    whose gain of a sops file re-encrypts it: they have the git history, and with the
    data key the old values.  `native` are the operator's keys whose stanzas we unwrap
    ourselves, None if no identity was loaded (status, check).  `gone` are keys
    that the command revokes from every file, even if the map never granted it.  With
    `separate`, files that share a symmetric key get one each.
    """

    book: KeyBook
    users: frozenset[str] = frozenset()
    keep_data_key: bool = False
    native: frozenset[KeyId] | None = None
    shared: frozenset[bytes] = frozenset()
    gone: frozenset[KeyId] = frozenset()
    separate: bool = False


def context_of(
    world: World,
    *,
    native: frozenset[KeyId] | None = None,
    keep_data_key: bool = False,
    gone: Collection[KeyId] = (),
    separate: bool = False,
) -> Context:
    """Return the context for the steps of a world's files; see `Context`."""
    return Context(
        book=world.book,
        users=world.users,
        keep_data_key=keep_data_key,
        native=native,
        shared=world.shared_prints,
        gone=frozenset(gone),
        separate=separate,
    )


def converge_step(actual: Actual, desired: Desired, context: Context) -> Step | None:
    """Return the step that makes `actual` what the map specifies, None if it is."""
    options = wanted_options(actual, desired)
    seal = _seals(actual, options)
    drop = actual.others
    return _step(actual, desired.readers, options, context, seal=seal, drop=drop)


def steps_for_each(
    alike: Sequence[Actual], step_of: Callable[[Actual], Step | None], context: Context
) -> list[Step]:
    """Return the steps for files that differ in nothing but path and content.

    The step for the first applies to all (thousands of files may be alike), unless
    copies share a symmetric key: then `step_of` decides on each.
    """
    if any(not context.shared.isdisjoint(one.key_prints) for one in alike):
        return [step for actual in alike if (step := step_of(actual)) is not None]
    first = step_of(alike[0])
    if first is None:
        return []
    return [first._replace(path=one.path, before=one.sha256) for one in alike]


def change_step(
    actual: Actual, before: Desired | None, after: Desired | None, context: Context
) -> Step | None:
    """Return the step that a change of the map from `before` to `after` asks for.

    The target is the file's readers plus those that the change adds minus those that it
    removes: other differences from the map stay.  A file whose readers are unknown gets
    the readers of `after`.
    """
    old = before.readers if before else ()
    new = after.readers if after else ()
    options_changed = (
        before is not None
        and after is not None
        and dict(before.rule.sops) != dict(after.rule.sops)
    )
    options = wanted_options(actual, after) if after and options_changed else None
    taken = _forced_out(actual, new, context) if context.gone and after else ()
    if options is None and _same_readers(old, new) and not taken:
        return None
    if isinstance(actual.state, Unknown):
        gained = _minus(new, old)
        lost = tuple(_by_key([*_minus(old, new), *taken]).values())
        step = _step(actual, new, options, context, gained=gained, lost=lost)
        return _sealing(step, actual, after)
    target = _shifted(actual.recipients, (*old, *taken), new, context.book)
    return _sealing(_step(actual, target, options, context), actual, after)


def _sealing(step: Step | None, actual: Actual, after: Desired | None) -> Step | None:
    """Return the step, extended to encrypt what is in plaintext if it re-encrypts."""
    if step is None or after is None or step.action is not Action.REENCRYPT:
        return step
    all_of_it = not selection_of(after.rule.sops)
    options = wanted_options(actual, after) if all_of_it else None
    seals = _seals(actual, options)
    return step._replace(
        options=step.options if options is None else options, seals=seals
    )


def _seals(actual: Actual, options: Options | None) -> bool:
    """Return whether re-encrypting with `options` encrypts something in plaintext."""
    left = actual.left_open
    return left.comments or (left.weak and options is not None)


def _forced_out(
    actual: Actual, new: Iterable[Reader], context: Context
) -> tuple[Reader, ...]:
    """Return the readers of `context.gone` that a file has, or may have.

    If the file's readers are unknown, a stanza's tag identifies one of them.  Any
    anonymous stanza counts as that of a removed X25519 key, to be on the safe side.
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
    now = _by_key(new)
    return tuple(
        Reader(context.book.label(r), r)
        for r in found
        if r.key_id in context.gone and r.key_id not in now
    )


def _same_readers(old: Iterable[Reader], new: Iterable[Reader]) -> bool:
    return {r.recipient for r in old} == {r.recipient for r in new}


def _minus(readers: Iterable[Reader], others: Iterable[Reader]) -> tuple[Reader, ...]:
    """Return `readers` without those whose key, in any form, `others` has."""
    taken = _by_key(others)
    return tuple(r for i, r in _by_key(readers).items() if i not in taken)


def _shifted(
    have: Sequence[Recipient],
    old: Sequence[Reader],
    new: Sequence[Reader],
    book: KeyBook,
) -> tuple[Reader, ...]:
    """Return `have`, plus `new` without `old`, minus `old` without `new`, in order.

    Keys are compared independent of their form; where the change alters a key's form,
    the result has the new one.
    """
    was, now = _by_key(old), _by_key(new)
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
    """Return the reader of a kept recipient, in the form that the change gives it."""
    key = recipient.key_id
    if key in now and (key not in was or was[key].recipient != now[key].recipient):
        return now[key]
    return Reader(book.label(recipient), recipient)


class _Difference(NamedTuple):
    """How a file's readers differ from the target, compared as keys.

    `reformed`: a key is in another form than in the target; `doubled`: a key is in the
    file in both forms.  `rewritten` is the target in the order of a re-encryption,
    `appended` in that of a grant: present stanzas stay in place, new ones follow.
    """

    add: tuple[Reader, ...]
    remove: tuple[Reader, ...]
    reformed: bool
    doubled: bool
    rewritten: tuple[Reader, ...]
    appended: tuple[Reader, ...]

    @property
    def nothing(self) -> bool:
        """Whether the readers equal the target in keys and forms."""
        return not (self.add or self.remove or self.reformed or self.doubled)


def _difference(
    recipients: Sequence[Recipient], target: Sequence[Reader], book: KeyBook
) -> _Difference:
    have: dict[KeyId, list[Recipient]] = {}
    for recipient in dict.fromkeys(recipients):  # a key twice in one form does no harm
        have.setdefault(recipient.key_id, []).append(recipient)
    want = _by_key(target)
    add = tuple(r for i, r in want.items() if i not in have)
    return _Difference(
        add=add,
        remove=tuple(
            Reader(book.label(found[0]), found[0])
            for i, found in have.items()
            if i not in want
        ),
        reformed=any(have[i] != [r.recipient] for i, r in want.items() if i in have),
        doubled=any(len(found) > 1 for found in have.values()),
        rewritten=tuple(want.values()),
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
    """Return the step from `actual` to `target`, None if there is nothing to do.

    `drop` are recipients that are not age keys and must be revoked.  (Any
    re-encryption revokes them: no new data key is wrapped for a PGP or KMS key.)

    If the file's readers are unknown, `gained` and `lost` are those of the change of
    the map; without a change (None), all of `target` gain it.
    """
    if actual.refusal is not None:
        return None
    difference = _difference(actual.recipients, target, context.book)
    unknown = isinstance(actual.state, Unknown)
    separate = context.separate and not context.shared.isdisjoint(actual.key_prints)
    other = seal or separate or bool(drop)
    if difference.nothing and options is None and not (unknown or other):
        return None
    add, remove = difference.add, difference.remove
    if unknown:
        add = tuple(_by_key(target).values()) if gained is None else gained
        remove = lost
    revoke = bool(remove or drop)
    rewrite = _rewrite_reason(seal=seal, options=options is not None, separate=separate)
    found = _action(actual, add, difference, context, revoke=revoke, rewrite=rewrite)
    if found is None:
        return None
    action, reason = found
    return Step(
        path=actual.path,
        backend=actual.backend,
        action=action,
        reason=reason,
        add=add,
        remove=remove,
        target=(
            difference.rewritten if action is Action.REENCRYPT else difference.appended
        ),
        before=actual.sha256,
        options=options if options is not None else actual.options,
        armored=actual.armored,
        dropped=actual.others if action is Action.REENCRYPT else (),
        seals=seal and action is Action.REENCRYPT,
    )


def _rewrite_reason(*, seal: bool, options: bool, separate: bool) -> Reason | None:
    """Return why to re-encrypt a file that nobody loses, None if there is no reason."""
    if seal:
        return Reason.PLAINTEXT
    if options:
        return Reason.OPTIONS_CHANGED
    return Reason.SHARED_KEY if separate else None


def _action(
    actual: Actual,
    add: Sequence[Reader],
    difference: _Difference,
    context: Context,
    *,
    revoke: bool,
    rewrite: Reason | None,
) -> tuple[Action, Reason] | None:
    """Return the action and its reason; the first condition that holds decides."""
    if isinstance(actual.state, Unknown):
        return Action.REENCRYPT, Reason.UNKNOWN
    if revoke:
        return Action.REENCRYPT, Reason.REVOKED
    if rewrite is not None:
        return Action.REENCRYPT, rewrite
    if add:
        return _granting(actual, add, context)
    if difference.doubled:
        return Action.REENCRYPT, Reason.FORM  # both forms of a key: one must go
    if difference.reformed:
        return Action.FORM_CHANGE, Reason.FORM
    return None


def _granting(
    actual: Actual, add: Sequence[Reader], context: Context
) -> tuple[Action, Reason]:
    """Return grant, or re-encryption where a grant would reveal more, or is impossible.

    A grant hands out the present symmetric key.  That key may open copies of the file,
    and to a user (who has the git history) earlier values of a sops file.
    """
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


def _by_key(readers: Iterable[Reader]) -> dict[KeyId, Reader]:
    return {reader.recipient.key_id: reader for reader in readers}


def content_options(actual: Actual | None, want: Desired | None) -> Options:
    """Return the selection options to write new content with.

    The rule's options replace the file's: new values must not be written in plaintext
    if the rule covers them.  A rule that selects none covers all values.
    """
    if want is None:
        return actual.options if actual else ()
    if actual is None:
        return want.rule.sops
    if selection_of(actual.options) and not selection_of(want.rule.sops):
        return want.rule.sops
    changed = wanted_options(actual, want)
    return actual.options if changed is None else changed


def wanted_options(actual: Actual, desired: Desired) -> Options | None:
    """Return the rule's sops options if the file must be rewritten with them.

    None: nothing to change.  A binary file has no values to select.  A rule without
    options encrypts everything; the file keeps its own options if they leave nothing
    in plaintext.
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
