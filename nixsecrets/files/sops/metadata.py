"""sops metadata: what an encrypted file says about itself, in all five formats.

Pure: bytes in, values out.  Knows where metadata stands (`sopsyaml`, `sopsjson`,
`sopsflat` read it) and what its fields mean (getsops/sops stores/stores.go); it opens
nothing and trusts no order of keys, which changed between sops 3.7 and 3.13.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import assert_never

from nixsecrets.files.kind import SopsFormat as SopsFormat
from nixsecrets.files.kind import format_for as format_for
from nixsecrets.files.kind import looks_like_sops as looks_like_sops
from nixsecrets.files.kind import sniffed
from nixsecrets.files.sops import flat as sops_flat
from nixsecrets.files.sops import json, quick, yaml
from nixsecrets.files.sops.entries import Entry as Entry
from nixsecrets.files.sops.entries import UsualEntries
from nixsecrets.files.sops.options import Options as Options
from nixsecrets.files.sops.options import canonical_options as canonical_options
from nixsecrets.files.sops.spans import Block, Node, items, refuse
from nixsecrets.files.sops.usual import Later, UsualBlock
from nixsecrets.keys.foreign import ForeignKey
from nixsecrets.keys.selection import SELECTION as SELECTION
from nixsecrets.untrusted import limits

# By field: how the map spells such a key, and which fields of an entry name it.
_FOREIGN = {
    "pgp": ("pgp", ("fp",)),
    "kms": ("awskms", ("arn",)),
    "gcp_kms": ("gcpkms", ("resource_id",)),
    "hckms": ("hckms", ("key_id",)),
    "azure_kv": ("azurekv", ("vault_url", "keys", "name", "version")),
    "hc_vault": ("vault", ("vault_address", "v1", "engine_path", "keys", "key_name")),
}
_CONSTANT = ("v1", "keys")  # parts of an address that are no fields


@dataclass(frozen=True, slots=True)
class SopsFile:
    """What the metadata of one file says; with several documents, the first one.

    `blocks` has the metadata of every document; `agree` tells whether all name the
    same entries.  `groups` counts key groups: with more than one, an `enc` holds only
    a share of the data key.  `others` describes entries that are not age
    (`pgp:85D7…`).  `options` are in the canonical form of `canonical_options`.
    """

    format: SopsFormat
    text: str = field(repr=False)
    blocks: tuple[Block, ...] = field(repr=False)
    entries: Sequence[Entry]
    agree: bool
    groups: int
    others: tuple[ForeignKey, ...]
    hidden: bool
    mac: str = field(repr=False)
    lastmodified: str
    version: str
    options: Options

    @property
    def data(self) -> bytes:
        """The bytes of the file."""
        return self.text.encode("utf-8", "surrogateescape")


def parse(path: str, data: bytes) -> SopsFile:
    """Read the metadata of a file.

    Raises:
        SecretFileError: it is not whole, or not spelled as sops and formatters do.
            The message says what is wrong in words that need no file name.

    """
    limits.check("the file", _entries(data), limits.ENTRIES, "recipients")
    found = quick.metadata(path, data)
    entries = found and found.entries()
    if found and entries:
        return _usual(found, entries, data.decode("utf-8", "surrogateescape"))
    kind = format_for(path)
    if kind is SopsFormat.BINARY:
        kind = sniffed(data) or kind
    return parse_as(kind, data)


def parse_as(kind: SopsFormat, data: bytes) -> SopsFile:
    """Read the metadata of a file whose format is known; raises as `parse`."""
    text = data.decode("utf-8", "surrogateescape")
    return _interpret(kind, text, _blocks(kind, text))


def _entries(data: bytes) -> int:
    """Return how many recipients the metadata can name, before it is parsed."""
    return max(map(data.count, (b"BEGIN AGE ENCRYPTED FILE", b"created_at")))


def _usual(found: quick.Metadata, entries: UsualEntries, text: str) -> SopsFile:
    """Return the same for a file that is spelled exactly as sops does."""
    # what follows the entries is ASCII: as many characters as bytes
    end = len(text) - found.behind
    block = UsualBlock(text, Later(text), end, found.enc_first)
    return SopsFile(
        format=SopsFormat.YAML,
        text=text,
        blocks=(block,),
        entries=entries,
        agree=True,
        groups=1,
        others=(),
        hidden=False,
        mac=found.mac,
        lastmodified=found.lastmodified,
        version=found.version,
        options=found.options,
    )


def _blocks(kind: SopsFormat, text: str) -> tuple[Block, ...]:
    match kind:
        case SopsFormat.YAML if text.lstrip().startswith("{"):
            return json.read(text)
        case SopsFormat.YAML:
            return yaml.read(text)
        case SopsFormat.JSON | SopsFormat.BINARY:
            return json.read(text)
        case SopsFormat.DOTENV:
            return sops_flat.read_dotenv(text)
        case SopsFormat.INI:
            return sops_flat.read_ini(text)
        case _ as never:
            assert_never(never)


def _interpret(kind: SopsFormat, text: str, blocks: tuple[Block, ...]) -> SopsFile:
    fields = blocks[0].fields
    slots = blocks[0].slots
    others = tuple(dict.fromkeys(key for block in blocks for key in _others(block)))
    flat = bool(slots or _foreign_fields(blocks[0].foreign))
    groups = 1 if flat else len(items(fields, "key_groups"))
    if not groups:
        refuse("has sops metadata without any recipient")
    mac, lastmodified = _text(fields, "mac"), _text(fields, "lastmodified")
    if not mac or not lastmodified:
        refuse("has sops metadata without its MAC")
    seen = [(slot.label.value, slot.enc.value) for slot in slots]
    return SopsFile(
        format=kind,
        text=text,
        blocks=blocks,
        entries=tuple(_entry(str(label), str(enc)) for label, enc in seen),
        agree=all(
            [(slot.label.value, slot.enc.value) for slot in block.slots] == seen
            and list(_others(block)) == list(_others(blocks[0]))
            for block in blocks[1:]
        ),
        groups=groups,
        others=others,
        hidden=bool(slots) and any("key_groups" in block.foreign for block in blocks),
        mac=mac,
        lastmodified=lastmodified,
        version=_text(fields, "version"),
        options=_options(fields),
    )


def _entry(label: str, enc: str) -> Entry:
    return Entry(label, enc.strip() + "\n")


def _text(fields: Mapping[str, Node], name: str) -> str:
    """Return a text field, empty where it is absent or null."""
    value = fields[name].value if name in fields else None
    if value is None:
        return ""
    if not isinstance(value, str):
        refuse(f"has sops metadata whose field {name} is not text")
    return value.strip()


def _others(block: Block) -> Iterator[ForeignKey]:
    """Yield the key of each entry that is not age, whatever group it stands in."""
    fields = block.foreign
    for group in (fields, *_mappings(fields.get("key_groups"))):
        for name, entries in _foreign_fields(group):
            kind, parts = _FOREIGN[name]
            for entry in _mappings(entries) or [{}]:
                yield ForeignKey(kind, _address(entry, parts))


def _foreign_fields(fields: Mapping[str, object]) -> list[tuple[str, object]]:
    """Return the fields that hold such entries; sops reads them in any letter case."""
    return [(n.casefold(), v) for n, v in fields.items() if n.casefold() in _FOREIGN]


def _mappings(value: object) -> list[Mapping[str, object]]:
    """Return the mappings of a list; sops takes one alone for a list of one."""
    entries = value if isinstance(value, list) else [value]
    return [one for one in entries if isinstance(one, dict)]


def _address(entry: Mapping[str, object], parts: Iterable[str]) -> str:
    """Return what identifies a key, spelled from the fields of an entry."""
    found = {name.casefold(): value for name, value in entry.items()}
    texts = (part if part in _CONSTANT else found.get(part) for part in parts)
    words = [text.strip().strip("/") for text in texts if isinstance(text, str)]
    return "/".join(filter(None, words)) if set(words) - {"", *_CONSTANT} else ""


def _options(fields: Mapping[str, Node]) -> Options:
    named = [(name, _text(fields, name)) for name in SELECTION if name in fields]
    chosen: list[tuple[str, str | bool]] = [option for option in named if option[1]]
    if len(chosen) > 1:
        refuse("has sops metadata with two selection options")
    flag = fields["mac_only_encrypted"].value if "mac_only_encrypted" in fields else ""
    if flag is True or str(flag).lower() in ("true", "1"):
        chosen.append(("mac_only_encrypted", True))
    return canonical_options(chosen)
