"""Faults of a secret file that can be detected without a private key.

For the guard and for `check`.  age: the header's syntax, the sizes of known stanza
types, the size of the payload.  sops: complete metadata in every document, entries that
are age files, and plaintext that the file's own options, or those of its rule, require
to be encrypted.  This does not authenticate a file: anyone with the public keys can
write one without faults.
"""

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from nixsecrets.errors import SecretFileError, TooLargeError
from nixsecrets.files.age import header, shape
from nixsecrets.files.kind import format_for, looks_like_age, looks_secret
from nixsecrets.files.sops import metadata, token
from nixsecrets.files.sops.comments import Comment, comments
from nixsecrets.files.sops.engine import types
from nixsecrets.files.sops.engine.types import Retyped
from nixsecrets.files.sops.json import other_sops
from nixsecrets.files.sops.metadata import (
    FOREIGN,
    SELECTION,
    Entry,
    Options,
    SopsFile,
    SopsFormat,
    canonical_options,
)
from nixsecrets.files.sops.repeats import repeated
from nixsecrets.files.sops.selection import (
    Selector,
    by_default,
    open_comments,
    selector,
    selector_of,
)
from nixsecrets.files.sops.selectors import DEFAULT_OPTION, selection_of, unusable
from nixsecrets.files.sops.spans import Node, items, refuse, slot_of
from nixsecrets.files.sops.state import read_enc
from nixsecrets.files.sops.token import is_encrypted
from nixsecrets.files.sops.values import Leaf, leaves, printable_path
from nixsecrets.findings.catalogue import Code, Finding, foreign_reader
from nixsecrets.splice import conflict_line

_MAC = re.compile(token.MAC_PATTERN)
_TIME = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)"
)
_VERSION = re.compile(r"v?\d{1,4}\.\d{1,4}\.\d{1,4}(?:[-+][0-9A-Za-z.-]{1,40})?")
_PGP = re.compile(
    r"-----BEGIN PGP MESSAGE-----\s.*-----END PGP MESSAGE-----", re.DOTALL
)
# the response of a key service: base64 in either alphabet, perhaps wrapped
_BLOB = re.compile(
    r"(?:vault:v\d+:)?(?:[A-Za-z0-9+/_-]{16,}\s+)*[A-Za-z0-9+/_-]{16,}={0,2}"
)
_ATTENTION = "This section contains key material"  # sops before 1.0
# sops ignores any other field and does not encrypt it, so it may be a leaked secret
_FIELDS = frozenset(
    (
        *("age", *FOREIGN),
        *("key_groups", "shamir_threshold", "lastmodified", "mac", "version"),
        *("mac_only_encrypted", "attention", "created_at", *SELECTION),
    )
)
_NOISE = "has a stanza that is marked as noise and was not written by rage"
_ENTRY_FIELDS = {"age": frozenset(("recipient", "enc"))}
_ENTRY_FIELDS |= {name: entry.fields for name, entry in FOREIGN.items()}


def faults(
    path: str, data: bytes, *, wanted: Options | None = None
) -> Iterator[Finding]:
    """Yield the faults of a file that is meant to be encrypted (see `looks_secret`).

    `wanted` are the sops options of the file's rule, None if no rule covers it.
    """
    if line := conflict_line(data):
        yield Finding(path, Code.UNMERGED, "holds git's conflict markers", line)
        return
    try:
        if looks_like_age(data):
            age = header.parse(data)
            fault = shape.fault(age)
            if fault is not None:
                raise SecretFileError(fault)
            if shape.possible_recipients(age)[1]:
                yield Finding(path, Code.SUSPICIOUS_NOISE, _NOISE)
        else:
            file = metadata.parse(path, data)
            _check_metadata(file)
            if any(map(_noisy, file.entries)):
                yield Finding(path, Code.SUSPICIOUS_NOISE, _NOISE)
            yield from _refused_by_sops(path, data, file)
            if why := unusable(file.options):
                message = f"sops ignores its {why}"
                yield Finding(path, Code.REGEX_UNUSABLE, message)
                return
            yield from _values(path, data, file, wanted)
            for names, line in repeated(file.format, data):
                message = f"{printable_path(names)} is there twice"
                yield Finding(path, Code.KEY_AGAIN, message, line)
    except SecretFileError as error:
        code = Code.TOO_LARGE if isinstance(error, TooLargeError) else Code.DAMAGED
        yield Finding(path, code, error.reason)


def restores(path: str, last: bytes | None) -> bool | None:
    """Return whether `last`, the file in the last commit, is a secret without faults.

    False if the commit has no such file, None if its version has faults, too.
    """
    if last is None:
        return False
    broken = (Code.DAMAGED, Code.OPEN_VALUE)
    secret = looks_secret(path, last)
    return (
        secret and all(one.code not in broken for one in faults(path, last))
    ) or None


def strangers(path: str, data: bytes) -> Iterator[Finding]:
    """Yield a finding for each PGP, KMS or Vault key that can decrypt a file."""
    if looks_like_age(data):
        return
    try:
        keys = metadata.parse(path, data).others
    except SecretFileError:
        return  # reported by `faults`
    for key in keys:
        yield Finding(path, Code.FOREIGN_READER, foreign_reader(key))


def retyped(path: str, old: bytes, new: bytes) -> dict[Finding, Finding]:
    """Return the values of a sops file whose type was changed without re-encryption.

    The result maps the finding of `faults` for a value to the more specific one that
    replaces it.  `old` is the previous content, or several versions, oldest first.
    """
    if looks_like_age(new) or not token.any_retyped(old, new):
        return {}
    try:
        kind = metadata.parse(path, new).format
        return retyped_findings(path, types.retyped(kind, old, new))
    except SecretFileError:
        return {}  # reported by `faults`


def retyped_findings(path: str, found: Iterable[Retyped]) -> dict[Finding, Finding]:
    """Return the finding for each changed type, by the finding of `faults` for it."""
    code = Code.SOPS_REFUSES
    return {
        Finding(path, code, types.describe(one.leaf), one.leaf.line): Finding(
            path, code, one.message, one.leaf.line
        )
        for one in found
    }


# --- sops ---------------------------------------------------------------------------


def _check_metadata(file: SopsFile) -> None:
    """Check the metadata in every document; raise `SecretFileError` for a fault."""
    seen: set[str] = set()
    for block in file.blocks:
        fields = block.fields
        if not fields.keys() <= _FIELDS:
            refuse("has a field in its sops metadata that sops does not know")
        if not _MAC.fullmatch(_text(fields, "mac")):
            refuse("has sops metadata with an incomplete MAC")
        if not _TIME.fullmatch(_text(fields, "lastmodified")):
            refuse("has sops metadata without the time of its MAC")
        if not _text(fields, "version"):
            refuse("has sops metadata without a version")
        if not (_is_time(fields) and _is_plain(fields)):
            refuse("has free text in its sops metadata")
        entries = _check_entries(fields, seen)
        for group in items(fields, "key_groups"):
            entries += _check_entries(group, seen)
        if not entries:
            refuse("has sops metadata without any recipient")


def _noisy(entry: Entry) -> bool:
    file = read_enc(entry.enc).file
    return file is not None and shape.possible_recipients(file)[1]


def _refused_by_sops(path: str, data: bytes, file: SopsFile) -> Iterator[Finding]:
    """Yield what makes sops refuse a complete file, or read it differently."""
    versions = [_text(block.fields, "version") for block in file.blocks]
    if not all(map(_VERSION.fullmatch, versions)):
        message = "has a version in its metadata that sops rejects"
        yield Finding(path, Code.SOPS_REFUSES, message)
    for leaf in leaves(file.format, data):
        if token.is_encrypted(leaf.value) and token.any_misfitting(str(leaf.value)):
            yield Finding(path, Code.SOPS_REFUSES, types.describe(leaf), leaf.line)
        if file.format is SopsFormat.JSON and other_sops(leaf.path[0]):
            message = (
                f"has a key {leaf.path[0]},"
                " which sops before 3.13 mistakes for its metadata"
            )
            yield Finding(path, Code.SOPS_REFUSES, message, leaf.line)


def _check_entries(fields: Mapping[str, Node], seen: set[str]) -> int:
    """Check the entries of a block or a key group; return their number.

    `seen` has the `enc` texts that were already checked, of other documents as well.
    """
    for kind, known in _ENTRY_FIELDS.items():
        for item in items(fields, kind):
            if not (item.keys() <= known and _is_time(item)):
                refuse("has free text in an entry of its sops metadata")
    age, pgp = items(fields, "age"), items(fields, "pgp")
    for item in age:
        enc = str(slot_of(item).enc.value).strip() + "\n"
        if enc not in seen and not _sized(enc):
            refuse("has a corrupt enc in its sops metadata")
        seen.add(enc)
    for item in pgp:
        if not _PGP.search(_text(item, "enc")):
            refuse("has an incomplete PGP entry in its sops metadata")
    services = [name for name in FOREIGN if name != "pgp"]
    others = [item for kind in services for item in items(fields, kind)]
    for item in others:
        if not _BLOB.fullmatch(_text(item, "enc")):
            refuse("has an incomplete KMS or Vault entry in its sops metadata")
    return len(age) + len(pgp) + len(others)


def _sized(enc: str) -> bool:
    file = read_enc(enc).file
    return file is None or all(map(shape.plausible, file.foreign))


def _is_time(fields: Mapping[str, Node]) -> bool:
    """Return whether the optional date of an entry is valid."""
    made = _text(fields, "created_at")
    return not made or _TIME.fullmatch(made) is not None


def _is_plain(fields: Mapping[str, Node]) -> bool:
    """Return whether the fields of fixed form have it, so that they hide no secret."""
    given = fields.get("shamir_threshold")
    threshold = "0" if given is None else str(given.value)
    notice = _text(fields, "attention")
    flag = _text(fields, "mac_only_encrypted").lower()
    return (
        threshold.isdecimal()
        and (not notice or notice.startswith(_ATTENTION))
        and flag in ("", "true", "false", "1", "0")
    )


def _text(fields: Mapping[str, Node], name: str) -> str:
    value = fields[name].value if name in fields else None
    return value.strip() if isinstance(value, str) else ""


def _values(
    path: str, data: bytes, file: SopsFile, wanted: Options | None
) -> Iterator[Finding]:
    """Yield a finding for each value or comment in plaintext that must be encrypted."""
    values = [leaf for leaf in leaves(file.format, data) if not leaf.empty]
    marks = comments(file.format, data)
    open_there = [leaf for leaf in values if not is_encrypted(leaf.value)]
    open_marks = [one for one in marks if not is_encrypted(one.text.strip())]
    if open_there and len(open_there) == len(values):
        line = open_there[0].line
        yield Finding(path, Code.OPEN_VALUE, "no value in it is encrypted", line)
    elif open_there or open_marks:
        own, rule = _selectors(file, wanted)
        for leaf in open_there:
            if own(leaf):
                message = f"{_name(leaf)} is not encrypted"
                yield Finding(path, Code.OPEN_VALUE, message, leaf.line)
        for one in open_comments(open_marks, own):
            kind = ", which sops drops," if one.dropped else ""
            message = f"a comment{kind} is not encrypted"
            yield Finding(path, Code.OPEN_COMMENT, message, one.line)
        left: list[Leaf | Comment] = [one for one in open_there if not own(one)]
        left += [one for one in open_marks if not (one.dropped or own(one))]
        yield from _weaker(path, file, wanted, [one for one in left if rule(one)])
        if wanted is not None and _silent(wanted):
            yield from _by_default(path, [one for one in open_there if not rule(one)])
        return
    yield from _weaker(path, file, wanted, [])


def _selectors(file: SopsFile, wanted: Options | None) -> tuple[Selector, Selector]:
    """Return which values the file's options select, and which its rule does.

    A rule without selection options selects all values.  Without a rule, both are those
    of the file.
    """
    own = selector_of(file)
    if wanted is None or file.format is SopsFormat.BINARY:
        return own, own
    return own, selector(selection_of(wanted))


def _name(leaf: Leaf | Comment) -> str:
    """Return the key path of a value; sops never encrypts keys."""
    if isinstance(leaf, Comment):
        return "a comment"
    return printable_path(leaf.path)


def _selecting(options: Options) -> Options:
    kept = (o for o in options if o[0] in (*SELECTION, "mac_only_encrypted"))
    return canonical_options(kept)


def _weaker(
    path: str,
    file: SopsFile,
    wanted: Options | None,
    left: Sequence[Leaf | Comment],
) -> Iterator[Finding]:
    """Yield a finding if the file's options select less than its rule.

    `left` are the plaintext values that the rule selects.  If both have options and
    they differ, that is a finding as well: two regular expressions cannot be compared
    here.
    """
    if wanted is None or file.format is SopsFormat.BINARY:
        return
    if left:
        more = f" and {len(left) - 1} more" if len(left) > 1 else ""
        message = f"its selection options leave {_name(left[0])}{more} in plaintext"
        yield Finding(path, Code.WEAK_OPTIONS, message, left[0].line)
        return
    recorded, rule = _selecting(file.options), _selecting(wanted)
    if rule and recorded and recorded != rule:
        message = "its selection options are not those of its rule"
        yield Finding(path, Code.WEAK_OPTIONS, message)


def _silent(wanted: Options) -> bool:
    """Return whether a rule has no option that selects values."""
    return not any(name in SELECTION for name, _ in wanted)


def _by_default(path: str, left: Sequence[Leaf]) -> Iterator[Finding]:
    """Yield a finding if values are in plaintext because of sops' default suffix."""
    _, suffix = DEFAULT_OPTION
    found = by_default(left)
    if found:
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        message = f"{_name(found[0])}{more} is in plaintext: its key ends in {suffix}"
        yield Finding(path, Code.DEFAULT_SUFFIX, message, found[0].line)


def decrypted_from(old: str, secret: bytes, path: str, text: bytes) -> bool:
    """Return whether a text has every key of a sops file that another path was.

    For an age file, whose text has no keys, the name decides.
    """
    if looks_like_age(secret):
        return posixpath.basename(old).removesuffix(".age") == posixpath.basename(path)
    try:
        had, has = (
            {leaf.path for leaf in leaves(format_for(name), data, plaintext=plain)}
            for name, data, plain in ((old, secret, False), (path, text, True))
        )
    except SecretFileError:
        return False
    return bool(had) and had <= has
