"""One unlock for all the files that one git shows.

git starts `textconv` for each of them.  The first that needs a passphrase asks for it
on the terminal and leaves what it opened with a `keeper`, which ends with git.  A no is
kept, too: nobody is asked a second time.
"""

import contextlib
import json
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from nixsecrets.errors import DeclinedError, IdentityError
from nixsecrets.keys.identities import Identity, Locked, identity_text, parse_identities
from nixsecrets.repo.gitunlock import keeper, proctable

_OWNER = "git"
_ATTEMPTS = 3

Ask = Callable[[int, str, bool], bytes]
"""Asks, at a terminal, for the passphrase of a source; once more after a wrong one."""


@dataclass
class OneUnlock:
    """Opens locked identities, each at most once for one git."""

    owner: keeper.Owner | None
    ask: Ask
    known: dict[str, tuple[Identity, ...]] = field(default_factory=dict, repr=False)

    @classmethod
    def of_git(cls, env: Mapping[str, str], ask: Ask) -> "OneUnlock":
        """Begin with what was opened for the git that started us."""
        owner = keeper.owner(_OWNER)
        known = keeper.kept(env, owner) if owner is not None else []
        return cls(owner, ask, dict(map(_read, known)))

    def __call__(self, locked: Locked) -> tuple[Identity, ...]:
        """Return what is inside of a locked identity, nothing where nobody opens it."""
        if locked.source not in self.known:
            opened = _opened(locked, self.ask)
            if opened is None:
                return ()
            self.known[locked.source] = opened
            if self.owner is not None:
                keeper.keep(os.environ, self.owner, _written(locked.source, opened))
        return self.known[locked.source]


def _written(source: str, identities: tuple[Identity, ...]) -> bytes:
    text = "\n".join(map(identity_text, identities))
    return json.dumps({"source": source, "identities": text}).encode()


def _read(data: bytes) -> tuple[str, tuple[Identity, ...]]:
    said = json.loads(data)
    found = parse_identities(said["identities"].encode(), said["source"])
    return said["source"], found.identities


def _opened(locked: Locked, ask: Ask) -> tuple[Identity, ...] | None:
    """Ask for the passphrase on the terminal.

    Returns what is inside, nothing where the person will not say it, None where there
    is no terminal to ask on.
    """
    with _terminal() as terminal:
        if terminal is None:
            return None
        for attempt in range(_ATTEMPTS):
            passphrase = _answer(terminal, locked.source, ask, again=attempt > 0)
            if not passphrase:
                return ()
            with contextlib.suppress(IdentityError):
                return locked.unlock(passphrase)
        return ()


def _answer(terminal: int, source: str, ask: Ask, *, again: bool) -> str:
    """Ask, and take the question away again: a pager has drawn around it."""
    typed = b""
    with contextlib.suppress(KeyboardInterrupt, OSError, DeclinedError):
        typed = ask(terminal, source, again)
    os.write(terminal, b"\r\x1b[K")
    return typed.decode("utf-8", "surrogateescape")


@contextlib.contextmanager
def _terminal() -> Iterator[int | None]:
    """Give the terminal, for us alone, with typing not shown.

    None where there is none, where git is in the background or is run by a program and
    not by a person (its stdin is no terminal, or GIT_TERMINAL_PROMPT is 0), and where
    something that git did not start reads keys there: `git log -p | less`.
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
        if group != os.getpid():  # else a person started us, and nobody else is there
            stack.enter_context(_alone(terminal, group, pagers))
        yield terminal


def _reading_keys(group: int) -> tuple[list[int], bool]:
    """Return git's pagers, which can be told to wait, and whether others read keys."""
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
    """Be the terminal's foreground, and let pagers that wait for keys wait for us.

    They may be in the middle of reading, which no change of the foreground ends.  The
    shell does not see that they stop: they are git's children, not its own.
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
                os.kill(pager, signal.SIGWINCH)  # it draws its screen anew
        for number, handler in zip(held, before, strict=True):
            signal.signal(number, handler)
