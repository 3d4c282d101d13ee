"""One secret of two branches as one: whose bytes to start from, for whom, with what.

The data key of the result is one that nobody knows whom a side removed: where a version
has such a key it is kept (its ciphertexts, too), else the file gets a fresh one.
"""

from collections.abc import Callable, Mapping

from nixsecrets.errors import SecretFileError
from nixsecrets.files.age import header
from nixsecrets.files.kind import format_for
from nixsecrets.files.sops import metadata, selection
from nixsecrets.files.sops.selectors import Options, selection_of
from nixsecrets.files.sops.values import leaves
from nixsecrets.files.state import Actual, Damaged, NotSecret
from nixsecrets.frozen import NamedTuple, field, frozen
from nixsecrets.keys.forms import Backend
from nixsecrets.keys.recipients import KeyId
from nixsecrets.map.model import Reader
from nixsecrets.merge import valuemerge
from nixsecrets.merge.valuemerge import WHOLE
from nixsecrets.plan.model import Action


@frozen
class Version:
    """A version of a secret: its bytes and what they show."""

    data: bytes = field(repr=False)
    found: Actual

    @property
    def keys(self) -> frozenset[KeyId]:
        """The keys of its readers."""
        return frozenset(r.key_id for r in self.found.recipients)


_OPENED = "one side has it encrypted, the sops options of the other do not"
Found = Version | Damaged | NotSecret | None
Open = Callable[[Version], bytes]
"""Decrypts a version; raises IdentityError."""


class Clash(NamedTuple):
    """Values that both sides changed; `keys` as `--key` takes them, WHOLE: the file."""

    keys: tuple[str, ...]
    reason: str = "both sides changed it"


class Made(NamedTuple):
    """How the merged file is made: `action` on the bytes of `start`.

    `content` is the plaintext of both sides, None where that of `start` stays.
    """

    action: Action
    start: Version
    content: bytes | None = None
    options: Options = ()

    def __repr__(self) -> str:
        """Show what is done, no content."""
        return f"Made({self.action})"


Result = Made | Clash | None
"""None: the file is gone."""


def merged(
    path: str,
    sides: tuple[Found, Found, Found],
    target: tuple[Reader, ...],
    opened: Open,
    choices: Mapping[str, str],
) -> Result:
    """Return what becomes of a secret.

    `sides` are the base, ours and theirs; `target` its readers after the merge.

    Raises:
        IdentityError: no identity opens a version that has to be opened.
    """
    base, ours, theirs = sides
    whole = choices.get(WHOLE)
    if whole is not None:
        chosen = theirs if whole == "theirs" else ours
        sides = (base, chosen, chosen)
        base, ours, theirs = sides
    for side in (ours, theirs):
        if isinstance(side, Damaged | NotSecret):
            what = side.reason if isinstance(side, Damaged) else "is not encrypted"
            return Clash((WHOLE,), f"a side has it damaged: {what}")
    known = base if isinstance(base, Version) else None
    mine = ours if isinstance(ours, Version) else None
    other = theirs if isinstance(theirs, Version) else None
    if mine is None or other is None:
        return _one_side(known, mine or other, target, opened)
    return _Merge(path, known, mine, other, target, opened, choices).result()


def _one_side(
    base: Version | None,
    left: Version | None,
    target: tuple[Reader, ...],
    opened: Open,
) -> Result:
    """Return what becomes of a file that a side deleted, or only one has."""
    if left is None:
        return None
    if base is None:
        return for_readers(left, base, target)
    if same_content(base, left, opened):
        return None
    return Clash((WHOLE,), "one side changed it, the other deleted it")


class _Merge(NamedTuple):
    """The versions of one file, and what its readers shall be."""

    path: str
    base: Version | None
    ours: Version
    theirs: Version
    target: tuple[Reader, ...]
    opened: Open
    choices: Mapping[str, str]

    def result(self) -> Result:
        refusal = self.ours.found.refusal or self.theirs.found.refusal
        if refusal is not None:
            return Clash((WHOLE,), refusal)
        if self.ours.found.backend is not self.theirs.found.backend:
            return Clash((WHOLE,), "one side made it a file of the other backend")
        options = self._options()
        if options is None:
            return Clash(("sops options",), "both sides select values otherwise")
        opened = [
            key for side in (self.ours, self.theirs) for key in opens(side, options)
        ]
        if opened:
            return Clash(tuple(dict.fromkeys(opened)), _OPENED)
        holder = self._holder()
        if holder is not None:
            return self._from(holder, options)
        base, ours, theirs = map(self._text, (self.base, self.ours, self.theirs))
        made = valuemerge.merged(self._format(), base, ours, theirs, self.choices)
        if made.clashes:
            return Clash(made.clashes)
        start = self._safe() or self.ours
        return Made(Action.REENCRYPT, start, made.text, options)

    def _text(self, side: Version | None) -> bytes:
        return b"" if side is None else self.opened(side)

    def _format(self) -> metadata.SopsFormat | None:
        if self.ours.found.backend is Backend.AGE:
            return None
        return format_for(self.path)

    def _options(self) -> Options | None:
        """Return the selection options of the merged file, None where they clash."""
        mine, other = self.ours.found.options, self.theirs.found.options
        had = self.base.found.options if self.base is not None else None
        if mine == other or other == had:
            return mine
        return other if mine == had else None

    def _holder(self) -> Version | None:
        """Return the version that has the content of both, None where none has."""
        if same_content(self.ours, self.theirs, self.opened):
            return self._safe() or self.ours
        if self.base is None:
            return None
        if same_content(self.base, self.theirs, self.opened):
            return self.ours
        if same_content(self.base, self.ours, self.opened):
            return self.theirs
        return None

    def _safe(self) -> Version | None:
        """Return the version whose symmetric key nobody knows who shall not.

        The one that a side rotated first, then one that has its readers already.
        """
        wanted = {reader.recipient for reader in self.target}

        def rank(version: Version) -> tuple[bool, bool]:
            old = self.base is not None and same_key(version, self.base)
            return old, set(version.found.recipients) != wanted

        versions = [
            v for v in (self.ours, self.theirs) if is_safe(v, self.base, self._keys)
        ]
        return min(versions, key=rank, default=None)

    @property
    def _keys(self) -> frozenset[KeyId]:
        return frozenset(reader.recipient.key_id for reader in self.target)

    def _from(self, holder: Version, options: Options) -> Result:
        """Return how the file is made from the version that has the content."""
        safe = self._safe()
        sops = holder.found.backend is Backend.SOPS
        rotated = safe is not None and not same_key(safe, holder)
        if sops and safe is not None and rotated and safe is not holder:
            # a removal rotated the key on one side, the other changed values under the
            # old one: its values, under the new key
            keeps = is_safe(holder, self.base, self._keys) and not self._outdated(
                holder
            )
            if not keeps:
                content = self.opened(holder)
                return Made(Action.REENCRYPT, safe, content, options)
        if holder.found.options != options:
            content = self.opened(holder)
            return Made(Action.REENCRYPT, holder, content, options)
        return for_readers(holder, self.base, self.target)

    def _outdated(self, version: Version) -> bool:
        """Return whether a side replaced the key that this version still has."""
        return self.base is not None and same_key(version, self.base)


def opens(version: Version, options: Options) -> list[str]:
    """Return the values that a version has encrypted and `options` leave in plaintext.

    By their key paths.
    """
    if version.found.backend is Backend.AGE or version.found.options == options:
        return []
    file = metadata.parse(version.found.path, version.data)
    found = selection.opened_by(leaves(file.format, file.data), selection_of(options))
    return ["/".join(leaf.path) for leaf in found]


def for_readers(
    version: Version, base: Version | None, target: tuple[Reader, ...]
) -> Made:
    """Return how a version comes to its readers."""
    wanted = {reader.recipient for reader in target}
    have = set(version.found.recipients)
    keys = frozenset(recipient.key_id for recipient in wanted)
    options = version.found.options
    if not is_safe(version, base, keys):
        return Made(Action.REENCRYPT, version, None, options)
    if have == wanted:
        return Made(Action.TAKE, version, None, options)
    if version.keys <= keys and not (version.keys == keys and have != wanted):
        return Made(Action.GRANT, version, None, options)
    return Made(Action.REENCRYPT, version, None, options)


def is_safe(version: Version, base: Version | None, keys: frozenset[KeyId]) -> bool:
    """Return whether only `keys` know the symmetric key of a version.

    Whoever read the base knows it too, if it is the same.
    """
    if not version.found.recipients:  # they are unknown
        return False
    inherits = base is not None and same_key(version, base)
    known = version.keys | (base.keys if base is not None and inherits else frozenset())
    return known <= keys


def same_key(one: Version, other: Version) -> bool:
    """Return whether two versions have the same symmetric key, as far as that shows."""
    if one.found.backend is not other.found.backend:
        return False
    if one.found.backend is Backend.AGE:
        return _body(one) == _body(other)  # edits and re-encryptions make a new one
    entries = [
        {enc for _, enc in metadata.parse(v.found.path, v.data).entries}
        for v in (one, other)
    ]
    return not entries[0].isdisjoint(entries[1])


def same_content(one: Version, other: Version, opened: Open) -> bool:
    """Return whether two versions hold the same, by their bytes where those tell.

    Raises:
        IdentityError: they do not, and no identity opens one.
    """
    if _body(one) == _body(other):
        return True
    return opened(one) == opened(other)


def _body(version: Version) -> object:
    """Return the part of a file that a grant leaves as it is."""
    if version.found.backend is Backend.AGE:
        return bytes(header.parse(version.data).payload)
    try:
        return metadata.parse(version.found.path, version.data).mac
    except SecretFileError:
        return version.data
