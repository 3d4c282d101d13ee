"""`nixsecrets.lock`: the recipients of each age file, as JSON Lines.

    {"nixsecrets":2}
    {"recipient":"3f…","key":"ssh-ed25519 AAAA…","age":"age1…","name":"brunnen"}
    {"file":"secrets/wifi.age","recipients":["77…","3f…"],"sha256":"…","how":"written"}

An id is the first 16 hex digits of the SHA-256 of the key's text.  A file's ids are in
stanza order.  The lines are sorted, and git merges the file with `merge=union`, so a
lock may have any mixture of the lines of two branches.  Therefore each line is valid by
itself:

- Of several lines for one file, the one with the `sha256` of the file counts.
- An id that no line defines is looked up among the keys of the map, retired ones
  included.  If that fails, the file has no record.
- Lines that cannot be read (conflict markers) are skipped, and counted for a warning.
- Lines of unknown kinds are kept byte for byte.

Version 1 had a line for each set of readers, and named the set in file lines; it is
still read.  A record is compared with the file's stanzas before it is used.
"""

import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import chain
from types import MappingProxyType
from typing import Any

from nixsecrets.errors import KeyFormatError, MapError
from nixsecrets.files.state import Record
from nixsecrets.frozen import NamedTuple
from nixsecrets.keys.recipients import Kind, Recipient, parse_recipient

VERSION = 2
Members = tuple[Recipient, ...]
Ids = tuple[str, ...]

_SEPARATORS = (",", ":")
_ENCODE = json.JSONEncoder(ensure_ascii=False, separators=_SEPARATORS).encode
_QUOTE = json.encoder.encode_basestring  # encodes one string
_ENCODE_ASCII = json.JSONEncoder(separators=_SEPARATORS).encode
# The fields of each kind of line, with their types; file lines of version 1 name a set.
_FILE: dict[str, type] = {"file": str, "recipients": list, "sha256": str, "how": str}
_FILE_OF_SET: dict[str, type] = {"file": str, "set": str, "sha256": str, "how": str}
_SET: dict[str, type] = {"set": str, "recipients": list}
_RECIPIENT: dict[str, type] = {"recipient": str, "key": str}
_HEAD: dict[str, type] = {"nixsecrets": int}
_HOWS = ("written", "adopted")
_VERSION_LINE = r'\s*\{\s*"nixsecrets"\s*:\s*([0-9]{1,9})\s*\}\s*'


class Lock(NamedTuple):
    """The records of a lock, several for one path after a merge.

    `version` is that of the text it was read from, `skipped` the numbers (from 1) of
    lines that could not be read; `others` are lines of unknown kinds, which stay.
    """

    records: Mapping[str, tuple[Record, ...]] = MappingProxyType({})
    names: Mapping[Recipient, str] = MappingProxyType({})
    others: tuple[str, ...] = ()
    version: int = VERSION
    skipped: tuple[int, ...] = ()

    @classmethod
    def parse(
        cls,
        text: str,
        filename: str = "nixsecrets.lock",
        known: Callable[[], Iterable[Recipient]] = tuple,
    ) -> "Lock":
        """Parse a lock, also one that git merged line by line; "" is an empty one.

        `known` returns the keys of the map; it is called only for ids that no line
        defines.

        Raises:
            MapError: the lock has a newer version.
        """
        return _Reader(filename, known).read(text)

    def record(self, path: str, sha256: str) -> Record | None:
        """Return the record of `path` with this SHA-256 (hex), None without one."""
        for record in self.records.get(path, ()):
            if record.sha256 == sha256:
                return record
        return None

    def paths(self) -> list[str]:
        """Return the paths that have a record, sorted."""
        return sorted(self.records)

    def named_recipients(self) -> list[tuple[str, Recipient]]:
        """Return (name, recipient) of the recipients that the lock names, sorted."""
        pairs = ((name, recipient) for recipient, name in self.names.items())
        return sorted(pairs, key=lambda pair: (pair[0], pair[1].text))

    def with_files(
        self,
        changes: Mapping[str, Record | None],
        names: Iterable[tuple[str, Recipient]] = (),
        *,
        present: Mapping[str, str] | None = None,
    ) -> "Lock":
        """Return the lock after `changes`: path -> new record, None to remove it.

        `names` are the present names of keys; other keys keep their recorded name.
        `present` maps paths to the SHA-256 (hex) of the present files: of several
        records for a path, only the matching one is kept.
        """
        records = {
            path: _fitting(found, (present or {}).get(path))
            for path, found in self.records.items()
        }
        for path, record in changes.items():
            records.pop(path, None)
            if record is not None:
                records[path] = (record,)
        return Lock(records, {**self.names, **_today(names)}, self.others)

    def names_as(self, names: Iterable[tuple[str, Recipient]]) -> bool:
        """Return whether the lock has the present `names` of all recorded readers."""
        today, known = _today(names), self.names
        return all(
            today.get(one, known.get(one)) == known.get(one)
            for members in self._sets()
            for one in members
        )

    def _sets(self) -> Collection[Members]:
        """Return the distinct tuples of readers; most files share one."""
        every = chain.from_iterable(self.records.values())
        return {id(record.recipients): record.recipients for record in every}.values()

    def render(self) -> str:
        """Return the lock's text: sorted, with the recipients that files refer to."""
        sets = self._sets()
        recipients = {one for members in sets for one in members}
        ids = {members: _ENCODE([one.id for one in members]) for members in sets}
        lines = [
            _line({"nixsecrets": VERSION}),
            *sorted(self._recipient_line(one) for one in recipients),
            *self._file_lines(ids),
            *self.others,
        ]
        return "\n".join([*lines, ""])

    def _recipient_line(self, recipient: Recipient) -> str:
        value = {"recipient": recipient.id, "key": recipient.text}
        if recipient.kind is Kind.SSH_ED25519:
            value["age"] = recipient.converted().text
        if recipient in self.names:
            value["name"] = self.names[recipient]
        return _line(value)

    def _file_lines(self, ids: Mapping[Members, str]) -> Iterator[str]:
        for path, records in sorted(self.records.items()):
            lines = [_file_line(path, ids[one.recipients], one) for one in records]
            yield from sorted(lines)


def _today(names: Iterable[tuple[str, Recipient]]) -> dict[Recipient, str]:
    """Return the first name of each key, the one that a key book uses."""
    return {recipient: name for name, recipient in reversed(list(names))}


def _fitting(found: tuple[Record, ...], sha256: str | None) -> tuple[Record, ...]:
    """Return the records with this SHA-256; all of them if none has it."""
    if len(found) == 1:
        return found
    return tuple(one for one in found if one.sha256 == sha256) or found


def _line(value: Mapping[str, object]) -> str:
    text = _ENCODE(value)
    # escape names with control characters or bytes that are not UTF-8
    return text if text.isprintable() else _ENCODE_ASCII(value)


def _file_line(path: str, ids: str, record: Record) -> str:
    """Return the line of one file; `ids` are its recipients' ids as a JSON list."""
    sha256, how = record.sha256, record.how
    # formatted by hand: there are thousands, and json creates an encoder for each call
    file, digest = _QUOTE(path), _QUOTE(sha256)
    if not (file.isprintable() and digest.isprintable()):
        file, digest = _ENCODE_ASCII(path), _ENCODE_ASCII(sha256)
    return f'{{"file":{file},"recipients":{ids},"sha256":{digest},"how":"{how}"}}'


def _set_id(ids: Iterable[str]) -> str:
    content = "".join(f"{one}\n" for one in ids)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _has(value: Mapping[str, Any], fields: Mapping[str, type]) -> bool:
    """Return whether a line has exactly these fields, each of its type."""
    if value.keys() != fields.keys():
        return False
    return [*map(type, value.values())] == [*map(fields.get, value)]


class _Reader:
    """Reads the lines of one lock, in any order.

    Each `take_…` method stores a line, and returns False for one that is invalid.
    `groups` has each tuple of ids once, for all files that share it; `files` has path,
    ids (or, in version 1, the name of a set), SHA-256 and `how` of each file line.
    """

    def __init__(self, filename: str, known: Callable[[], Iterable[Recipient]]) -> None:
        self.filename = filename
        self.known = known
        self.recipients: dict[str, Recipient] = {}
        self.names: dict[Recipient, str] = {}
        self.sets: dict[str, Ids] = {}
        self.groups: dict[Ids, Ids] = {}
        self.files: list[tuple[str, Ids | str, str, str]] = []
        self.others: set[str] = set()
        self.versions: set[int] = set()

    def read(self, text: str) -> Lock:
        numbered = enumerate(text.split("\n"), start=1)
        lines = [(number, line) for number, line in numbered if line.strip()]
        values = self.values(lines)
        skipped = tuple(
            number
            for (number, line), value in zip(lines, values, strict=True)
            if not self.take(line, value)
        )
        self.refuse_newer(lines)
        return Lock(
            self.records(),
            self.names,
            tuple(sorted(self.others)),
            max(self.versions, default=VERSION),
            skipped,
        )

    def refuse_newer(self, lines: Iterable[tuple[int, str]]) -> None:
        """Raise MapError for a newer format, with the line that declares it."""
        if max(self.versions, default=0) <= VERSION:
            return
        for number, line in lines:
            version = re.fullmatch(_VERSION_LINE, line)
            if version and int(version[1]) > VERSION:
                raise MapError(
                    self.filename,
                    number,
                    f"written by a newer nixsecrets (format {version[1]};"
                    f" this one reads {VERSION})",
                    "upgrade nixsecrets",
                )

    def values(self, lines: list[tuple[int, str]]) -> list[Any]:
        """Return the parsed lines, None for invalid ones.

        All lines are parsed as one JSON array, which is fast; if that fails, one by
        one.
        """
        try:
            values: list[Any] = json.loads(
                "[" + ",".join(one for _, one in lines) + "]"
            )
        except (ValueError, RecursionError):
            values = []
        if len(values) == len(lines):
            return values
        return [_parsed(line) for _, line in lines]

    def take(self, line: str, value: Any) -> bool:
        if not isinstance(value, dict):
            return False
        match next(iter(value), ""):
            case "file":
                return self.take_file(value)
            case "recipient":
                return self.take_recipient(value)
            case "set":
                return self.take_set(value)
            case "nixsecrets":
                return self.take_version(value)
            case "":
                return False
            case _:
                return self.take_other(line.rstrip("\r"))

    def take_other(self, line: str) -> bool:
        try:
            line.encode()
        except UnicodeEncodeError:  # not UTF-8: it could not be written again
            return False
        self.others.add(line)
        return True

    def take_version(self, value: dict[str, Any]) -> bool:
        if not _has(value, _HEAD) or value["nixsecrets"] < 1:
            return False
        self.versions.add(value["nixsecrets"])
        return True

    def take_file(self, value: dict[str, Any]) -> bool:
        ids: Ids | str | None = None
        if _has(value, _FILE):
            ids = self.group(value["recipients"])
        elif _has(value, _FILE_OF_SET):
            ids = value["set"]
        if ids is None or value["how"] not in _HOWS:
            return False
        self.files.append((value["file"], ids, value["sha256"], value["how"]))
        return True

    def group(self, ids: list[Any]) -> Ids | None:
        """Return ids as a tuple that all files with these ids share.

        None if they are not strings.  Sharing makes later checks cheap: thousands of
        files have few different groups.
        """
        try:
            found = self.groups.get(tuple(ids))
        except TypeError:
            return None
        if found is None and all(isinstance(one, str) for one in ids):
            found = tuple(ids)
            self.groups[found] = found
        return found

    def take_set(self, value: dict[str, Any]) -> bool:
        ids = self.group(value["recipients"]) if _has(value, _SET) else None
        if ids is None or _set_id(ids) != value["set"]:
            return False
        self.sets[value["set"]] = ids
        return True

    def take_recipient(self, value: dict[str, Any]) -> bool:
        optional = {name: str for name in ("age", "name") if name in value}
        if not _has(value, _RECIPIENT | optional):
            return False
        try:
            recipient = parse_recipient(value["key"])
        except KeyFormatError:
            return False
        if recipient.id != value["recipient"]:
            return False
        if "age" in value and value["age"] != recipient.converted().text:
            return False
        self.recipients[recipient.id] = recipient
        if "name" in value:  # of two branches' names take the lesser one, in any order
            name = self.names.get(recipient, value["name"])
            self.names[recipient] = min(name, value["name"])
        return True

    def records(self) -> dict[str, tuple[Record, ...]]:
        """Return the records of the files all of whose recipients are known."""
        needed = {one for ids in self.groups for one in ids}
        if not needed <= self.recipients.keys():
            for one in self.known():
                self.recipients.setdefault(one.id, one)
        members: dict[Ids | str, Members] = {
            ids: tuple(self.recipients[one] for one in ids)
            for ids in self.groups
            if self.recipients.keys() >= set(ids)
        }
        members |= {
            name: members[ids] for name, ids in self.sets.items() if ids in members
        }
        records: dict[str, tuple[Record, ...]] = {}
        for path, ids, sha256, how in self.files:
            recipients = members.get(ids)
            if recipients is None:
                continue
            record = Record(recipients, sha256, how)
            before = records.setdefault(path, (record,))
            if record not in before:
                records[path] = (*before, record)
        return records


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
