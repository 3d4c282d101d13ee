"""Names of keys of other kinds than age's: PGP, KMS, Key Vault and Vault keys."""

from nixsecrets.errors import quoted
from nixsecrets.frozen import NamedTuple

_LONGEST = 300  # characters in messages


class ForeignKey(NamedTuple):
    """A key of another kind than age's, as the map spells it.

    `kind` is the prefix in the map: `pgp`, `awskms`, `gcpkms`, `azurekv`, `vault` or
    `hckms`.  `name` identifies the key: a fingerprint, ARN, resource or URL.  It comes
    from an untrusted file, so `str` quotes it if it is not printable.
    """

    kind: str
    name: str

    def __str__(self) -> str:
        """Return `kind:name`, as one line of bounded length."""
        text = f"{self.kind}:{self.name or '?'}"
        text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
        return text if text.isprintable() and " " not in text else quoted(text)
