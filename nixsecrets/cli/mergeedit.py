"""Both versions of a secret in the editor, for `resolve --edit`."""

import os
from collections.abc import Callable

from nixsecrets.cli import ui
from nixsecrets.cli.desk import desk, keep_safe
from nixsecrets.cli.session import Session, unlock
from nixsecrets.cli.typed import about_content, asked_after, line_of
from nixsecrets.errors import NixsecretsError, SecretFileError, path_text, shell_word
from nixsecrets.files.kind import SopsFormat, format_for
from nixsecrets.frozen import field, frozen, replace
from nixsecrets.keys.forms import Backend
from nixsecrets.keys.identities import Keyring
from nixsecrets.merge.decide import Decider
from nixsecrets.merge.secrets import Found, Plaintext, Version
from nixsecrets.repo import private, rescue
from nixsecrets.repo.files import sha256
from nixsecrets.repo.gitrun import merge_texts
from nixsecrets.splice import conflict_line
from nixsecrets.values import drafts
from nixsecrets.values.drafts import Draft


@frozen
class Work:
    """A file to merge in the editor; `kind` is its sops format, None for age.

    `command` begins that work again, `before` is the SHA-256 of the file on the disk.
    """

    path: str
    kind: SopsFormat | None
    command: str
    before: str | None
    text: bytes = field(repr=False)


def both(decider: Decider, path: str) -> Work:
    """Return both versions of a file as one text, with conflict markers as of diff3.

    A side that deleted the file counts as empty.

    Raises:
        NixsecretsError: it is no secret that a side changed, or no text.
        IdentityError: no identity opens a version.
    """
    commits = decider.sides.commits
    changed = path in decider.lineage.paths()
    versions = decider.lineage.versions(path) if changed else (None, None, None)
    secrets = [one for one in versions if isinstance(one, Version)]
    if not secrets:
        raise NixsecretsError(
            f"{path_text(path)} is no secret that both sides changed",
            f"{commits.command} lists what is left to you",
        )

    def text(found: Found) -> bytes:
        if isinstance(found, Version):
            return decider.opened(found)
        return found.data if isinstance(found, Plaintext) else b""

    base, ours, theirs = map(text, versions)
    word = shell_word(path)
    if any(b"\0" in one or not _is_text(one) for one in (base, ours, theirs)):
        raise NixsecretsError(
            f"{path_text(path)}: both versions cannot be shown together: they are no"
            " text",
            f"{commits.command} --ours {word}\n{commits.command} --theirs {word}",
        )
    with private.private_folder(os.environ) as folder:
        made = merge_texts(
            folder,
            (commits.names.ours, ours),
            ("before", base),
            (commits.names.theirs, theirs),
            base_too=True,
        )
    kind = format_for(path) if secrets[-1].found.backend is Backend.SOPS else None
    data = decider.world.repo.read_if_there(path)
    command = f"{commits.command} --edit {word}"
    return Work(path, kind, command, None if data is None else sha256(data), made)


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def run(
    session: Session,
    ring: Keyring,
    work: Work,
    store: Callable[[bytes], int],
    *,
    dry_run: bool,
) -> int:
    """Run the editor until the text is merged; if it cannot be, keep a draft.

    Continues with a draft of the same version of the file.  `store` returns the exit
    code.
    """
    draft = _begun(session, ring, work)
    with desk() as at:
        while True:
            with keep_safe(session.repo, ring, draft, at, resume=work.command):
                text = at.edit(draft)
                try:
                    _require_merged(work, text)
                    code = store(text)
                    break
                except NixsecretsError as error:
                    again = about_content(error) and _is_of_text(error)
                    if not (again and asked_after(error, "edit it again?")):
                        raise
                    draft = replace(draft, text=text, line=line_of(error))
    if draft.kept is not None and not dry_run:
        rescue.drop(draft.kept)
    return code


def _begun(session: Session, ring: Keyring, work: Work) -> Draft:
    """Return the draft to edit: one that is kept, else both versions."""
    found = rescue.kept(session.repo, os.environ, work.path)
    fits = [one for one in found if one.before == work.before]
    if fits:
        kept = drafts.kept_draft(ring, unlock, fits[-1])
        ui.say(f"{path_text(work.path)}: continuing with your draft")
        return replace(kept, base=work.text)
    line = conflict_line(work.text)
    return Draft(work.path, work.before, work.text, work.text, line)


def _is_of_text(error: NixsecretsError) -> bool:
    from nixsecrets.apply.apply import ApplyError  # what writes is loaded by now

    return isinstance(error, SecretFileError | ApplyError)


def _require_merged(work: Work, text: bytes) -> None:
    """Refuse a text that is not merged yet, or that its format cannot hold.

    Raises:
        SecretFileError: it is one.
    """
    name = path_text(work.path)
    if conflict_line(text):
        raise SecretFileError(
            f"{name}: the conflict markers are still in the text",
            "resolve the conflicts and delete the markers",
        )
    if not text.strip():
        raise SecretFileError(
            f"{name}: the text is empty",
            "finish the merge with another text; then nixsecrets rm"
            f" {shell_word(work.path)} removes the file",
        )
    if work.kind is not None:
        from nixsecrets.files.sops import textfaults  # once the text is typed

        textfaults.require_values(work.kind, text)
