"""Prints a secret as text for git if no keeper answers `gitunlock.client`.

That is the case for the first file of a git command, and for prompts.  It works without
click, which takes as long to import as everything here.
"""

import gc
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from nixsecrets.cli import ui
from nixsecrets.files.kind import backend_of
from nixsecrets.repo.gitunlock import client
from nixsecrets.untrusted import inputs

if TYPE_CHECKING:  # loaded with what finds them
    from nixsecrets.keys.identities import Keyring

_ALLOCATIONS = 50_000  # as in `main`


def run(words: Sequence[str]) -> NoReturn:
    """Print a file as text and exit; with options or errors, run the whole program."""
    gc.set_threshold(_ALLOCATIONS)
    if len(words) == 1 and not words[0].startswith("-") and not os.isatty(1):
        try:
            client.end_with(text_of(Path(words[0])))
        except KeyboardInterrupt:
            os._exit(130)
        except Exception:  # noqa: BLE001, S110 - it happens again below, to be reported
            pass
    from nixsecrets.cli import main  # loads click

    main.run(["textconv", *words])
    raise AssertionError("the program has ended")


def text_of(file: Path, identity: Sequence[Path] = ()) -> bytes:
    """Return the content of a file, decrypted if it is a secret.

    Raises:
        OSError: it cannot be read.
    """
    data = inputs.read(file, pipes=True)
    if backend_of(file.name, data) is None:
        return data
    # only for a secret
    from nixsecrets.repo.gitunlock import shared

    def find() -> "Keyring":
        # 15 ms, if no keeper has the identities
        from nixsecrets.keys.find import find_identities

        ring = find_identities(os.environ, Path.home(), identity)
        return ring.with_talk(ui.TerminalTalk())

    mark = _mark(identity) if identity else ""
    return shared.shown(file.name, data, find, _ask, mark)


def _mark(identity: Sequence[Path]) -> str:
    import hashlib  # 2 ms, rarely needed

    named = b"\0".join(os.fsencode(path.absolute()) for path in identity)
    return "-" + hashlib.sha256(named).hexdigest()[:16]


def _ask(terminal: int, source: str, again: bool) -> bytes:  # noqa: FBT001 (a callback)
    # only for who is asked
    from nixsecrets.cli import prompt
    from nixsecrets.errors import path_text

    wrong = "wrong passphrase; " if again else ""
    question = f"\r\x1b[K{wrong}passphrase for {path_text(source)}: "
    return prompt.hidden_at(terminal, terminal, question)
