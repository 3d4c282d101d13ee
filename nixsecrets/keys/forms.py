"""Which form of a key a backend needs: an ssh-ed25519 key itself or its X25519 form."""

from enum import StrEnum
from typing import Literal

from nixsecrets.keys.recipients import Kind, Recipient

Owner = Literal["host", "user"]
"""What kind of owner a key has; hosts and users decrypt with different tools."""


class Backend(StrEnum):
    """The file format of a secret."""

    AGE = "age"
    SOPS = "sops"


def form_for(
    recipient: Recipient,
    backend: Backend,
    *,
    owner: Owner,
    sops_form: Literal["age", "ssh"] = "age",
) -> Recipient:
    """Return `recipient` in the form that its owner's tools can decrypt with.

    Only ssh-ed25519 keys have two forms.  agenix passes the ssh key itself to age, so
    age files get the ssh form.  sops-nix converts the host's key first, so sops files
    get the X25519 form; for users, `sops_form` "ssh" keeps the ssh form, the only one
    that stock sops opens with just `~/.ssh/id_ed25519`.
    """
    if backend is Backend.AGE or (owner == "user" and sops_form == "ssh"):
        return recipient
    return recipient.converted()


def usable(recipient: Recipient, backend: Backend, owner: Owner) -> str | None:
    """Return why the owner cannot decrypt `backend` files with this key, else None."""
    if backend is Backend.SOPS and owner == "host" and recipient.kind is Kind.SSH_RSA:
        return (
            "sops-nix opens no file with a host's ssh-rsa key; use its ssh-ed25519 key"
        )
    return None
