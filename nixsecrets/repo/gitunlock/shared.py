"""One keeper for all files that one git process shows, and one prompt for each key.

git starts `textconv` for each file.  The first one leaves a `keeper` behind, which
decrypts for the others and exits with git.  Prompts are shown here, at the terminal;
the keeper stores the unlocked identities.  It also stores a refusal, so that there is
no second prompt.
"""

import contextlib
import functools
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

from nixsecrets.errors import DeclinedError, IdentityError, NixsecretsError
from nixsecrets.keys.identities import Identity, Keyring, Locked, identity_text
from nixsecrets.repo.gitunlock import client, keeper, proctable
from nixsecrets.repo.gitunlock.keeper import Answer

_OWNER = "git"
_ATTEMPTS = 3

Ask = Callable[[int, str, bool], bytes]
"""Prompts at a terminal (a descriptor) for the passphrase of a source.

The last argument is True after a wrong passphrase.
"""
Room = Callable[[], contextlib.AbstractContextManager[Path]]
"""Returns a context with a private folder, for sops."""


def shown(
    name: str, data: bytes, find: Callable[[], Keyring], ask: Ask, mark: str = ""
) -> bytes:
    """Return the text of a secret file, or a line that says why it cannot be shown.

    `find` returns the keyring; it is called if there is no keeper yet.  `mark` names a
    keyring other than the default one: each keyring has its own keeper.
    """
    request = client.request(client.SHOW, name, data)
    answer = _Answer(find, mark)
    try:
        with answer.stack:
            while (said := answer(request))[:1] != client.TEXT:
                if said[:1] == client.WANTED:
                    source = os.fsdecode(said[1:])
                    answer.learn(_learned(source, answer.ring, ask))
                    continue
                request = client.request(client.SHOW_LOCKED, name, data)
                try:
                    return _by_plugins(name, data, answer.ring)
                except IdentityError:
                    if not answer.ring.locked:
                        raise
            return said[1:]
    except NixsecretsError as error:
        return not_shown(error, data)


class _Answer:
    """Answers requests through the keeper of our git process, or itself without one.

    Without one it also leaves a keeper behind for the next process, which starts up
    meanwhile; closing `stack` waits until it is ready.
    """

    def __init__(self, find: Callable[[], Keyring], mark: str) -> None:
        self.stack = contextlib.ExitStack()
        self._find, self._mark = find, mark
        self._git = keeper.owner(_OWNER)
        self._ours: Answer | None = None

    @functools.cached_property
    def ring(self) -> Keyring:
        """The available identities."""
        return self._find()

    def __call__(self, said: bytes) -> bytes:
        if self._ours is None:
            answer = client.asked(said, self._mark) if self._git else None
            if answer and answer != client.FAILED:
                return answer
            if self._git and not answer:
                self._leave(self._git)
            self._ours = _answering(self.ring, _room)
        return self._ours(said)

    def learn(self, said: bytes) -> None:
        """Report an unlocked identity to the keeper, and remember it here."""
        if self._git:
            self.stack.close()
            client.asked(said, self._mark)
        if self._ours is not None:
            self._ours(said)

    def _leave(self, git: keeper.Owner) -> None:
        ring = self.ring

        def begin(folder: Path) -> Answer:
            return _answering(ring, lambda: contextlib.nullcontext(folder))

        left = keeper.leave(os.environ, git, begin, self._mark)
        self.stack.callback(left.ready)


def _answering(ring: Keyring, room: Room) -> Answer:
    from nixsecrets.repo.gitunlock.texts import Texts  # only without a keeper

    return Texts(ring, room).answer


def _room() -> contextlib.AbstractContextManager[Path]:
    from nixsecrets.repo import private  # only for sops and plugins

    return private.private_folder(os.environ)


def _by_plugins(name: str, data: bytes, ring: Keyring) -> bytes:
    """Return the text of a file, decrypted by plugins, which may ask for a touch."""
    # few users have a plugin identity
    from nixsecrets.files.decrypt import plaintext_of

    with _room() as folder:
        ours = Keyring(ring.identities)
        return plaintext_of(name, data, ours, lambda _: (), folder)


def not_shown(error: NixsecretsError, data: bytes) -> bytes:
    """Return the line for a secret that cannot be shown; it depends on the version."""
    import hashlib  # 2 ms, rarely needed

    digest = hashlib.sha256(data).hexdigest()
    return f"(cannot be shown: {error.message}; sha256 {digest})\n".encode()


def _learned(source: str, ring: Keyring, ask: Ask) -> bytes:
    """Return the message for the keeper about a locked identity; empty if refused."""
    locked = next((one for one in ring.locked if one.source == source), None)
    opened = _opened(locked, ask) if locked else ()
    keys = "\n".join(map(identity_text, opened)).encode()
    return client.LEARN + os.fsencode(source) + b"\0" + keys


def _opened(locked: Locked, ask: Ask) -> tuple[Identity, ...]:
    """Unlock an identity with a prompt at the terminal.

    Empty if the user refuses, or there is no terminal for a prompt.
    """
    with _terminal() as terminal:
        if terminal is None:
            return ()
        for attempt in range(_ATTEMPTS):
            passphrase = _answer(terminal, locked.source, ask, again=attempt > 0)
            if not passphrase:
                return ()
            with contextlib.suppress(IdentityError):
                return locked.unlock(passphrase)
        return ()


def _answer(terminal: int, source: str, ask: Ask, *, again: bool) -> str:
    """Prompt for a passphrase; "" if refused."""
    typed = b""
    with contextlib.suppress(KeyboardInterrupt, OSError, DeclinedError):
        typed = ask(terminal, source, again)
    # erase the prompt (carriage return, CSI K): a pager has drawn around it
    os.write(terminal, b"\r\x1b[K")
    return typed.decode("utf-8", "surrogateescape")


@contextlib.contextmanager
def _terminal() -> Iterator[int | None]:
    """Yield the terminal for a prompt; None if prompting is impossible.

    That is: there is no terminal, git is in the background, a program runs git (its
    stdin is not a terminal, or GIT_TERMINAL_PROMPT is 0), or a process that git did not
    start reads keys from the terminal (`git log -p | less`).
    """
    if os.environ.get("GIT_TERMINAL_PROMPT", "1").lower() in {"0", "false", "no"}:
        yield None
        return
    with contextlib.ExitStack() as stack:
        try:
            terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError:
            yield None
            return
        stack.callback(os.close, terminal)
        group = os.getpgrp()
        if not os.isatty(0) or os.tcgetpgrp(terminal) != group:
            yield None
            return
        pagers, others = _reading_keys(group)
        if others:
            yield None
            return
        if group != os.getpid():  # else the user started us, and we are alone
            stack.enter_context(_alone(terminal, group, pagers))
        yield terminal


def _reading_keys(group: int) -> tuple[list[int], bool]:
    """Return git's pagers, which we can stop, and whether others read keys."""
    git = keeper.owner(_OWNER)
    mine = {os.getpid(), *(one.pid for one in proctable.above(os.getpid()))}
    pagers, others = [], False
    for process in proctable.in_group(group):
        if process.pid in mine or not proctable.may_read_keys(process):
            continue
        above = (one.pid for one in proctable.above(process.pid))
        if git is not None and git.pid in above:
            pagers.append(process.pid)
        else:
            others = True
    return pagers, others


@contextlib.contextmanager
def _alone(terminal: int, theirs: int, pagers: list[int]) -> Iterator[None]:
    """Become the terminal's foreground process group, and stop the pagers.

    A pager may be blocked in a read, which a change of the foreground does not end.
    The shell does not notice that they are stopped: they are children of git.
    """
    held = (signal.SIGTTOU, signal.SIGTSTP)
    before = [signal.signal(number, signal.SIG_IGN) for number in held]
    try:
        os.setpgid(0, 0)
        os.tcsetpgrp(terminal, os.getpid())
        for pager in pagers:
            os.kill(pager, signal.SIGSTOP)
        yield
    finally:
        with contextlib.suppress(OSError):
            os.tcsetpgrp(terminal, theirs)
            os.setpgid(0, theirs)
        with contextlib.suppress(OSError):
            os.killpg(theirs, signal.SIGCONT)
            for pager in pagers:
                os.kill(pager, signal.SIGWINCH)  # so that it redraws its screen
        for number, handler in zip(held, before, strict=True):
            signal.signal(number, handler)
