"""Running an age plugin in a child process, with a time limit.

While pyrage waits for a plugin, Python does not run: neither Ctrl-C nor a time limit
would work.  So pyrage and the plugin run in a child process, which sends the plaintext
through a pipe and is killed with the plugin when the time is up.  The child prompts at
the same terminal; the limit is suspended while a prompt is open.
"""

import contextlib
import json
import os
import signal
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from nixsecrets.errors import IdentityError, NixsecretsError
from nixsecrets.frozen import frozen
from nixsecrets.keys.environment import without_credentials
from nixsecrets.keys.plugins import PluginTalk

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

LIMIT = "NIXSECRETS_PLUGIN_TIMEOUT"
"""Environment variable: the seconds that a plugin may take without a prompt."""
_LIMIT_SECONDS = 120.0
_PATIENCE_SECONDS = 3.0  # then a message says what we are waiting for
# the first byte of a message is its kind, the rest is data
_DATA, _ASKS, _ASKED, _ERROR, _END = b"D", b"Q", b"A", b"E", b"."

Write = Callable[[bytes], object]
Work = Callable[[PluginTalk, Write], None]
"""The task of the child: use the plugin, and write the plaintext or ciphertext."""


def supervised(name: str, talk: PluginTalk, work: Work, write: Write) -> None:
    """Run `work` in a child; pass what it writes to `write`.

    `name` is the plugin's name for messages, `talk` answers its prompts.

    Raises:
        IdentityError: the plugin did not answer in time.
        NixsecretsError: `work` raised it.
    """
    with _terminal_as_it_was(), _child(name, talk, work) as stream:
        _receive(name, talk, stream, write)


# --- the child --------------------------------------------------------------------


@contextlib.contextmanager
def _child(name: str, talk: PluginTalk, work: Work) -> "Iterator[Connection]":
    """Yield the reading end of the child's pipe; kill the child at the end."""
    from multiprocessing.connection import Pipe  # 10 ms; few commands use a plugin

    reading, writing = Pipe(duplex=False)
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        code = 1
        with contextlib.suppress(
            BaseException
        ):  # the parent notices that _END is missing
            reading.close()
            code = _in_child(name, talk, work, writing)
        os._exit(code)
    writing.close()
    try:
        yield reading
    finally:
        reading.close()
        for one in (pid, *_children(pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)
        os.waitpid(pid, 0)


def _in_child(name: str, talk: PluginTalk, work: Work, pipe: "Connection") -> int:
    # Python's own handler would not run while pyrage waits
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    env = without_credentials(os.environ, name)  # which the plugin inherits
    os.environ.clear()
    os.environ.update(env)
    try:
        work(_Noted(talk, pipe), lambda data: pipe.send_bytes(_DATA + data))
    except NixsecretsError as error:
        raised = [type(error).__name__, error.message, error.hint]
        pipe.send_bytes(_ERROR + json.dumps(raised).encode())
    pipe.send_bytes(_END)
    return 0


@frozen
class _Noted:
    """A `PluginTalk` that reports to the parent when a prompt opens and closes."""

    talk: PluginTalk
    pipe: "Connection"

    def display_message(self, message: str) -> None:
        self.talk.display_message(message)
        self.pipe.send_bytes(_ASKED)

    def confirm(self, message: str, yes: str, no: str | None) -> bool | None:
        with self._asking():
            return self.talk.confirm(message, yes, no)

    def request_public_string(self, description: str) -> str | None:
        with self._asking():
            return self.talk.request_public_string(description)

    def request_passphrase(self, description: str) -> str | None:
        with self._asking():
            return self.talk.request_passphrase(description)

    @contextlib.contextmanager
    def _asking(self) -> Iterator[None]:
        self.pipe.send_bytes(_ASKS)
        try:
            yield
        finally:
            self.pipe.send_bytes(_ASKED)


def _children(pid: int) -> list[int]:
    """Return the processes that `pid` started; empty if there is no `/proc`."""
    with contextlib.suppress(OSError):
        shown = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        return [int(one) for one in shown.split()]
    return []


# --- the parent -------------------------------------------------------------------


def _receive(name: str, talk: PluginTalk, stream: "Connection", write: Write) -> None:
    """Process the messages of the child until it ends; raise its error.

    Waits for `patience` seconds since the last message: first until a note is shown,
    then until the limit.
    """
    limit = _limit()
    since, patience, asking = time.monotonic(), min(_PATIENCE_SECONDS, limit), False
    failure: NixsecretsError | None = None
    while True:
        waited = time.monotonic() - since
        if not stream.poll(None if asking else max(patience - waited, 0)):
            if patience == limit:
                raise _late(name, limit)
            talk.display_message(f"waiting for age-plugin-{name}; Ctrl-C to cancel")
            patience = limit
            continue
        try:
            message = stream.recv_bytes()
        except (EOFError, OSError):  # the pipe ends between messages, or within one
            message = b""
        kind, data = message[:1], message[1:]
        since = time.monotonic()
        if kind == _DATA:
            write(data)
        elif kind in {_ASKS, _ASKED}:
            asking = kind == _ASKS
        elif kind == _ERROR:
            failure = _raised(*json.loads(data))
        else:
            break
    if failure is not None:
        raise failure
    if kind != _END:
        raise IdentityError(
            f"age-plugin-{name} ended without an answer",
            f"see whether age-plugin-{name} works by itself",
        )


def _limit() -> float:
    text = os.environ.get(LIMIT, "")
    try:
        return float(text) if text else _LIMIT_SECONDS
    except ValueError:
        raise IdentityError(
            f"{LIMIT} is not a number of seconds", f"set it to {_LIMIT_SECONDS:.0f}"
        ) from None


def _late(name: str, limit: float) -> IdentityError:
    return IdentityError(
        f"age-plugin-{name} did not answer within {limit:g} seconds",
        f"connect its token, or set {LIMIT} to more seconds",
    )


def _raised(kind: str, message: str, hint: str | None) -> NixsecretsError:
    """Return the error that the child raised, of the same class."""
    return _kinds(NixsecretsError)[kind](message, hint)


def _kinds(family: type[NixsecretsError]) -> dict[str, type[NixsecretsError]]:
    """Return a class and all of its subclasses by name."""
    found = {family.__name__: family}
    for member in family.__subclasses__():
        found |= _kinds(member)
    return found


@contextlib.contextmanager
def _terminal_as_it_was() -> Iterator[None]:
    """Restore the terminal's settings, which a killed prompt does not do itself."""
    before = termios.tcgetattr(0) if os.isatty(0) else None
    try:
        yield
    finally:
        if before is not None:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(0, termios.TCSADRAIN, before)
