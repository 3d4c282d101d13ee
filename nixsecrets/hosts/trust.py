"""The trust ladder: why a collected host key is trusted.

The rungs in order: a given fingerprint, known_hosts, a login over an authenticated
session, a person's confirmation.  Anything that contradicts a key is an error.
"""

import base64
import binascii
import re
from enum import StrEnum
from typing import TYPE_CHECKING

from nixsecrets.errors import NixsecretsError, UsageError, quoted
from nixsecrets.keys.recipients import Recipient

if TYPE_CHECKING:  # not needed for a given key
    from nixsecrets.hosts.knownhosts import Standing

_FINGERPRINT = re.compile(r"SHA256:([A-Za-z0-9+/]{43})=?")


class Rung(StrEnum):
    """How a key was verified: the first word of `verified` in the map."""

    FINGERPRINT = "fingerprint"
    KNOWN_HOSTS = "known_hosts"
    LOGIN = "login"
    ASKED = "asked"
    FIRST_USE = "first-use"
    GIVEN = "given"
    GENERATED = "generated"


class KeyAlarmError(NixsecretsError):
    """A key contradicts a known one: the command stops without asking."""


def parse_fingerprint(text: str) -> str:
    """Return a SHA256 fingerprint in the form of `ssh-keygen -l`.

    Raises:
        UsageError: the text is not a fingerprint.
    """
    found = _FINGERPRINT.fullmatch(text.strip())
    try:
        if found and base64.b64decode(found[1] + "=", validate=True):
            return f"SHA256:{found[1]}"
    except binascii.Error:
        pass
    raise UsageError(
        f"{quoted(text)} is not a SHA256 fingerprint",
        "print it on the host: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub",
    )


def climb(
    name: str,
    key: Recipient,
    known: "Standing",
    *,
    fingerprint: str | None = None,
    replaces: Recipient | None = None,
) -> Rung | None:
    """Return the rung that a key reaches without login or question, None if none.

    `replaces` is the key that this one will replace: known_hosts may still have it.

    Raises:
        KeyAlarmError: the key is revoked, it does not match the given fingerprint, or
            known_hosts has another key for the name.
    """
    if known.revoked is not None:
        raise KeyAlarmError(
            f"{name} shows {key.fingerprint}, which {known.revoked} revokes",
            "nothing was changed; the host needs a new key",
        )
    if fingerprint is not None:
        if fingerprint != key.fingerprint:
            raise KeyAlarmError(
                f"{name} shows another key: {key.fingerprint}, not {fingerprint}",
                "nothing was changed; find out which machine answered",
            )
        return Rung.FINGERPRINT
    if known.same is not None:
        return Rung.KNOWN_HOSTS
    for where, other in known.others:
        if other != replaces:
            raise KeyAlarmError(
                f"{name} shows {key.fingerprint}, but {where} has {other.fingerprint}",
                "nothing was changed; find out which machine answered, and if the key "
                "is right, give it as --fingerprint",
            )
    return None
