"""Drafts: a text that is being edited, and kept if it cannot be saved."""

import os

from nixsecrets.errors import NixsecretsError, argument
from nixsecrets.frozen import field, frozen
from nixsecrets.keys.identities import Keyring
from nixsecrets.keys.recipients import Kind, Recipient
from nixsecrets.keys.unlock import Unlock, unlocked
from nixsecrets.repo import rescue
from nixsecrets.repo.worktree import Repo


@frozen
class Draft:
    """A text that is being edited, made from the version `base` of secret `name`.

    `before` is the SHA-256 (hex) of the file that holds `base`, None for a new one;
    `line` is where the editor starts; `kept` is the stored copy of `text`, if any.
    """

    name: str
    before: str | None
    base: bytes = field(repr=False)
    text: bytes = field(repr=False)
    line: int = 0
    kept: rescue.Kept | None = None


def keep(repo: Repo, ring: Keyring, draft: Draft, text: bytes) -> rescue.Kept:
    """Store a draft's `text` that could not be saved; return where.

    It is encrypted to the operator's own keys if there are any.
    """
    if draft.kept is not None and text == draft.text:
        return draft.kept
    import datetime  # loaded already, see `load_keeping`

    from nixsecrets.files.age import operations

    own = own_keys(ring)
    # the length of `base` and a newline, then both texts
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
        rescue.drop(draft.kept)  # an earlier state of the same draft
    return kept


def load_keeping() -> None:
    """Load what `keep` needs, so that nothing has to be loaded when all else fails."""
    import datetime  # noqa: F401
    import json  # noqa: F401

    from nixsecrets.files.age import operations  # noqa: F401


def own_keys(ring: Keyring) -> list[Recipient]:
    """Return the operator's own keys that can be encrypted to without a plugin."""
    every = [r for item in (*ring.identities, *ring.locked) for r in item.recipients]
    usable = [r for r in reversed(every) if r.ours or r.kind is Kind.SSH_RSA]
    return list({r.key_id: r for r in usable}.values())


def kept_draft(ring: Keyring, unlock: Unlock, kept: rescue.Kept) -> Draft:
    """Return a stored draft.

    Raises:
        IdentityError: no identity opens it.
    """
    payload = rescue.payload(kept)
    if kept.sealed:
        from nixsecrets.files.age import operations  # 2 ms, as in `load_keeping`

        identities = unlocked([own_keys(ring)], ring, unlock)
        payload = operations.decrypt(payload, identities)
    length, _, rest = payload.partition(b"\n")
    size = int(length)
    return Draft(kept.path, kept.before, rest[:size], rest[size:], kept=kept)


def chosen_kept(repo: Repo, name: str | None) -> rescue.Kept:
    """Return the latest stored draft of a secret; without a name, of the only one.

    Raises:
        NixsecretsError: there is none, or several secrets have drafts and no name is
            given.
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
