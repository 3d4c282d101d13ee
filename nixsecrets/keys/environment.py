"""The environment of programs that nixsecrets starts."""

import re
from collections.abc import Mapping

# Prefixes of tools that hold a fleet's keys, and the usual words for credentials.  The
# variables of nixsecrets itself hold file names only.
_CREDENTIAL = re.compile(
    r"(?!NIXSECRETS_)"
    r"((AWS|AZURE|CLOUDSDK|GCP|GOOGLE|HUAWEICLOUD|SOPS|VAULT)_"
    r"|.*(CREDENTIAL|PASSPHRASE|PASSW|SECRET|TOKEN|(API|ACCESS|PRIVATE)_?KEY))",
    re.IGNORECASE,
)


def without_credentials(env: Mapping[str, str], own: str = "") -> dict[str, str]:
    """Return `env` without the variables that look like credentials.

    For editors and age plugins, which need an unknown part of the user's environment.
    `own` is the name of the program: variables with its first word as prefix are kept,
    such as FIDO2_TOKEN for `fido2-hmac`.
    """
    prefix = re.split(r"[^A-Za-z0-9]", own)[0].upper() + "_"
    return {
        name: value
        for name, value in env.items()
        if not _CREDENTIAL.match(name) or (own and name.startswith(prefix))
    }
