"""A text in the editor: opened in memory, and kept until it is saved.

`Desk` is one private folder with an editor; `keep_safe` is what becomes of a text that
could not be saved.  What saving means is the caller's.
"""

import datetime
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from nixsecrets.apply.apply import unlocked
from nixsecrets.cli import show, ui
from nixsecrets.cli.session import Session, unlock
from nixsecrets.errors import DeclinedError, NixsecretsError
from nixsecrets.files.age import operations
from nixsecrets.findings.catalogue import argument
from nixsecrets.keys.identities import Keyring
from nixsecrets.keys.recipients import Kind, Recipient
from nixsecrets.repo import editor, files, private, rescue
from nixsecrets.repo.signals import deferred


@dataclass(frozen=True, slots=True)
class Draft:
    """What is edited: `text`, made from the version `base` of a secret.

    `before` is the SHA-256 of the file that holds `base`, None for a new one; `line`
    is where the editor shall start; `kept` is where `text` is kept already.
    """

    name: str
    before: str | None
    base: bytes = field(repr=False)
    text: bytes = field(repr=False)
    line: int = 0
    kept: rescue.Kept | None = None


@dataclass
class Desk:
    """A private folder, and the editor that works in it."""

    folder: Path
    program: editor.Editor
    terminal: bool
    last: bytes | None = field(default=None, repr=False)
    path: Path | None = None

    def edit(self, draft: Draft) -> bytes:
        """Let the person edit; return what the text is then.

        Raises:
            ProgramError: the editor failed.
            NixsecretsError: it came back at once, without having waited.
        """
        self.path = self.folder / buffer_name(draft.name)
        try:
            self.path.touch(mode=0o600)
            self.path.write_bytes(draft.text)
        except OSError as error:
            place = str(self.folder.parent)
            raise files.explained(error, "put the text into", place) from error
        self.last = draft.text
        keep_end = bool(draft.base) and not draft.base.endswith(b"\n")
        seconds = editor.run_editor(
            self.program,
            self.path,
            terminal=self.terminal,
            line=draft.line,
            keep_end=keep_end,
        )
        text = editor.typed(self.path)
        if keep_end and text == draft.text + b"\n":
            text = draft.text  # the editor's habit, not the person's wish
        if text == draft.text and seconds < editor.AT_ONCE_SECONDS:
            _explain_detaching(self.program)
        self.last = text
        return text

    def typed(self) -> bytes | None:
        """Return the text as it is now, None where none was opened."""
        if self.path is not None:
            with suppress(NixsecretsError, OSError):
                return editor.typed(self.path)
        return self.last


def _explain_detaching(program: editor.Editor) -> None:
    """Say why nothing was edited, where the editor came back at once.

    Raises:
        NixsecretsError: it is known to, unless told to wait.
    """
    waiting = program.needs_wait
    if waiting is not None:
        raise NixsecretsError(
            f"the editor {program.command[0]} did not wait for you to finish",
            f"tell it to: EDITOR='{waiting}'; what its window shows is not saved",
        )
    if ui.has_terminal():
        ui.say(
            f"nixsecrets: {program.command[0]} came back at once; if its window is"
            " still open it did not wait, and what you type there is not saved"
        )


def buffer_name(name: str) -> str:
    """Return an unpredictable name that ends as the content does (wifi.json.age)."""
    path = Path(name)
    if path.suffix == ".age":
        path = path.with_suffix("")
    stem = path.name.removesuffix(path.suffix).lstrip(".-+") or "secret"
    return f"{stem}-{secrets.token_hex(4)}{path.suffix}"


@contextmanager
def desk() -> Iterator[Desk]:
    """Give a desk; its folder is removed at the end, whatever happens."""
    terminal = ui.has_terminal()
    program = editor.find_editor(os.environ, terminal=terminal)
    if program.warning is not None:
        ui.warn(program.warning)
    with private.private_folder(os.environ) as folder:
        yield Desk(folder, program, terminal)


@contextmanager
def keep_safe(
    session: Session, ring: Keyring, draft: Draft, at: Desk
) -> Iterator[None]:
    """Keep what was typed where the block ends without having saved it."""
    try:
        yield
    except BaseException as error:
        text = at.typed()
        if text is None or text in {draft.base, b""}:
            raise
        with deferred():
            kept = _keep(session, ring, draft, text)
        hint = kept_hint(kept)
        if isinstance(error, NixsecretsError):
            error.hint = "\n".join(filter(None, [error.hint, hint]))
        else:
            with suppress(OSError):  # the terminal itself may be gone
                ui.say(f"nixsecrets: {hint}")
        raise


def kept_hint(kept: rescue.Kept) -> str:
    """Say where a text is and how to go on with it."""
    on = "in memory" if private.disk_in_use(os.environ) is None else "unencrypted"
    where = "encrypted to you" if kept.sealed else f"{on}, in {kept.place}"
    resume = f"nixsecrets edit --resume {argument(kept.path)}"
    return f"what you typed is kept, {where}: {resume}"


def _keep(session: Session, ring: Keyring, draft: Draft, text: bytes) -> rescue.Kept:
    if draft.kept is not None and text == draft.text:
        return draft.kept
    own = own_keys(ring)
    payload = b"%d\n" % len(draft.base) + draft.base + text
    sealed = bool(own)
    if own:
        payload = operations.seal(payload, own).data
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds")
    kept = rescue.keep(
        session.repo,
        os.environ,
        payload,
        path=draft.name,
        before=draft.before,
        when=now,
        sealed=sealed,
    )
    if draft.kept is not None:
        rescue.drop(draft.kept)  # an earlier state of the same text
    return kept


def own_keys(ring: Keyring) -> list[Recipient]:
    """Return the person's own keys that a text can be encrypted to without help."""
    every = [r for item in (*ring.identities, *ring.locked) for r in item.recipients]
    usable = [r for r in reversed(every) if r.ours or r.kind is Kind.SSH_RSA]
    return list({r.key_id: r for r in usable}.values())


def kept_draft(ring: Keyring, kept: rescue.Kept) -> Draft:
    """Return a kept text as it was typed.

    Raises:
        IdentityError: no identity opens it.
    """
    payload = rescue.payload(kept)
    if kept.sealed:
        identities = unlocked([own_keys(ring)], ring, unlock)
        payload = operations.decrypt(payload, identities)
    length, _, rest = payload.partition(b"\n")
    size = int(length)
    return Draft(kept.path, kept.before, rest[:size], rest[size:], kept=kept)


def chosen_kept(session: Session, name: str | None) -> rescue.Kept:
    """Return the kept text of a secret; without a name, the only one there is.

    Raises:
        NixsecretsError: there is none, or there are several and no name.
    """
    found = rescue.kept(session.repo, os.environ, name)
    if not found:
        raise NixsecretsError(
            "no text is kept", "nixsecrets edit FILE starts a new one"
        )
    if len({one.path for one in found}) > 1:
        names = "\n".join(
            f"nixsecrets edit --resume {argument(one.path)}" for one in found
        )
        raise NixsecretsError("texts of several secrets are kept; name one", names)
    return found[-1]


def discard(session: Session, name: str | None, *, agreed: bool) -> None:
    """Drop the kept texts of a secret, or of all of them, once a person agrees."""
    found = rescue.kept(session.repo, os.environ, name)
    if not found:
        raise NixsecretsError("no text is kept")
    for one in found:
        ui.say(f"{show.path_text(one.path)}  typed {one.when[:16].replace('T', ' ')}")
    if not agreed and not ui.asked("drop what was typed?"):
        raise DeclinedError("nothing was dropped", "agree on a terminal, or with --yes")
    for one in found:
        rescue.drop(one)
