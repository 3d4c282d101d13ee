"""`nixsecrets.lock`: to whom each age file was encrypted, as JSON Lines.

    {"nixsecrets":1}
    {"recipient":"3f…","key":"ssh-ed25519 AAAA…","age":"age1…","name":"brunnen"}
    {"set":"9c…","recipients":["77…","3f…"]}
    {"file":"secrets/wifi.age","set":"9c…","sha256":"…","how":"written"}

The lines are sorted, and git merges the file with `merge=union`: so a lock may hold
several lines for one file, of which the one counts whose `sha256` is the file's.
An id is the first 16 hex digits of the SHA-256 of what it names: the key's text; the
set's ids, in stanza order, each followed by a line feed.  The lock is evidence, not
proof: `secretfiles` compares it with the file.
"""

import hashlib
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from nixsecrets.errors import KeyFormatError, MapError, quoted
from nixsecrets.keys.recipients import Kind, Recipient, parse_recipient
from nixsecrets.secretfiles.state import Record

VERSION = 1
Members = tuple[Recipient, ...]

_SEPARATORS = (",", ":")
_ENCODE = json.JSONEncoder(ensure_ascii=False, separators=_SEPARATORS).encode
_QUOTE = json.encoder.encode_basestring  # what it does with a text
_ENCODE_ASCII = json.JSONEncoder(separators=_SEPARATORS).encode
_SHAPES: dict[str, dict[str, type]] = {
    "nixsecrets": {"nixsecrets": int},
    "recipient": {"recipient": str, "key": str},
    "set": {"set": str, "recipients": list},
    "file": {"file": str, "set": str, "sha256": str, "how": str},
}
_OPTIONAL: dict[str, dict[str, type]] = {"recipient": {"age": str, "name": str}}
_HOWS = ("written", "adopted")
_HINT = (
    "take the lock of one side (git checkout --ours nixsecrets.lock), then run"
    " `nixsecrets check`; merge=union in .gitattributes avoids this"
)
_VERSION_LINE = re.compile(r'\s*\{\s*"nixsecrets"\s*:\s*([0-9]{1,9})\s*\}\s*')


@dataclass(frozen=True, slots=True)
class Lock:
    """The records of a lock; several for one path where a merge left them."""

    _records: Mapping[str, tuple[Record, ...]] = field(default_factory=dict)
    _names: Mapping[Recipient, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str, filename: str = "nixsecrets.lock") -> "Lock":
        """Read a lock, also one that git merged line by line; "" is an empty one.

        Raises:
            MapError: a line that is no line of a lock, or names what no line defines.
        """
        return _Reader(filename).read(text)

    def record(self, path: str, sha256: str) -> Record | None:
        """Return what was recorded of `path` when its bytes had this SHA-256 (hex)."""
        for record in self._records.get(path, ()):
            if record.sha256 == sha256:
                return record
        return None

    def paths(self) -> list[str]:
        """Return the paths that have a record, sorted."""
        return sorted(self._records)

    def named_recipients(self) -> list[tuple[str, Recipient]]:
        """Return the recipients that the lock has a name for, with it, sorted."""
        pairs = ((name, recipient) for recipient, name in self._names.items())
        return sorted(pairs, key=lambda pair: (pair[0], pair[1].text))

    def with_files(
        self,
        changes: Mapping[str, Record | None],
        names: Iterable[tuple[str, Recipient]] = (),
        *,
        present: Mapping[str, str] | None = None,
    ) -> "Lock":
        """Return the lock after `changes`: a new record for a path, or None for none.

        `names` are the names of keys today; a key that is not among them keeps the
        name it had.  `present` tells the SHA-256 of files as they are: of several
        records for one of them only the one that fits is kept.
        """
        records = {
            path: _fitting(found, (present or {}).get(path))
            for path, found in self._records.items()
        }
        for path, record in changes.items():
            records.pop(path, None)
            if record is not None:
                records[path] = (record,)
        # the first name of a key counts, as in a key book
        today = {recipient: name for name, recipient in reversed(list(names))}
        return Lock(records, {**self._names, **today})

    def render(self) -> str:
        """Write the lock: sorted, and only recipients and sets that a file needs."""
        every = [one for found in self._records.values() for one in found]
        # told apart by identity first: files share their readers, whose hash takes long
        sets = {id(record.recipients): record.recipients for record in every}
        recipients = {one for members in sets.values() for one in members}
        ids = {at: tuple(one.id for one in members) for at, members in sets.items()}
        lines = [
            _line({"nixsecrets": VERSION}),
            *sorted(self._recipient_line(one) for one in recipients),
            *sorted({_set_line(one) for one in ids.values()}),
            *self._file_lines({at: _set_id(one) for at, one in ids.items()}),
        ]
        return "\n".join([*lines, ""])

    def _recipient_line(self, recipient: Recipient) -> str:
        value = {"recipient": recipient.id, "key": recipient.text}
        if recipient.kind is Kind.SSH_ED25519:
            value["age"] = recipient.converted().text
        if recipient in self._names:
            value["name"] = self._names[recipient]
        return _line(value)

    def _file_lines(self, set_ids: Mapping[int, str]) -> Iterator[str]:
        for path, records in sorted(self._records.items()):
            lines = [
                _file_line(path, set_ids[id(one.recipients)], one) for one in records
            ]
            yield from sorted(lines)


def _fitting(found: tuple[Record, ...], sha256: str | None) -> tuple[Record, ...]:
    if len(found) == 1:
        return found
    return tuple(one for one in found if one.sha256 == sha256) or found


def _line(value: Mapping[str, object]) -> str:
    text = _ENCODE(value)
    # names that no line of a diff can show, or that are no UTF-8, are escaped
    return text if text.isprintable() else _ENCODE_ASCII(value)


def _file_line(path: str, set_id: str, record: Record) -> str:
    sha256, how = record.sha256, record.how
    # put together here, because there are many and an encoder is made for each object
    file, digest = _QUOTE(path), _QUOTE(sha256)
    line = f'{{"file":{file},"set":"{set_id}","sha256":{digest},"how":{_QUOTE(how)}}}'
    if line.isprintable():
        return line
    return _line({"file": path, "set": set_id, "sha256": sha256, "how": how})


def _set_line(ids: tuple[str, ...]) -> str:
    return _line({"set": _set_id(ids), "recipients": list(ids)})


def _set_id(ids: Iterable[str]) -> str:
    content = "".join(f"{one}\n" for one in ids)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


class _Reader:
    """Reads the lines of one lock; their order does not matter."""

    def __init__(self, filename: str) -> None:
        self.filename = filename
        self.line = 0
        self.lines: list[tuple[int, str]] = []
        self.recipients: dict[str, Recipient] = {}
        self.names: dict[Recipient, str] = {}
        self.sets: dict[str, tuple[int, list[str]]] = {}
        self.files: list[tuple[int, dict[str, str]]] = []

    def fail(self, problem: str) -> NoReturn:
        """Raise; whatever is wrong, a newer format is the better explanation."""
        for number, line in self.lines:
            version = _VERSION_LINE.fullmatch(line)
            if version and int(version[1]) > VERSION:
                raise MapError(
                    f"{self.filename}:{number}: written by a newer nixsecrets"
                    f" (format {version[1]}; this one reads {VERSION})",
                    "upgrade nixsecrets",
                )
        raise MapError(f"{self.filename}:{self.line}: {problem}", _HINT)

    def read(self, text: str) -> Lock:
        numbered = enumerate(text.split("\n"), start=1)
        lines = [(number, line) for number, line in numbered if line.strip()]
        self.lines = lines
        for (number, _), value in zip(lines, self.values(lines), strict=True):
            self.line = number
            self.take(value)
        members = {name: self.members(name) for name in self.sets}
        records: dict[str, tuple[Record, ...]] = {}
        for number, value in self.files:
            recipients = members.get(value["set"])
            if recipients is None:
                self.line = number
                self.fail("no line defines the set of this file")
            # `how` as one object for all, told apart by identity (`keys.memory`)
            record = Record(recipients, value["sha256"], sys.intern(value["how"]))
            before = records.setdefault(value["file"], (record,))
            if record not in before:
                records[value["file"]] = (*before, record)
        return Lock(records, self.names)

    def values(self, lines: list[tuple[int, str]]) -> list[Any]:
        """Parse the lines: all at once, which is fast, else until the wrong one."""
        try:
            values: list[Any] = json.loads(
                "[" + ",".join(one for _, one in lines) + "]"
            )
        except (ValueError, RecursionError):
            values = []
        if len(values) == len(lines):
            return values
        return [self.parsed(number, line) for number, line in lines]

    def parsed(self, number: int, line: str) -> Any:
        self.line = number
        try:
            return json.loads(line)
        except (ValueError, RecursionError):
            self.fail("not a line of a lock")

    def take(self, value: Any) -> None:
        kind = next(iter(value), "") if isinstance(value, dict) else ""
        self.check_shape(kind, value)
        match kind:
            case "file":
                self.files.append((self.line, value))
                if value["how"] not in _HOWS:
                    self.fail('"how" is neither "written" nor "adopted"')
            case "set":
                self.take_set(value["set"], value["recipients"])
            case "recipient":
                self.take_recipient(value)
            case _:
                if value["nixsecrets"] != VERSION:
                    self.fail("an unknown version")

    def check_shape(self, kind: str, value: Any) -> None:
        shape = _SHAPES.get(kind)
        if shape is None:
            self.fail("an unknown kind of line")
        if value.keys() != shape.keys():
            optional = _OPTIONAL.get(kind, {})
            if not shape.keys() <= value.keys() <= shape.keys() | optional.keys():
                self.fail(f"a {quoted(kind)} line with the wrong fields")
            shape = shape | optional
        if [*map(type, value.values())] != [*map(shape.get, value)]:
            wrong = next(k for k, found in value.items() if type(found) is not shape[k])
            self.fail(f"{quoted(wrong)} has the wrong type")

    def take_recipient(self, value: dict[str, str]) -> None:
        try:
            recipient = parse_recipient(value["key"])
        except KeyFormatError as error:
            self.fail(f"no recipient: {error.message}")
        if recipient.id != value["recipient"]:
            self.fail("the id is not that of the key")
        if "age" in value and value["age"] != recipient.converted().text:
            self.fail("the age key is not the converted ssh key")
        self.recipients[recipient.id] = recipient
        if "name" in value:  # two branches may differ: any rule will do, if it is one
            name = self.names.get(recipient, value["name"])
            self.names[recipient] = min(name, value["name"])

    def take_set(self, name: str, ids: list[Any]) -> None:
        if not all(isinstance(one, str) for one in ids) or _set_id(ids) != name:
            self.fail("the id is not that of the set")
        self.sets[name] = self.line, ids

    def members(self, name: str) -> Members:
        self.line, ids = self.sets[name]
        if not self.recipients.keys() >= set(ids):
            self.fail("no line defines a recipient of this set")
        return tuple(self.recipients[one] for one in ids)
