"""Keys that are not age's: PGP, KMS, Key Vault and Vault keys, as the map spells them.

Only their names: nothing here contacts a service or a keyring.
"""

from typing import NamedTuple

from nixsecrets.errors import quoted

_LONGEST = 300  # characters that are shown


class ForeignKey(NamedTuple):
    """One key of another kind than age's.

    `kind` is the prefix that the map gives it: `pgp`, `awskms`, `gcpkms`, `azurekv`,
    `vault` or `hckms`.  `name` identifies it: a fingerprint, an ARN, a resource, an
    address.  It comes from somebody's file, so `str` quotes what is not printable.
    """

    kind: str
    name: str

    def __str__(self) -> str:
        """Return `kind:name`, as one line of bounded length."""
        text = f"{self.kind}:{self.name or '?'}"
        text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
        return text if text.isprintable() and " " not in text else quoted(text)
