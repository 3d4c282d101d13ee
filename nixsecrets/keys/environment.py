"""What a program that we start may see of the environment."""

import re
from collections.abc import Mapping

# The tools that hold a fleet's keys, and what credentials of all others are called.
# Our own variables hold names of files.
_CREDENTIAL = re.compile(
    r"(?!NIXSECRETS_)"
    r"((AWS|AZURE|CLOUDSDK|GCP|GOOGLE|HUAWEICLOUD|SOPS|VAULT)_"
    r"|.*(CREDENTIAL|PASSPHRASE|PASSW|SECRET|TOKEN|(API|ACCESS|PRIVATE)_?KEY))",
    re.IGNORECASE,
)


def without_credentials(env: Mapping[str, str], own: str = "") -> dict[str, str]:
    """Return `env` without the variables that give access to something.

    For programs that need much of a person's environment, of which we cannot know what:
    editors and age plugins.  Those that begin with the program's own name stay (`own`;
    FIDO2_TOKEN for `fido2-hmac`).
    """
    prefix = re.split(r"[^A-Za-z0-9]", own)[0].upper() + "_"
    return {
        name: value
        for name, value in env.items()
        if not _CREDENTIAL.match(name) or (own and name.startswith(prefix))
    }
