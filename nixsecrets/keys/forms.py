"""Which form of a key each backend needs (design: one key, two forms).

Pure decisions about one key; who the readers of a file are is `policy`'s affair.
"""

from enum import StrEnum
from typing import Literal

from nixsecrets.keys.recipients import Kind, Recipient

Owner = Literal["host", "user"]
"""Whose key it is: their tools differ."""


class Backend(StrEnum):
    """How one secret file is encrypted."""

    AGE = "age"
    SOPS = "sops"


def form_for(
    recipient: Recipient,
    backend: Backend,
    *,
    owner: Owner,
    sops_form: Literal["age", "ssh"] = "age",
) -> Recipient:
    """Return `recipient` in the form that its owner's tools open in `backend`.

    Only ssh-ed25519 keys have two forms.  agenix hands the ssh key itself to age, so
    age files get the ssh form; sops-nix converts the host's key first, so sops files
    get the X25519 form, unless a user asked for `sops_form` "ssh" (stock sops with
    nothing but `~/.ssh/id_ed25519` opens only that).
    """
    if backend is Backend.AGE or (owner == "user" and sops_form == "ssh"):
        return recipient
    return recipient.converted()


def usable(recipient: Recipient, backend: Backend, owner: Owner) -> str | None:
    """Say why `recipient` cannot serve its owner in `backend`; None when it can."""
    if backend is Backend.SOPS and owner == "host" and recipient.kind is Kind.SSH_RSA:
        return (
            "sops-nix opens no file with a host's ssh-rsa key; use its ssh-ed25519 key"
        )
    return None
