"""Diff: what the files say against what the map wants, as a frozen `Plan`.

Pure.  Same input, same plan, same bytes of JSON.  A plan carries its own safety rules
(`Plan.revocations`, `Plan.lockouts`); asking about them is `cli`'s, carrying out is
`apply`'s.  The only content a plan holds is the public text of generated files.
"""

import json
from collections import Counter
from collections.abc import (
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass, field
from enum import StrEnum

from nixsecrets.findings import Code, Finding
from nixsecrets.keys.book import KeyBook
from nixsecrets.keys.forms import Backend
from nixsecrets.keys.memory import Memory
from nixsecrets.keys.recipients import KeyId, Kind, Recipient
from nixsecrets.policy.model import Desired, Reader
from nixsecrets.secretfiles.sopsmeta import (
    SopsFormat,
    canonical_options,
    format_for,
)
from nixsecrets.secretfiles.state import Actual, Unknown


class Action(StrEnum):
    """What is done to one path."""

    GRANT = "grant"
    FORM_CHANGE = "form-change"
    REENCRYPT = "re-encrypt"
    CREATE = "create"
    MOVE = "move"
    DELETE = "delete"
    WRITE = "write"


class Reason(StrEnum):
    """Why it is done."""

    NEW = "new"
    GRANTED = "granted"
    REVOKED = "revoked"
    UNKNOWN = "unknown"
    SHARED_KEY = "shared-key"
    FORM = "form"
    OPTIONS_CHANGED = "options-changed"
    CONTENT = "content"
    RENAMED = "renamed"


@dataclass(frozen=True, slots=True)
class Step:
    """One path and what happens to it.

    `target` are the readers afterwards, in the order they are written; `before` is the
    SHA-256 (hex) of the file now, None where there is none; `text` is the new content
    of a generated file (`write` only; None for the lock, whose hashes come last);
    `origin` is where a moved file comes from.
    """

    path: str
    backend: Backend | None
    action: Action
    reason: Reason
    add: tuple[Reader, ...] = ()
    remove: tuple[Reader, ...] = ()
    target: tuple[Reader, ...] = ()
    before: str | None = None
    text: str | None = field(default=None, repr=False)
    origin: str | None = None
    options: tuple[tuple[str, str | bool], ...] = ()
    armored: bool = False

    def touches_secret(self) -> bool:
        """Tell whether a secret file (not a generated one) is changed."""
        return self.action is not Action.WRITE

    def as_json(self) -> dict[str, object]:
        """Return the step as `--json` shows it."""
        return {
            "path": self.path,
            "backend": self.backend and self.backend.value,
            "action": self.action.value,
            "reason": self.reason.value,
            "add": [reader.name for reader in self.add],
            "remove": [reader.name for reader in self.remove],
        }


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps and problems, each sorted by path."""

    steps: tuple[Step, ...] = ()
    problems: tuple[Finding, ...] = ()

    @staticmethod
    def of(steps: Iterable[Step], problems: Iterable[Finding] = ()) -> "Plan":
        """Return the plan with steps and problems in their canonical order."""
        ordered = sorted(steps, key=lambda step: (step.path, step.action))
        return Plan(tuple(ordered), tuple(sorted(set(problems))))

    @property
    def secret_steps(self) -> tuple[Step, ...]:
        """The steps that change a secret file."""
        return tuple(step for step in self.steps if step.touches_secret())

    def restricted(self, paths: Collection[str]) -> "Plan":
        """Return the plan with only the steps on `paths`."""
        return Plan(tuple(s for s in self.steps if s.path in paths), self.problems)

    def grants(self) -> dict[Reader, list[Step]]:
        """Return, for each reader that gains a file, the steps that give it."""
        return _by_reader((r, step) for step in self.steps for r in step.add)

    def revocations(self, named: Collection[KeyId] = ()) -> dict[Reader, list[Step]]:
        """Return who loses access that the command's arguments did not name."""
        lost = ((r, step) for step in self.steps for r in step.remove)
        return _by_reader((r, s) for r, s in lost if r.recipient.key_id not in named)

    def lockouts(self, operator: Collection[KeyId]) -> list[Step]:
        """Return the steps after which `operator` opens a file no more.

        A file whose readers cannot be told counts: to carry its step out, the operator
        has to open it first.
        """
        return [
            step
            for step in self.secret_steps
            if step.action is Action.REENCRYPT
            and (step.reason is Reason.UNKNOWN or _any_of(step.remove, operator))
            and not _any_of(step.target, operator)
        ]

    def as_json(self) -> dict[str, object]:
        """Return the plan as `--json` shows it."""
        return {
            "version": 1,
            "steps": [step.as_json() for step in self.steps],
            "problems": [
                {"path": p.path, "code": p.code.value, "message": p.message}
                for p in self.problems
            ],
        }

    def to_json(self) -> str:
        """Return `as_json` as text: sorted, one trailing newline."""
        return json.dumps(self.as_json(), indent=2, ensure_ascii=True) + "\n"


def _any_of(readers: Iterable[Reader], keys: Collection[KeyId]) -> bool:
    return any(reader.recipient.key_id in keys for reader in readers)


def _by_reader(pairs: Iterable[tuple[Reader, Step]]) -> dict[Reader, list[Step]]:
    found: dict[Reader, list[Step]] = {}
    for reader, step in pairs:
        found.setdefault(reader, []).append(step)
    return dict(sorted(found.items(), key=lambda item: item[0].name))


@dataclass(frozen=True, slots=True)
class Context:
    """What `diff` has to know besides the files.

    `users` are the names whose gain of a sops file re-encrypts it (they hold the git
    history); `native` are the operator's keys whose stanzas we unwrap ourselves, None
    where no identity is at hand (status, check); `gone` are keys that the command takes
    out of every file, also of one that the map never gave them.
    """

    book: KeyBook
    users: frozenset[str] = frozenset()
    keep_data_key: bool = False
    native: frozenset[KeyId] | None = None
    shared: frozenset[str] = frozenset()
    gone: frozenset[KeyId] = frozenset()
    memory: Memory = field(default_factory=Memory, repr=False, compare=False)


def shared_prints(files: Iterable[Actual]) -> frozenset[str]:
    """Return the key prints that more than one file carries."""
    count = Counter(p for file in files for p in set(file.key_prints))
    return frozenset(p for p, times in count.items() if times > 1)


def converge(actual: Actual, desired: Desired, context: Context) -> Step | None:
    """Return the step that makes `actual` what the map wants, None if it is."""
    options = wanted_options(actual, desired)
    return _step(actual, desired.readers, options, context)


def change(
    actual: Actual, before: Desired | None, after: Desired | None, context: Context
) -> Step | None:
    """Return the step for a map that went from `before` to `after`, and no other.

    The target is what the file has, plus what the change gives, minus what it takes;
    a file whose readers cannot be told gets what `after` says.
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
    same = context.memory.ask(_same_readers, old, new)
    if options is None and same and not taken:
        return None
    if isinstance(actual.state, Unknown):
        gained = _without(new, old)
        lost = tuple(_ids([*_without(old, new), *taken]).values())
        return _step(actual, new, options, context, gained=gained, lost=lost)
    target = context.memory.ask(
        _moved, actual.recipients, (*old, *taken), new, context.book
    )
    return _step(actual, target, options, context)


def _taken(
    actual: Actual, new: Iterable[Reader], context: Context
) -> tuple[Reader, ...]:
    """Return the readers of `context.gone` that a file has, or may have.

    Where nobody can tell its readers a tag tells one; an anonymous stanza may be that
    of any X25519 key, and a removal has to be sure.
    """
    found: Iterable[Recipient] = actual.recipients
    if isinstance(actual.state, Unknown):
        seen = actual.state.seen
        known = (r for r in context.book.recipients if r.key_id in context.gone)
        found = [
            r
            for r in known
            if f"{r.kind}:{r.tag}" in seen
            or (r.kind is Kind.X25519 and r.kind.value in seen)
        ]
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
    options: tuple[tuple[str, str | bool], ...] | None,
    context: Context,
    *,
    gained: tuple[Reader, ...] | None = None,
    lost: tuple[Reader, ...] = (),
) -> Step | None:
    """Return the step from `actual` to `target`, None where they are equal.

    Where nobody can tell who reads the file, `gained` and `lost` are what the change
    of the map says; without a change, all of `target` gain it.
    """
    if actual.refusal is not None:
        return None
    apart = context.memory.ask(_compared, actual.recipients, target, context.book)
    add, remove = apart.add, apart.remove
    if isinstance(actual.state, Unknown):
        add = tuple(_ids(target).values()) if gained is None else gained
        remove = lost
    verdict = _verdict(actual, add, remove, apart, options is not None, context)
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
    )


def _verdict(
    actual: Actual,
    add: Sequence[Reader],
    remove: Sequence[Reader],
    apart: _Apart,
    options_differ: bool,  # noqa: FBT001
    context: Context,
) -> tuple[Action, Reason] | None:
    """Return action and reason, first match wins (design: the table of actions)."""
    if isinstance(actual.state, Unknown):
        return Action.REENCRYPT, Reason.UNKNOWN
    if remove:
        return Action.REENCRYPT, Reason.REVOKED
    if options_differ:
        return Action.REENCRYPT, Reason.OPTIONS_CHANGED
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
    if any(p in context.shared for p in actual.key_prints):
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


def wanted_options(
    actual: Actual, desired: Desired
) -> tuple[tuple[str, str | bool], ...] | None:
    """Return the rule's sops selection options where the file records others.

    None means: nothing to change (also where the rule names none: then a file keeps
    what it was written with; and for a binary file, which has no values to select).
    """
    rule = desired.rule.sops
    if actual.backend is not Backend.SOPS or not rule:
        return None
    if format_for(actual.path) is SopsFormat.BINARY:
        return None
    same = canonical_options(rule) == canonical_options(actual.options)
    return None if same else rule


def stale_problems(steps: Iterable[Step]) -> Iterator[Finding]:
    """Yield, for `check`, each step as the finding it repairs.

    The lock's step is one of its own only where it does not follow from another.
    """
    for step in steps:
        if step.action is Action.WRITE and step.text is None:
            continue
        yield Finding(step.path, _code_of(step), describe(step))


def _code_of(step: Step) -> Code:
    if step.action is Action.WRITE:
        return Code.OUT_OF_DATE
    return Code.UNKNOWN if step.reason is Reason.UNKNOWN else Code.STALE


def describe(step: Step) -> str:
    """Return one line on what differs from the map (no path, no full stop)."""
    if step.reason is Reason.UNKNOWN:
        return "its readers cannot be told"
    parts: list[str] = []
    if step.add:
        parts.append("missing " + ", ".join(r.name for r in step.add))
    if step.remove:
        parts.append("still readable by " + ", ".join(r.name for r in step.remove))
    match step.reason:
        case Reason.FORM:
            parts.append("a key is there in the wrong form")
        case Reason.OPTIONS_CHANGED:
            parts.append("its selection options differ from the rule's")
        case Reason.SHARED_KEY:
            parts.append("it shares its symmetric key with a copy")
        case Reason.CONTENT if step.action is Action.WRITE:
            parts.append("is not what the map gives")
        case _:
            pass
    return "; ".join(parts)
