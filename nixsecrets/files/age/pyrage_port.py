"""pyrage with our types and errors: for payloads, and for recipients only it supports.

It uses neither pyrage's file functions, which truncate their output before they check
anything, nor its `decrypt`, which takes time quadratic in the size of the header.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from io import BytesIO
from typing import TYPE_CHECKING, Any, Protocol, assert_never

from nixsecrets.errors import IdentityError, KeyFormatError, SecretFileError
from nixsecrets.frozen import frozen, replace
from nixsecrets.keys.identities import Identity, PluginIdentity
from nixsecrets.keys.plugins import PluginTalk, Silence
from nixsecrets.keys.recipients import Kind, Recipient

if TYPE_CHECKING:
    from nixsecrets.files.age.plugin import Write

_NO_MATCH = "No matching keys found"
_BAD_MAC = "Header MAC is invalid"
_RESTORE = "restore it from git, or encrypt the secret again"


def encrypt(plaintext: bytes, recipients: Sequence[Recipient]) -> bytes:
    """Return an age file without armor, its stanzas in the order of `recipients`.

    Raises:
        KeyFormatError: pyrage or a plugin cannot encrypt to one of the recipients.
    """
    sealed = BytesIO()
    names = [name for recipient in recipients for name in _plugin_of(recipient)]
    if names:
        from nixsecrets.files.age import plugin  # as below

        def seal(_talk: PluginTalk, write: "Write") -> None:
            write(_encrypt(plaintext, recipients))

        plugin.supervised(" and ".join(names), Silence(), seal, sealed.write)
        return sealed.getvalue()
    return _encrypt(plaintext, recipients)


def _plugin_of(recipient: Recipient) -> Iterator[str]:
    """Yield the name of the plugin that a recipient needs, if it needs one."""
    if recipient.kind is Kind.PLUGIN:
        yield recipient.key.partition(b"\0")[0].decode().removeprefix("age1")


def _encrypt(plaintext: bytes, recipients: Sequence[Recipient]) -> bytes:
    import pyrage  # 5 ms; `check` and the hook never use it

    with _no_panic():
        try:
            theirs = [_recipient(recipient) for recipient in recipients]
            sealed: bytes = pyrage.encrypt(plaintext, theirs)
        except (pyrage.RecipientError, pyrage.EncryptError) as error:
            raise KeyFormatError(
                f"cannot encrypt to all recipients: {_first_line(error)}",
                "install the age plugin that a recipient needs, or remove it",
            ) from None
    return sealed


class NotAReaderError(IdentityError):
    """No identity decrypts the file."""


def decrypt(binary: bytes, identities: Sequence[Identity]) -> bytes:
    """Return the plaintext of a file without armor.

    Raises:
        NotAReaderError: no identity decrypts it.
        SecretFileError: header or payload are corrupt or were tampered with.
        IdentityError: the plugin of an identity is missing or failed.
    """
    plaintext = BytesIO()
    decrypt_to(BytesIO(binary), plaintext, identities)
    return plaintext.getvalue()


class Readable(Protocol):
    """A source of bytes, which is read once."""

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes, empty at the end."""


class Writable(Protocol):
    """A target of bytes."""

    def write(self, data: bytes, /) -> int:
        """Write all of `data`; return its length."""

    def flush(self) -> None:
        """Write out any buffered data."""


def decrypt_to(
    source: Readable, target: Writable, identities: Sequence[Identity]
) -> None:
    """Write the plaintext of a file without armor to `target`, chunk by chunk.

    Each chunk is authenticated before it is written; after an error some are missing.

    Raises:
        NotAReaderError: no identity decrypts it.
        SecretFileError: header or payload are corrupt or were tampered with.
        IdentityError: the plugin of an identity is missing or failed.
        OSError: `target` raised it.
    """
    plugins = [one for one in identities if isinstance(one, PluginIdentity)]
    if not plugins:
        _decrypt_to(source, target, identities)
        return

    # 4 ms, for a child process and its messages
    from nixsecrets.files.age import plugin

    def work(talk: PluginTalk, write: "Write") -> None:
        talking = [
            replace(one, talk=talk) if isinstance(one, PluginIdentity) else one
            for one in identities
        ]
        _decrypt_to(source, _Pipe(write), talking)

    names = " and ".join(one.name for one in plugins)
    plugin.supervised(names, plugins[0].talk, work, target.write)
    target.flush()


@frozen
class _Pipe:
    """The target in a plugin's child process: a pipe to the parent."""

    send: "Write"

    def write(self, data: bytes, /) -> int:
        self.send(bytes(data))
        return len(data)

    def flush(self) -> None:
        return


def _decrypt_to(
    source: Readable, target: Writable, identities: Sequence[Identity]
) -> None:
    import pyrage  # 5 ms; `check` and the hook never use it

    guarded = _Target(target)
    streams: tuple[Any, Any] = (source, guarded)  # pyrage needs only read and write
    with _no_panic():
        try:
            keys = [key for identity in identities for key in _keys(identity)]
            pyrage.decrypt_io(*streams, keys)
        except (pyrage.IdentityError, pyrage.DecryptError) as error:
            if str(error) == _NO_MATCH:
                raise NotAReaderError("no identity opens the age file") from None
            raise _explained(error, identities) from None
        except OSError:
            if guarded.error is not None:
                raise guarded.error from None
            raise SecretFileError(
                "the payload of the age file is corrupt or was tampered with", _RESTORE
            ) from None


class _Target:
    """Stores the error of a target, to distinguish it from pyrage's own `OSError`."""

    def __init__(self, target: Writable) -> None:
        self._target = target
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        try:
            return self._target.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        try:
            self._target.flush()
        except OSError as error:
            self.error = error
            raise


def _keys(identity: Identity) -> list[Any]:
    """Return pyrage's objects for an identity; those of plugins are never reused."""
    if isinstance(identity, PluginIdentity):
        return identity.to_pyrage()
    return _cached_keys(identity)


@lru_cache(maxsize=64)
def _cached_keys(identity: Identity) -> list[Any]:
    # parsing an ssh-rsa key takes 8 ms, and a run opens many files with it
    return identity.to_pyrage()


def _recipient(recipient: Recipient) -> Any:
    """Return pyrage's object for a recipient; plugins are searched on PATH."""
    import pyrage  # 5 ms; `check` and the hook never use it

    match recipient.kind:
        case Kind.X25519:
            return pyrage.x25519.Recipient.from_str(recipient.text)
        case Kind.SSH_ED25519 | Kind.SSH_RSA:
            return pyrage.ssh.Recipient.from_str(recipient.text)
        case Kind.TAG:
            return pyrage.tag.Recipient.from_str(recipient.text)
        case Kind.TAG_PQ:
            return pyrage.tagpq.Recipient.from_str(recipient.text)
        case Kind.PQ | Kind.PLUGIN:  # pyrage needs a plugin for post-quantum keys
            one = pyrage.plugin.Recipient.from_str(recipient.text)
            return pyrage.plugin.RecipientPluginV1(one.plugin(), [one], [], Silence())
        case _ as never:
            assert_never(never)


def _explained(
    error: Exception, identities: Sequence[Identity]
) -> IdentityError | SecretFileError:
    """Return our error for a file that pyrage could parse but not decrypt."""
    if str(error) == _BAD_MAC:
        return SecretFileError(
            "the header of the age file was changed after it was written", _RESTORE
        )
    if any(isinstance(identity, PluginIdentity) for identity in identities):
        return IdentityError(
            f"an age plugin failed: {_first_line(error)}",
            "install the plugin, connect the token, and try again",
        )
    return SecretFileError("the age file is corrupt or truncated", _RESTORE)


def _first_line(error: Exception) -> str:
    """Return the first line of pyrage's message, printable, without a period."""
    line = (str(error).splitlines() or ["no reason given"])[0]
    return "".join(char for char in line if char.isprintable()).rstrip(".")


@contextmanager
def _no_panic() -> Iterator[None]:
    """Convert a panic of the Rust code, a `BaseException`, to `SecretFileError`."""
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise SecretFileError(
            "the age library failed on an unexpected key or file",
            "check the recipients of the file for a degenerate key",
        ) from None
