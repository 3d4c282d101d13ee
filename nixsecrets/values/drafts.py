"""A text that is edited, and where it is kept while it could not be saved."""

import datetime
import os
from dataclasses import dataclass, field

from nixsecrets.errors import NixsecretsError
from nixsecrets.files.age import operations
from nixsecrets.findings.catalogue import argument
from nixsecrets.keys.identities import Keyring
from nixsecrets.keys.recipients import Kind, Recipient
from nixsecrets.keys.unlock import Unlock, unlocked
from nixsecrets.repo import rescue
from nixsecrets.repo.worktree import Repo


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


def keep(repo: Repo, ring: Keyring, draft: Draft, text: bytes) -> rescue.Kept:
    """Keep a text that could not be saved, encrypted to its author where that works."""
    if draft.kept is not None and text == draft.text:
        return draft.kept
    own = own_keys(ring)
    payload = b"%d\n" % len(draft.base) + draft.base + text
    sealed = bool(own)
    if own:
        payload = operations.seal(payload, own).data
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds")
    kept = rescue.keep(
        repo,
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


def kept_draft(ring: Keyring, unlock: Unlock, kept: rescue.Kept) -> Draft:
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


def chosen_kept(repo: Repo, name: str | None) -> rescue.Kept:
    """Return the kept text of a secret; without a name, the only one there is.

    Raises:
        NixsecretsError: there is none, or there are several and no name.
    """
    found = rescue.kept(repo, os.environ, name)
    if not found:
        raise NixsecretsError(
            "no draft is saved", "nixsecrets edit FILE starts a new one"
        )
    if len({one.path for one in found}) > 1:
        names = "\n".join(
            f"nixsecrets edit --resume {argument(one.path)}" for one in found
        )
        raise NixsecretsError("there are drafts of several secrets; name one", names)
    return found[-1]
