"""The plan: what to do, path by path, as a frozen value.

The same input gives the same plan and the same bytes of JSON.  A plan holds no
plaintext of a secret, only the public text of generated files.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, assert_never

from nixsecrets.errors import argument
from nixsecrets.frozen import NamedTuple
from nixsecrets.keys.foreign import ForeignKey
from nixsecrets.keys.forms import Backend
from nixsecrets.keys.recipients import KeyId
from nixsecrets.map.model import Reader

if TYPE_CHECKING:  # 2 ms; `edit` finds nothing
    from nixsecrets.findings.catalogue import Code, Finding

LINES = 40
"""The number of files or steps that are listed before the rest is only counted."""
Pair = tuple[str, KeyId]
"""A name and a key: what an operator approves."""


class Action(StrEnum):
    """What is done to one path."""

    GRANT = "grant"
    FORM_CHANGE = "form-change"
    REENCRYPT = "re-encrypt"
    CREATE = "create"
    MOVE = "move"
    TAKE = "take"
    DELETE = "delete"
    WRITE = "write"


class Reason(StrEnum):
    """Why a step is taken."""

    NEW = "new"
    GRANTED = "granted"
    REVOKED = "revoked"
    UNKNOWN = "unknown"
    SHARED_KEY = "shared-key"
    FORM = "form"
    OPTIONS_CHANGED = "options-changed"
    CONTENT = "content"
    RENAMED = "renamed"
    PLAINTEXT = "plaintext"
    MERGED = "merged"


class Step(NamedTuple):
    """One path and what happens to it.

    - `add`, `remove`: the readers that gain or lose access.
    - `target`: the readers afterwards, in the order in which they are written.
    - `before`: SHA-256 (hex) of the present file, None if it does not exist.
    - `text`: new content of a generated file (`write` only).  None for the lock if it
      follows from other steps: the hashes of their files are not known yet.
    - `origin`: the path that a moved file comes from.
    - `options`, `armored`: how to write the file.
    - `dropped`: recipients that lose access and cannot be in the map (PGP, KMS, Vault).
    - `foreign`: the present file was not written by nixsecrets.
    - `seals`: values or comments now in plaintext will be encrypted.
    - `opens`: key paths of values now encrypted that will be in plaintext.
    """

    path: str
    backend: Backend | None
    action: Action
    reason: Reason
    add: tuple[Reader, ...] = ()
    remove: tuple[Reader, ...] = ()
    target: tuple[Reader, ...] = ()
    before: str | None = None
    text: str | None = None
    origin: str | None = None
    options: tuple[tuple[str, str | bool], ...] = ()
    armored: bool = False
    dropped: tuple[ForeignKey, ...] = ()
    foreign: bool = False
    seals: bool = False
    opens: tuple[str, ...] = ()

    @property
    def keeps_bytes(self) -> bool:
        """Whether no bytes are new: a file is moved, or taken from another branch."""
        renamed = self.action is Action.MOVE and self.reason is Reason.RENAMED
        return renamed or self.action is Action.TAKE

    @property
    def losers(self) -> tuple[str, ...]:
        """The names of all readers and foreign keys that lose access."""
        return (*(r.name for r in self.remove), *map(str, self.dropped))

    @property
    def differs(self) -> bool:
        """Whether readers that the map can name gain or lose access."""
        return bool(self.add or self.remove)

    def touches_secret(self) -> bool:
        """Return whether a secret file (not a generated one) is changed."""
        return self.action is not Action.WRITE

    @property
    def encrypted_to(self) -> tuple[Reader, ...]:
        """The readers for whom a stanza is written; not those whose stanza stays."""
        gone = self.action is Action.DELETE
        if not self.touches_secret() or gone or self.keeps_bytes:
            return ()
        return self.add if self.action is Action.GRANT else self.target

    def as_json(self) -> dict[str, object]:
        """Return the step as `--json` shows it."""
        return {
            "path": self.path,
            "backend": self.backend and self.backend.value,
            "action": self.action.value,
            "reason": self.reason.value,
            "add": [reader.name for reader in self.add],
            "remove": list(self.losers),
            **({"plaintext": list(self.opens)} if self.opens else {}),
        }


class Plan(NamedTuple):
    """Steps and problems, each sorted by path."""

    steps: tuple[Step, ...] = ()
    problems: "tuple[Finding, ...]" = ()

    @staticmethod
    def of(steps: Iterable[Step], problems: "Iterable[Finding]" = ()) -> "Plan":
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
        """Return the steps that grant access, by the reader who gains it."""
        return _by_reader((r, step) for step in self.steps for r in step.add)

    def revocations(self, named: Collection[KeyId] = ()) -> dict[str, list[Step]]:
        """Return the steps that revoke access, by the sorted name of who loses it.

        Readers whose key is in `named` (the command's arguments ask for it) do not
        count; keys that are not age always do.
        """
        found: dict[str, list[Step]] = {}
        for step in self.steps:
            lost = (r.name for r in step.remove if r.recipient.key_id not in named)
            for name in dict.fromkeys((*lost, *map(str, step.dropped))):
                found.setdefault(name, []).append(step)
        return dict(sorted(found.items()))

    def lockouts(self, operator: Collection[KeyId]) -> list[Step]:
        """Return the steps after which no key in `operator` opens the file any more.

        A file whose readers are unknown counts as one that the operator can open now:
        re-encrypting it requires that.
        """
        return [
            step
            for step in self.secret_steps
            if step.action is Action.REENCRYPT
            and (step.reason is Reason.UNKNOWN or _any_of(step.remove, operator))
            and not _any_of(step.target, operator)
        ]

    def unapproved(
        self, approved: Collection[Pair], written: Iterable[Reader] = ()
    ) -> tuple[Reader, ...]:
        """Return the readers that the plan uses and the operator has not approved.

        The plan uses those that it encrypts to, and `written`, whose keys it writes
        into generated files.  `approved` are pairs of name and key: a key approved
        under another name does not count.
        """
        # by identity: thousands of steps share one tuple of readers
        targets = {id(to): to for step in self.steps if (to := step.encrypted_to)}
        every = [reader for to in targets.values() for reader in to]
        found = {pair_of(reader): reader for reader in (*every, *written)}
        return tuple(reader for pair, reader in found.items() if pair not in approved)

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

    def to_json(
        self, *, unapproved: Sequence[Mapping[str, object]] = (), **more: object
    ) -> str:
        """Return the plan as JSON text; `unapproved` are the keys to approve first.

        `more` are further members.
        """
        found = self.as_json() | {"unapproved": list(unapproved)} | more
        import json  # 2 ms

        return json.dumps(found, indent=2, ensure_ascii=True) + "\n"


def pair_of(reader: Reader) -> Pair:
    """Return a reader's name and key id, which is the same for both forms of a key."""
    return reader.name, reader.recipient.key_id


def _any_of(readers: Iterable[Reader], keys: Collection[KeyId]) -> bool:
    return any(reader.recipient.key_id in keys for reader in readers)


def _by_reader(pairs: Iterable[tuple[Reader, Step]]) -> dict[Reader, list[Step]]:
    found: dict[Reader, list[Step]] = {}
    for reader, step in pairs:
        found.setdefault(reader, []).append(step)
    return dict(sorted(found.items(), key=lambda item: item[0].name))


def stale_problems(steps: Iterable[Step]) -> "Iterator[Finding]":
    """Yield, for `check`, the finding that each step resolves.

    Steps whose reason is a finding already have none here: a lock that follows from
    other steps, recipients that are not age keys, values in plaintext.
    """
    from nixsecrets.findings.catalogue import Finding  # as above

    for step in steps:
        if step.action is Action.WRITE and step.text is None:
            continue
        if step.dropped and step.reason is Reason.REVOKED and not step.differs:
            continue  # NS014 reports them
        if step.reason is Reason.PLAINTEXT and not step.differs:
            continue  # NS004 and NS029 name the values and comments
        fix = ""
        if step.foreign:
            fix = f"nixsecrets sync --overwrite {argument(step.path)}"
        yield Finding(step.path, _code_of(step), describe(step), fix=fix)


def _code_of(step: Step) -> "Code":
    from nixsecrets.findings.catalogue import Code  # as above

    if step.action is Action.WRITE:
        return Code.OUT_OF_DATE
    return Code.UNKNOWN if step.reason is Reason.UNKNOWN else Code.STALE


def describe(step: Step) -> str:
    """Return one line on what differs from the map, without path or period."""
    if step.reason is Reason.UNKNOWN:
        return "its recipients are unknown"
    parts: list[str] = []
    if step.add:
        parts.append("missing " + ", ".join(r.name for r in step.add))
    if step.losers:
        parts.append("still readable by " + ", ".join(step.losers))
    match step.reason:
        case Reason.FORM:
            parts.append("a key is in the wrong form")
        case Reason.OPTIONS_CHANGED:
            parts.append("its selection options differ from the rule's")
        case Reason.PLAINTEXT:
            parts.append("values or comments in it are in plaintext")
        case Reason.SHARED_KEY:
            parts.append("it shares its symmetric key with a copy")
        case Reason.CONTENT if step.foreign:
            parts.append("was not written by nixsecrets and differs from the map")
        case Reason.CONTENT if step.action is Action.WRITE:
            parts.append("differs from the map")
        case (
            Reason.NEW
            | Reason.GRANTED
            | Reason.REVOKED
            | Reason.CONTENT
            | Reason.RENAMED
            | Reason.MERGED
        ):
            pass  # the readers say it all
        case _ as never:
            assert_never(never)
    return "; ".join(parts)
