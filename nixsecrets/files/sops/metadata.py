"""The metadata of sops files in all five formats, and the meaning of its fields.

`yaml`, `json` and `flat` parse it; the fields are those of
getsops/sops:stores/stores.go.  Their order is not relied on: it changed between sops
3.7 and 3.13.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from itertools import chain
from typing import assert_never

from nixsecrets.files.kind import SopsFormat as SopsFormat
from nixsecrets.files.kind import detect_format, format_for
from nixsecrets.files.sops import yaml
from nixsecrets.files.sops.selectors import Options as Options
from nixsecrets.files.sops.selectors import canonical_options as canonical_options
from nixsecrets.files.sops.spans import Block, items, refuse
from nixsecrets.files.sops.spans import Entries as Entries
from nixsecrets.files.sops.spans import Entry as Entry
from nixsecrets.frozen import NamedTuple
from nixsecrets.keys.foreign import ForeignKey
from nixsecrets.keys.sopsoptions import SELECTION as SELECTION
from nixsecrets.untrusted import limits

_CONSTANT = ("v1", "keys")  # parts of an address that are not fields


class ForeignEntry(NamedTuple):
    """The form of an entry for a key that is not age (getsops/sops:stores/stores.go).

    `prefix` is the prefix of such a key in the map.  `name` are the fields that
    identify the key, with the constant parts of its address; `others` are further
    fields.
    """

    prefix: str
    name: tuple[str, ...]
    others: tuple[str, ...] = ()

    @property
    def fields(self) -> frozenset[str]:
        """All fields of such an entry."""
        named = set(self.name).difference(_CONSTANT)
        return frozenset((*named, *self.others, "created_at", "enc"))


FOREIGN = {
    "pgp": ForeignEntry("pgp", ("fp",)),
    "kms": ForeignEntry("awskms", ("arn",), ("role", "context", "aws_profile")),
    "gcp_kms": ForeignEntry("gcpkms", ("resource_id",)),
    "hckms": ForeignEntry("hckms", ("key_id",)),
    "azure_kv": ForeignEntry(
        "azurekv", ("vault_url", "keys", "name", "version"), ("vaultUrl",)
    ),
    "hc_vault": ForeignEntry(
        "vault", ("vault_address", "v1", "engine_path", "keys", "key_name")
    ),
}
"""The entries of a file that are not age, by their field in the metadata."""


class _Read(NamedTuple):
    # a NamedTuple is created in a third of the time of a frozen dataclass
    format: SopsFormat
    text: str
    blocks: tuple[Block, ...]
    agree: bool
    groups: int
    others: tuple[ForeignKey, ...]
    hidden: bool
    mac: str
    lastmodified: str
    version: str
    options: Options


class SopsFile(_Read):
    """A sops file with its metadata; of several documents, that of the first.

    - `blocks`: the metadata of every document.
    - `agree`: whether all documents have the same entries.
    - `groups`: the number of key groups; with several, an `enc` has only a share of
      the data key.
    - `others`: the keys of entries that are not age (`pgp:85D7…`).
    - `hidden`: there are key groups in addition to age entries, which sops ignores.
    - `options`: the selection options (`canonical_options`).
    """

    def __repr__(self) -> str:
        """Show no text of the file."""
        return f"SopsFile({self.format}, others={self.others}, {self.options})"

    @property
    def data(self) -> bytes:
        """The bytes of the file."""
        return self.text.encode("utf-8", "surrogateescape")

    @cached_property
    def entries(self) -> Entries:
        """The age entries, in the order of the file."""
        return self.blocks[0].entries


def parse(path: str, data: bytes) -> SopsFile:
    """Parse the metadata of a file; `path` determines the format.

    Raises:
        SecretFileError: it is incomplete, or not formatted as by sops and formatters;
            the message does not depend on a file name.
        TooLargeError: it has more than `limits.ENTRIES` recipients.
    """
    require_readable(data)
    kind = format_for(path)
    if kind is SopsFormat.BINARY:
        kind = detect_format(data) or kind
    return parse_as(kind, data)


def parse_as(kind: SopsFormat, data: bytes) -> SopsFile:
    """Parse the metadata of a file whose format is known.

    Raises:
        SecretFileError: it is incomplete, or not formatted as by sops and formatters.
    """
    text = data.decode("utf-8", "surrogateescape")
    return _interpret(kind, text, _blocks(kind, text))


def require_readable(data: bytes) -> None:
    """Check the number of recipients without parsing.

    Raises:
        TooLargeError: there are more than `limits.ENTRIES`.
    """
    words = (b"BEGIN AGE ENCRYPTED FILE", b"created_at")
    if len(data) > limits.ENTRIES * len(words[1]):  # else it is too small for so many
        count = max(map(data.count, words))
        limits.check("the file", count, limits.ENTRIES, "recipients")


def _blocks(kind: SopsFormat, text: str) -> tuple[Block, ...]:
    if kind is SopsFormat.YAML and not text.lstrip().startswith("{"):
        return yaml.read(text)
    # only for files in these formats: most fleets have only YAML
    from nixsecrets.files.sops import flat as sops_flat
    from nixsecrets.files.sops import json

    match kind:
        case SopsFormat.YAML | SopsFormat.JSON | SopsFormat.BINARY:
            return json.read(text)
        case SopsFormat.DOTENV:
            return sops_flat.read_dotenv(text)
        case SopsFormat.INI:
            return sops_flat.read_ini(text)
        case _ as never:
            assert_never(never)


def _interpret(kind: SopsFormat, text: str, blocks: tuple[Block, ...]) -> SopsFile:
    block, foreign = blocks[0], [block.foreign for block in blocks]
    others = [list(_others(one)) if one else [] for one in foreign]
    own = bool(block.entries)
    flat = own or bool(_foreign_fields(foreign[0]))
    groups = 1 if flat else len(items(block.fields, "key_groups"))
    if not groups:
        refuse("has sops metadata without any recipient")
    values = block.values
    mac, lastmodified = _text(values, "mac"), _text(values, "lastmodified")
    if not mac or not lastmodified:
        refuse("has sops metadata without its MAC")
    return SopsFile(
        format=kind,
        text=text,
        blocks=blocks,
        agree=len(blocks) == 1 or _agree(blocks, others),
        groups=groups,
        others=tuple(dict.fromkeys(chain.from_iterable(others))),
        hidden=own and any("key_groups" in one for one in foreign),
        mac=mac,
        lastmodified=lastmodified,
        version=_text(values, "version"),
        options=_options(values),
    )


def _agree(blocks: tuple[Block, ...], others: Sequence[Sequence[ForeignKey]]) -> bool:
    """Return whether all documents have the same entries."""
    first = blocks[0].entries
    return all(
        block.entries == first and there == others[0]
        for block, there in zip(blocks, others, strict=True)
    )


def _text(values: Mapping[str, object], name: str) -> str:
    """Return a text field, stripped; "" if it is absent or null."""
    value = values.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        refuse(f"has sops metadata whose field {name} is not text")
    return value.strip()


def _others(fields: Mapping[str, object]) -> Iterator[ForeignKey]:
    """Yield the key of each entry that is not age, in all key groups.

    `fields` are the foreign fields of a document (`Block.foreign`).
    """
    for group in (fields, *_mappings(fields.get("key_groups"))):
        for name, entries in _foreign_fields(group):
            kind, parts, _ = FOREIGN[name]
            for entry in _mappings(entries) or [{}]:
                yield ForeignKey(kind, _address(entry, parts))


def _foreign_fields(fields: Mapping[str, object]) -> list[tuple[str, object]]:
    """Return the fields with foreign entries; sops ignores the case of their names."""
    return [(n.casefold(), v) for n, v in fields.items() if n.casefold() in FOREIGN]


def _mappings(value: object) -> list[Mapping[str, object]]:
    """Return the mappings in a list; sops accepts a single mapping as a list of one."""
    entries = value if isinstance(value, list) else [value]
    return [one for one in entries if isinstance(one, dict)]


def _address(entry: Mapping[str, object], parts: Iterable[str]) -> str:
    """Return the address that identifies a key, composed of fields of its entry."""
    found = {name.casefold(): value for name, value in entry.items()}
    texts = (part if part in _CONSTANT else found.get(part) for part in parts)
    words = [text.strip().strip("/") for text in texts if isinstance(text, str)]
    return "/".join(filter(None, words)) if set(words) - {"", *_CONSTANT} else ""


_canonical = lru_cache(maxsize=64)(canonical_options)


def _options(values: Mapping[str, object]) -> Options:
    named = [(name, _text(values, name)) for name in SELECTION if name in values]
    chosen: list[tuple[str, str | bool]] = [option for option in named if option[1]]
    if len(chosen) > 1:
        refuse("has sops metadata with two selection options")
    flag = values.get("mac_only_encrypted")
    if flag is True or (flag and str(flag).lower() in ("true", "1")):
        chosen.append(("mac_only_encrypted", True))
    return _canonical(tuple(chosen))


def chooses_others(
    file: SopsFile, options: Iterable[tuple[str, str | bool]] | None
) -> bool:
    """Return whether `options` differ from those of the file; False for None."""
    if options is None:
        return False
    return options_for(file.format, options) != options_for(file.format, file.options)


def options_for(kind: SopsFormat, options: Iterable[tuple[str, str | bool]]) -> Options:
    """Return the options that sops follows for this format (binary: none)."""
    return () if kind is SopsFormat.BINARY else canonical_options(options)
