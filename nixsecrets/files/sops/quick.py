"""The quick look at a sops file: YAML of one document, spelled exactly as sops does.

One pass of regular expressions instead of a parser, for `check` over ten thousand
files.  Every byte of the metadata is looked at, every `enc` is decoded; whatever is
spelled in any other way is declined, and the readers in `sopsmeta` look closely.  Where
this one answers, it answers what they would.
"""

import binascii
import re
from functools import lru_cache
from typing import NamedTuple

from nixsecrets.files.age import header
from nixsecrets.files.kind import SopsFormat, format_for
from nixsecrets.files.sops.entries import ENTRY, PAD, UsualEntries
from nixsecrets.files.sops.options import (
    LeftOpen,
    Options,
    canonical_options,
    unusable,
)
from nixsecrets.files.sops.token import (
    MAC_PATTERN,
    MARK,
    TOKEN_PATTERN,
    any_misfitting,
    any_typed,
)
from nixsecrets.keys.selection import SELECTION

_WHEN = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
_VERSION = r"\d+\.\d+\.\d+"
_YAML_VALUES = re.compile(
    r"(?:[ ]*+(?:- )*+(?:(?:[A-Za-z_][\w./-]*+|\"[^\"\\\n]++\"):(?: |(?=\n)))?+"
    rf"(?:{TOKEN_PATTERN}|\"\"|null)?+(?: #{TOKEN_PATTERN})?+\n"
    rf"|[ ]*+#(?:{TOKEN_PATTERN})?+\n|\n)*+"
)
_LARGEST = 8 << 20  # of the metadata: `limits` has the number of entries

# What stands around the entries, in the order of the fields in sops (stores/stores.go).
_BEFORE = re.compile(
    rb"(?:    (?:kms|gcp_kms|hckms|azure_kv|hc_vault): \[\]\n)*+    age:\n"
)
_OPTION = rb"(?:    (%b): (?!null|Null|NULL)([\w^(./\\][\w^$()|.*+?/\\-]*+)\n)?+"
_MAC_ONLY = rb"(    mac_only_encrypted: true\n)?+"
_AFTER = re.compile(
    rb'%b    lastmodified: "(%b)"\n    mac: (%b)\n%b(?:    pgp: \[\]\n)?+%b%b'
    rb"    version: (%b)\n"
    % (
        _OPTION % b"|".join(n.encode() for n in SELECTION if n.startswith("encrypted")),
        _WHEN.encode(),
        MAC_PATTERN.encode(),
        _MAC_ONLY,
        _OPTION % "|".join(SELECTION).encode(),
        _MAC_ONLY,
        _VERSION.encode(),
    )
)
# By the length of its lines in the file, indented, five or six of them: the size of the
# age file of an X25519, of an ssh-ed25519 reader.
_SIZES = {312 + 4 * len(PAD): 232, 328 + 5 * len(PAD): 244}


class Metadata(NamedTuple):
    """The metadata as it is spelled: of each entry its label and its lines of base64.

    The lines are still indented, and nothing was decoded yet.  `values` is what stands
    above.  The entries end `behind` bytes before the file does; `enc_first` is their
    order since sops 3.13.
    """

    values: bytes
    labels: list[bytes]
    encs: list[bytes]
    lastmodified: str
    mac: str
    version: str
    options: Options
    behind: int
    enc_first: bool

    def entries(self) -> UsualEntries | None:
        """Return label and `enc` of each entry as the readers of `sopsmeta` do.

        None where there is something else than base64 between the lines' ends.
        """
        found = UsualEntries(self.labels, self.encs)
        return found if found.in_base64 else None


class Shown(NamedTuple):
    """What a file shows of its readers: of each entry its label, its stanza's head.

    A head is one of `AgeFile.heads`.  `whole` says that
    all values are encrypted, and all comments; False says nothing.  `typed` is of
    `any_typed`.
    """

    labels: tuple[bytes, ...]
    heads: tuple[bytes, ...]
    options: Options
    whole: bool
    left_open: LeftOpen = LeftOpen()
    typed: bool = False


# One object for all files that show the same: it crosses a pipe once for each share.
_shown = lru_cache(maxsize=1024)(Shown)
Look = tuple[Shown, tuple[bytes, ...]]
"""What a file shows, one value for all that show the same; and its own tags.

These end the payloads of its entries, and its MAC: equal ones belong to copies.
"""
_MAC_END = len("tag:0123456789012345678901==,type:str]")


def metadata(path: str, data: bytes) -> Metadata | None:
    """Take a sops file apart, None where it is not spelled exactly as sops does."""
    values, key, block = data.partition(b"\nsops:\n")
    if not key or len(block) > _LARGEST or not _plain_document(path, values):
        return None
    enc_first = block.find(b"- enc: |", 0, 200) >= 0
    before, *entries = ENTRY[enc_first].split(block)
    if not entries or any(entries[2:-1:3]) or not _BEFORE.fullmatch(before):
        return None
    fields = _fields_behind(entries[-1])
    labels, encs = entries[0:-1:3], entries[1:-1:3]
    if enc_first:
        labels, encs = encs, labels
    return fields and Metadata(
        values, labels, encs, *fields, behind=len(entries[-1]), enc_first=enc_first
    )


def appended(path: str, old: bytes, new: bytes, entries: UsualEntries) -> bool:
    """Tell whether `new` is `old` with more entries behind its own, and has just these.

    It is spelled exactly as sops does, and compared with what sops would have written,
    which is faster than to read it.  False says nothing.
    """
    values, key, block = new.partition(b"\nsops:\n")
    before = _BEFORE.match(block)
    if not key or not before or not len(entries) or not _plain_document(path, values):
        return False
    start = before.end()
    enc_first = block.startswith(b"        - enc: |", start)
    spelled = entries.spelled(enc_first=enc_first)
    if not block.startswith(spelled, start):
        return False
    behind = block[start + len(spelled) :]
    kept = len(old) - len(behind)  # up to here, where its entries end
    return (
        kept > len(new) - len(block) + start
        and new.startswith(old[:kept])
        and old.endswith(behind)
        and _fields_behind(behind) is not None
    )


def _fields_behind(text: bytes) -> tuple[str, str, str, Options] | None:
    """Return what stands behind the entries: time, MAC, version and options."""
    fields = _AFTER.fullmatch(text)
    if not fields:
        return None
    when, mac, version = fields.group(3, 4, 9)
    options = _options(fields.group(1, 2), fields.group(6, 7), fields.group(5, 8))
    if options is None:
        return None
    return when.decode(), mac.decode(), version.decode(), options


def look(path: str, data: bytes) -> Look | None:
    """Take a sops file in, None where it is not spelled exactly as sops spells it."""
    found = metadata(path, data)
    if found is None:
        return None
    stanzas = [stanza for enc in found.encs if (stanza := _decoded(enc))]
    if len(stanzas) != len(found.encs):
        return None
    text = found.values.decode("utf-8", "surrogateescape")
    whole = MARK in text and _YAML_VALUES.fullmatch(text + "\n") is not None
    whole = whole and not any_misfitting(text)
    open_there = LeftOpen()
    if not whole:
        from nixsecrets.files.sops.selection import left_open  # which few files need

        open_there = left_open(SopsFormat.YAML, data, found.options)
    shown = _shown(
        labels=tuple(found.labels),
        heads=tuple([stanza[1] for stanza in stanzas]),
        options=found.options,
        whole=whole,
        left_open=open_there,
        typed=any_typed(text),
    )
    tags = [stanza[2] for stanza in stanzas]
    return shown, (*tags, mac_print(found.mac))


def mac_print(mac: str) -> bytes:
    """Return the end of a MAC, its tag: entries may be new, and the data key old."""
    return mac[-_MAC_END:].encode()


def _decoded(enc: bytes) -> "re.Match[bytes] | None":
    """Return the age file that lines of base64 stand for, if it is a usual one.

    What is no base64 is passed over, ends of lines too.  Anything else that was leaves
    fewer bytes than a file has that takes so many lines.
    """
    try:
        binary = binascii.a2b_base64(enc)
    except ValueError:
        return None
    whole = len(binary) == _SIZES.get(len(enc))
    return header.ENC.fullmatch(binary) if whole else None


def _plain_document(path: str, values: bytes) -> bool:
    """Tell whether nothing above the metadata can be of any meaning to its reader."""
    return (
        format_for(path) is SopsFormat.YAML
        and values[:1].isalnum()
        and b"sops" not in values
        and b"\n---" not in values
        and b"\n..." not in values
    )


@lru_cache(maxsize=1024)
def _options(
    first: tuple[bytes | None, bytes | None],
    last: tuple[bytes | None, bytes | None],
    mac_only: tuple[bytes | None, bytes | None],
) -> Options | None:
    """Return the options in canonical form, None where one is there twice or unusable.

    Where they stand: sops has sorted its fields since 3.13.
    """
    chosen = [(name, value) for name, value in (first, last) if name and value]
    if len(chosen) > 1 or all(mac_only):
        return None
    found: list[tuple[str, str | bool]] = [(n.decode(), v.decode()) for n, v in chosen]
    if unusable(found):
        return None
    if any(mac_only):
        found.append(("mac_only_encrypted", True))
    return canonical_options(found)
