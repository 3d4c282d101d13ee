"""One secret of two branches as one: whose bytes to start from, for whom, with what.

The data key of the result is one that nobody knows whom a side removed: where a version
has such a key it is kept (its ciphertexts, too), else the file gets a fresh one.
"""

from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType

from nixsecrets.errors import SecretFileError, UsageError, path_text
from nixsecrets.files.age import header
from nixsecrets.files.kind import format_for
from nixsecrets.files.sops import metadata, selection
from nixsecrets.files.sops.selectors import Options, selection_of
from nixsecrets.files.sops.values import leaves
from nixsecrets.files.state import Actual, Damaged
from nixsecrets.frozen import NamedTuple, field, frozen
from nixsecrets.keys.forms import Backend
from nixsecrets.keys.recipients import KeyId
from nixsecrets.map.model import Reader
from nixsecrets.merge import valuemerge
from nixsecrets.merge.valuemerge import WHOLE, Did
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


@frozen
class Plaintext:
    """A version of a secret that is not encrypted."""

    data: bytes = field(repr=False)


OPTIONS = "sops options"
"""Names the selection options of a sops file among its conflicts."""
_OPENED = "one side has it encrypted, the sops options of the other do not"
Found = Version | Damaged | Plaintext | None
Open = Callable[[Version], bytes]
"""Decrypts a version; raises IdentityError."""


class Clash(NamedTuple):
    """Values that both sides changed; `keys` as `--key` takes them, WHOLE: the file.

    `did` says of a key what each side did, if it did not change it.  `sides` are those
    that can be chosen, of the file as a `whole` or of each key.
    """

    keys: tuple[str, ...]
    reason: str = "both sides changed it"
    did: Mapping[str, Did] = MappingProxyType({})
    sides: tuple[str, ...] = ("ours", "theirs")
    whole: bool = False


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
    text: bytes | None = None,
) -> Result:
    """Return what becomes of a secret.

    `sides` are the base, ours and theirs; `target` its readers after the merge; `text`
    is what a person made of both, if somebody did.

    Raises:
        IdentityError: no identity opens a version that has to be opened.
        UsageError: a choice names what is not in conflict.
    """
    base, ours, theirs = sides
    whole = choices.get(WHOLE)
    if whole is not None:
        chosen = theirs if whole == "theirs" else ours
        if isinstance(chosen, Plaintext):
            text = chosen.data
        else:
            ours = theirs = chosen
    known, mine, other = (
        one if isinstance(one, Version) else None for one in (base, ours, theirs)
    )
    if text is None and not (_readable(ours) and _readable(theirs)):
        refuse_unknown(path, choices, ())
        return _unreadable(ours, theirs)
    start = mine or other or known
    if text is not None and start is not None and not (mine and other):
        return Made(Action.REENCRYPT, start, text, start.found.options)
    if mine is None or other is None:
        refuse_unknown(path, choices, ())
        return _one_side(known, mine, other, target, opened)
    return _Merge(path, known, mine, other, target, opened, choices, text).result()


def refuse_unknown(path: str, choices: Mapping[str, str], met: Collection[str]) -> None:
    """Refuse choices of keys that are not among those in conflict.

    Raises:
        UsageError: there is one.
    """
    for key in choices:
        if key != WHOLE and key not in met:
            there = ", ".join(map(path_text, met))
            raise UsageError(
                f"{path_text(path)}: {path_text(key)} is not in conflict",
                f"in conflict: {there}" if there else "nothing in it is: leave it out",
            )


def _readable(side: Found) -> bool:
    return not isinstance(side, Damaged | Plaintext)


def _unreadable(ours: Found, theirs: Found) -> Clash:
    """Return the conflict of versions of which one is corrupt or not encrypted."""
    words = {Damaged: "has it damaged", Plaintext: "has it in plaintext"}
    did = Did(*(words.get(type(one), "changed it") for one in (ours, theirs)))
    sides = (("ours", ours), ("theirs", theirs))
    whole = tuple(name for name, one in sides if not isinstance(one, Damaged))
    return Clash((WHOLE,), "one side has it damaged", {WHOLE: did}, whole)


def _one_side(
    base: Version | None,
    mine: Version | None,
    other: Version | None,
    target: tuple[Reader, ...],
    opened: Open,
) -> Result:
    """Return what becomes of a file that a side deleted, or only one has."""
    left = mine or other
    if left is None:
        return None
    if base is None:
        return for_readers(left, base, target)
    if same_content(base, left, opened):
        return None
    did = Did(theirs="deleted it") if mine else Did(ours="deleted it")
    return Clash((WHOLE,), "one side changed it, the other deleted it", {WHOLE: did})


class _Merge(NamedTuple):
    """The versions of one file, and what its readers shall be."""

    path: str
    base: Version | None
    ours: Version
    theirs: Version
    target: tuple[Reader, ...]
    opened: Open
    choices: Mapping[str, str]
    text: bytes | None = None

    def result(self) -> Result:
        refusal = self.ours.found.refusal or self.theirs.found.refusal
        if refusal is not None:
            return Clash((WHOLE,), refusal)
        if self.ours.found.backend is not self.theirs.found.backend:
            return Clash((WHOLE,), "one side made it a file of the other backend")
        options = self._options()
        if options is None:
            return Clash((OPTIONS,), "both sides select values otherwise")
        opened = [
            key for side in (self.ours, self.theirs) for key in opens(side, options)
        ]
        if opened:
            return Clash(tuple(dict.fromkeys(opened)), _OPENED, whole=True)
        start = self._safe() or self.ours
        if self.text is not None:
            return Made(Action.REENCRYPT, start, self.text, options)
        met = [OPTIONS] if self._options_differ() else []
        holder = self._holder()
        if holder is not None:
            refuse_unknown(self.path, self.choices, met)
            return self._from(holder, options)
        base, ours, theirs = map(self._text, (self.base, self.ours, self.theirs))
        made = valuemerge.merged(self._format(), base, ours, theirs, self.choices)
        refuse_unknown(self.path, self.choices, (*met, *made.met))
        if made.clashes:
            did = made.did
            if self.base is None and made.clashes == (WHOLE,):
                did = {WHOLE: Did("created it", "created it")}
            return Clash(made.clashes, did=did)
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
        if mine == had:
            return other
        chosen = self.choices.get(OPTIONS)
        return {None: None, "ours": mine, "theirs": other}[chosen]

    def _options_differ(self) -> bool:
        mine, other = self.ours.found.options, self.theirs.found.options
        had = self.base.found.options if self.base is not None else None
        return len({mine, other}) > 1 and had not in (mine, other)

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
