"""Decrypting the secrets that one git process shows, in the keeper.

Never prompts: that is left to the process at the terminal (`shared`), which sends the
unlocked identities.
"""

import hashlib
import os
from collections import OrderedDict

from nixsecrets.errors import IdentityError, NixsecretsError
from nixsecrets.files.decrypt import plaintext_of
from nixsecrets.files.kind import looks_like_age
from nixsecrets.keys.identities import (
    Identity,
    Keyring,
    Locked,
    PluginIdentity,
    parse_identities,
)
from nixsecrets.repo.gitunlock.client import (
    LEARN,
    PLUGINS,
    SHOW_LOCKED,
    TEXT,
    WANTED,
)
from nixsecrets.repo.gitunlock.shared import Room, not_shown

MOST_BYTES = 16 << 20
"""Bytes of cached texts, with a fixed overhead for each."""
_FOR_EACH = 256


class Texts:
    """Decrypts files with a keyring and its unlocked identities; caches the texts.

    git shows each version of a file twice, as the new and as the old one.
    """

    def __init__(self, ring: Keyring, room: Room) -> None:
        """Decrypt with `ring`."""
        plain = [one for one in ring.identities if not isinstance(one, PluginIdentity)]
        self._ring = Keyring(tuple(plain), ring.locked)
        self._has_plugins = len(plain) < len(ring.identities)
        self._room = room
        self._unlocked: dict[str, tuple[Identity, ...]] = {}
        self._texts = OrderedDict[bytes, bytes]()
        self.size = 0

    def answer(self, said: bytes) -> bytes:
        """Return the answer to a request of `client`."""
        kind, (first, _, rest) = said[:1], said[1:].partition(b"\0")
        if kind == LEARN:
            source = os.fsdecode(first)
            self._unlocked[source] = parse_identities(rest, source).identities
            return TEXT
        digest = hashlib.sha256(said[1:]).digest()
        text = self._texts.get(digest)
        if text is not None:
            self._texts.move_to_end(digest)
            return TEXT + text
        plugins = self._has_plugins and kind != SHOW_LOCKED
        try:
            text = self._text(os.fsdecode(first), rest, plugins=plugins)
        except _LeftToOthersError as left:
            return left.answer
        except NixsecretsError as error:
            return TEXT + not_shown(error, rest)
        self._remember(digest, text)
        return TEXT + text

    def _text(self, name: str, data: bytes, *, plugins: bool) -> bytes:
        """Return the text of a file; with `plugins`, they go before a passphrase."""

        def unlock(locked: Locked) -> tuple[Identity, ...]:
            if plugins:
                raise _LeftToOthersError(PLUGINS)
            if locked.source not in self._unlocked:
                raise _LeftToOthersError(WANTED + os.fsencode(locked.source))
            return self._unlocked[locked.source]

        try:
            if looks_like_age(data):
                return plaintext_of(name, data, self._ring, unlock, None)
            with self._room() as folder:
                return plaintext_of(name, data, self._ring, unlock, folder)
        except IdentityError:
            if plugins:
                raise _LeftToOthersError(PLUGINS) from None
            raise

    def _remember(self, digest: bytes, text: bytes) -> None:
        self._texts[digest] = text
        self.size += len(text) + _FOR_EACH
        while self.size > MOST_BYTES:
            _, oldest = self._texts.popitem(last=False)
            self.size -= len(oldest) + _FOR_EACH


class _LeftToOthersError(Exception):
    """A file needs a prompt; `answer` tells the client for what."""

    def __init__(self, answer: bytes) -> None:
        super().__init__()
        self.answer = answer
