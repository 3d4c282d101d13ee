"""A book of known keys: lookups from a key or a stanza's tag to its owner."""

from collections.abc import Iterable
from types import MappingProxyType

from nixsecrets.keys.recipients import KeyId, Recipient
from nixsecrets.keys.tags import SHARE_TAGGED, share_tag, stanza_tag


class KeyBook:
    """Immutable index of named keys.

    An ssh-ed25519 key and its X25519 form have the same name.
    """

    __slots__ = ("_by_tag", "_names", "recipients")

    recipients: tuple[Recipient, ...]
    """The distinct keys, in the order and in the form in which they were entered."""

    def __init__(self, entries: Iterable[tuple[str, Recipient]]) -> None:
        """Index (name, key) pairs; the first name of a key wins."""
        names: dict[KeyId, str] = {}
        by_tag: dict[tuple[str, str], tuple[Recipient, ...]] = {}
        known: dict[Recipient, None] = {}
        for name, recipient in entries:
            names.setdefault(recipient.key_id, name)
            if recipient in known:
                continue
            known[recipient] = None
            tagged = stanza_tag(recipient)
            if tagged:
                by_tag[tagged] = (*by_tag.get(tagged, ()), recipient)
        self.recipients = tuple(known)
        self._names = MappingProxyType(names)
        self._by_tag = MappingProxyType(by_tag)

    def by_tag(
        self, stanza: str, tag: str, share: bytes = b""
    ) -> tuple[Recipient, ...]:
        """Return the keys whose stanzas of type `stanza` carry `tag`.

        Tags have 32 bits, so two different keys with one tag are probably forged.  For
        `p256tag` and `mlkem768p256tag` the tag also depends on `share`, the
        encapsulated key in the stanza.
        """
        if stanza in SHARE_TAGGED:
            return tuple(
                recipient
                for recipient in self.recipients
                if share_tag(recipient, stanza, share) == tag
            )
        return self._by_tag.get((stanza, tag), ())

    def name(self, recipient: Recipient) -> str | None:
        """Return the name of the key's owner, for either form; None if unknown."""
        return self._names.get(recipient.key_id)

    def label(self, recipient: Recipient) -> str:
        """Return a short name of the key for messages: owner, else kind:tag or text."""
        name = self.name(recipient)
        if name is not None:
            return name
        tag = recipient.tag
        return f"{recipient.kind}:{tag}" if tag else recipient.shown
