"""Exposed: the values that a retired key could read and that have not changed since.

From the git history, not from a list: for each retired key and file the newest version
that the key could read is compared with the file of today, value by value.  Equal
ciphertext under the same key tells without any identity; else both are decrypted.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from nixsecrets.errors import (
    MapError,
    NixsecretsError,
    ProgramError,
    SecretFileError,
)
from nixsecrets.keys.forms import Backend
from nixsecrets.keys.recipients import KeyId, Recipient
from nixsecrets.keys.tags import SHARE_TAGGED, stanza_tag
from nixsecrets.policy.load import load
from nixsecrets.policy.model import Retired
from nixsecrets.render.lock import Lock
from nixsecrets.repo.files import sha256
from nixsecrets.repo.history import LONGEST_BLOB, History, Version
from nixsecrets.secretfiles import agefile, sopscontent, sopsmeta
from nixsecrets.secretfiles.agestate import fits
from nixsecrets.secretfiles.sopsmeta import SopsFormat
from nixsecrets.world import LOCK_NAME, MAP_NAME, World

Open = Callable[[str, Backend, bytes], bytes]
"""Decrypts (path, backend, file); raises NixsecretsError where nobody can."""

Key = tuple[str, ...]
Keys = tuple[Key, ...]
Read = Callable[[str], bytes]
"""Returns a blob by its id, cut after LONGEST_BLOB; raises ProgramError without it."""


class Access(StrEnum):
    """Whether a key could read a version; PERHAPS where its stanzas are anonymous."""

    YES = "yes"
    PERHAPS = "perhaps"
    NO = "no"


class State(StrEnum):
    """What became of what a key could read."""

    UNCHANGED = "unchanged"
    PARTLY = "partly"
    CHANGED = "changed"
    UNKNOWN = "unknown"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Comparison:
    """A file then and now: `keys` are the values that are as they were (sops)."""

    state: State
    keys: Keys = ()
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Exposure:
    """One retired key and one file it could read."""

    path: str
    retired: Retired
    access: Access
    version: Version
    found: Comparison

    @property
    def open(self) -> bool:
        """Tell whether something is still to be done about it."""
        return self.found.state in (State.UNCHANGED, State.PARTLY, State.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Report:
    """Every exposure by path, and what the history cannot tell."""

    exposures: tuple[Exposure, ...]
    notes: tuple[str, ...] = ()


@dataclass
class _Past:
    """The history with its contents at hand."""

    history: History
    blob: Read
    missing: int = 0
    _last: tuple[str, bytes | None] = field(default=("", None), repr=False)

    def read(self, version: Version) -> bytes | None:
        """Return a version's bytes; None, and counted, where git does not have them."""
        if self._last[0] != version.blob:
            data = self._read(version.blob)
            self.missing += data is None
            self._last = version.blob, data
        return self._last[1]

    def _read(self, blob: str) -> bytes | None:
        try:
            data = self.blob(blob)
        except ProgramError:  # a partial clone
            return None
        return data if len(data) < LONGEST_BLOB else None


def find_exposed(world: World, history: History, blob: Read, opener: Open) -> Report:
    """Return what retired keys could read, compared with today.

    A retired key that somebody uses again is passed over.
    """
    past = _Past(history, blob)
    used = world.map.keys_in_use
    retired = [one for one in world.map.retired if one.key.key_id not in used]
    if not retired:
        return Report(())
    lock = _past_lock(past) if any(not _tagged(r.key) for r in retired) else Lock()
    judge = _Judge(world, past, lock, opener)
    exposures: list[Exposure] = []
    for path in sorted(history.versions):
        if not world.policy.never_secret(path):
            exposures += judge.exposures(path, retired)
    unseen = _never_in_use(past, retired)
    return Report(tuple(exposures), tuple(_notes(past, unseen)))


def _tagged(key: Recipient) -> bool:
    return stanza_tag(key) is not None or key.kind in SHARE_TAGGED.values()


def _notes(past: _Past, unseen: Sequence[Retired]) -> Iterator[str]:
    history = past.history
    if history.shallow:
        yield (
            "this clone is shallow: older versions are not looked at "
            "(git fetch --unshallow)"
        )
    if history.cut:
        yield f"only the newest {history.commits} commits were read (--max-commits)"
    if past.missing:
        yield f"{past.missing} versions are missing here or too long, and not looked at"
    for one in unseen:
        yield (
            f"the history never shows the key of {one.name} ({one.key.fingerprint}) in "
            "use: it was rewritten or begins later, and what the key read is not known"
        )


def _past_lock(past: _Past) -> Lock:
    """Return the lines of every lock there was as one lock (any two of them merge)."""
    lines: dict[str, None] = {}
    for version in past.history.versions.get(LOCK_NAME, ()):
        data = past.read(version) or b""
        lines.update(dict.fromkeys(data.decode(errors="replace").splitlines()))
    try:
        return Lock.parse("".join(f"{line}\n" for line in lines), LOCK_NAME)
    except MapError:  # a damaged one is among them: anonymous stanzas stay anonymous
        return Lock()


def _never_in_use(past: _Past, retired: Sequence[Retired]) -> list[Retired]:
    """Return the keys that no version of the map shows as somebody's."""
    left = list(retired)
    for version in past.history.versions.get(MAP_NAME, ()):
        data = past.read(version) or b""
        present = [one for one in left if one.key.text.encode() in data]
        if present:
            used = _used_in(data)
            left = [one for one in left if one.key.key_id not in used]
        if not left:
            break
    return left


def _used_in(data: bytes) -> Collection[KeyId]:
    try:
        recipient_map = load(data.decode(errors="replace"), MAP_NAME)
    except MapError:
        return ()
    return recipient_map.keys_in_use


@dataclass
class _Judge:
    """Finds and compares the versions of one path after the other."""

    world: World
    past: _Past
    lock: Lock
    opener: Open
    _opened: dict[str, bytes] = field(default_factory=dict, repr=False)

    def exposures(self, path: str, retired: Sequence[Retired]) -> Iterator[Exposure]:
        """Yield, for each key, the newest version of `path` that it could read."""
        left = list(retired)
        compared: dict[str, Comparison] = {}
        self._opened.clear()
        for version in self.past.history.versions[path]:
            data = self.past.read(version)
            if data is None:
                continue
            for one in list(left):
                access = could_read(path, data, one.key, self.lock)
                if access is Access.NO:
                    continue
                left.remove(one)
                if version.blob not in compared:
                    compared[version.blob] = self._compare(path, data)
                found = compared[version.blob]
                yield Exposure(path, one, access, version, found)
            if not left:
                return

    def _compare(self, path: str, then: bytes) -> Comparison:
        now = self.world.repo.read_if_there(path)
        if now is None:
            return Comparison(State.GONE)
        if not _is_secret(path, now):
            reason = "it is no secret file any more"
            return Comparison(State.UNKNOWN, reason=reason)
        try:
            if now == then or _same_ciphertext(then, now):
                return Comparison(State.UNCHANGED, _keys(path, now))
            age = any(agefile.looks_like_age(data) for data in (then, now))
            if age or sopsmeta.format_for(path) is SopsFormat.BINARY:
                return self._compare_whole(path, then, now)
            return self._compare_values(path, then, now)
        except NixsecretsError as error:
            return Comparison(State.UNKNOWN, reason=error.message)

    def _compare_whole(self, path: str, then: bytes, now: bytes) -> Comparison:
        same = self._open(path, then) == self._open(path, now)
        return Comparison(State.UNCHANGED if same else State.CHANGED)

    def _compare_values(self, path: str, then: bytes, now: bytes) -> Comparison:
        """Compare the values that were encrypted then: by ciphertext, else opened."""
        old, new = sopscontent.values(path, then), sopscontent.values(path, now)
        encrypted = sopscontent.key_paths(path, then)
        there = [where for where in encrypted if where in new]
        same = {where for where in there if old[where] == new[where]}
        reason = None
        if len(same) < len(there):
            try:
                before = self._plain_values(path, then)
                after = self._plain_values(path, now)
                same |= {w for w in there if before.get(w) == after.get(w)}
            except NixsecretsError as error:
                reason = error.message
        keys = tuple(where for where in there if where in same)
        if reason is not None:
            return Comparison(State.UNKNOWN, keys, reason)
        if not keys:
            return Comparison(State.CHANGED)
        whole = len(keys) == len(encrypted)
        return Comparison(State.UNCHANGED if whole else State.PARTLY, keys)

    def _plain_values(self, path: str, data: bytes) -> Mapping[Key, list[object]]:
        return sopscontent.values(path, self._open(path, data), plaintext=True)

    def _open(self, path: str, data: bytes) -> bytes:
        digest = sha256(data)
        if digest not in self._opened:
            age = agefile.looks_like_age(data)
            backend = Backend.AGE if age else Backend.SOPS
            self._opened[digest] = self.opener(path, backend, data)
        return self._opened[digest]


def _is_secret(path: str, data: bytes) -> bool:
    return agefile.looks_like_age(data) or sopsmeta.looks_like_sops(path, data)


def _keys(path: str, data: bytes) -> Keys:
    if agefile.looks_like_age(data):
        return ()
    return tuple(sopscontent.key_paths(path, data))


def _same_ciphertext(then: bytes, now: bytes) -> bool:
    """Tell whether two age files have one payload: then they have one content."""
    if not (agefile.looks_like_age(then) and agefile.looks_like_age(now)):
        return False
    return agefile.parse(then).payload == agefile.parse(now).payload


def could_read(path: str, data: bytes, key: Recipient, lock: Lock) -> Access:
    """Tell whether `key` could read a version of a file."""
    try:
        if agefile.looks_like_age(data):
            return _could_read_age(path, data, key, lock)
        return Access.YES if _names_key(path, data, key) else Access.NO
    except SecretFileError:  # damaged then: nobody could read it
        return Access.NO


def _could_read_age(path: str, data: bytes, key: Recipient, lock: Lock) -> Access:
    fitting = any(fits(stanza, key) for stanza in agefile.parse(data).entries)
    if not fitting or _tagged(key):
        return Access.YES if fitting else Access.NO
    record = lock.record(path, sha256(data))
    if record is None:
        return Access.PERHAPS
    return Access.YES if _is_among(key, record.recipients) else Access.NO


def _names_key(path: str, data: bytes, key: Recipient) -> bool:
    texts = {key.text.encode(), key.converted().text.encode()}
    if not any(text in data for text in texts):
        return False
    if not sopsmeta.looks_like_sops(path, data):
        return False
    entries = sopsmeta.parse(path, data).entries
    return _is_among(key, (e.recipient for e in entries if e.recipient is not None))


def _is_among(key: Recipient, recipients: Iterable[Recipient]) -> bool:
    return any(recipient.key_id == key.key_id for recipient in recipients)


def by_path(exposures: Iterable[Exposure]) -> Mapping[str, list[Exposure]]:
    """Return the exposures of each path, in the order of the report."""
    found: dict[str, list[Exposure]] = {}
    for exposure in exposures:
        found.setdefault(exposure.path, []).append(exposure)
    return found
