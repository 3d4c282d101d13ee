"""A book of known keys: whose key is this, and whose tag.

Frozen lookups over (name, recipient) pairs; it parses nothing and decides nothing.
"""

from collections.abc import Iterable
from types import MappingProxyType

from nixsecrets.keys.recipients import KeyId, Recipient
from nixsecrets.keys.tags import SHARE_TAGGED, share_tag, stanza_tag


class KeyBook:
    """The keys that have a name; lookups ignore a key's form where they can."""

    __slots__ = ("_by_tag", "_names", "recipients")

    recipients: tuple[Recipient, ...]
    """Every key once, in the order it was entered, in the form it was entered."""

    def __init__(self, entries: Iterable[tuple[str, Recipient]]) -> None:
        """Take (name, key) pairs; the first name of a key counts."""
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

        More than one key is a coincidence of one in 2^32, or somebody's work.  For
        `p256tag` and `mlkem768p256tag` the tag depends on the `share` in the stanza.
        """
        if stanza in SHARE_TAGGED:
            return tuple(
                recipient
                for recipient in self.recipients
                if share_tag(recipient, stanza, share) == tag
            )
        return self._by_tag.get((stanza, tag), ())

    def name(self, recipient: Recipient) -> str | None:
        """Return the name that owns the key, in whatever form it is given."""
        return self._names.get(recipient.key_id)

    def label(self, recipient: Recipient) -> str:
        """Return what to call the key in a line of text: its name if it has one."""
        name = self.name(recipient)
        if name is not None:
            return name
        tag = recipient.tag
        return f"{recipient.kind}:{tag}" if tag else recipient.shown
