"""Whether sops-nix can use a file as declared: format, key path, type of the value.

After Mic92/sops-nix:pkgs/sops-install-secrets/main.go: dotenv, ini and binary files are
used as a whole; so is any file with `key` ""; nested keys work in YAML only; the
selected value must be a string; a machine must declare a file with one format.
"""

from nixsecrets.files.sops.keytree import Keys, Value
from nixsecrets.files.sops.metadata import SopsFormat
from nixsecrets.findings.catalogue import Code
from nixsecrets.flake.declared import Secret
from nixsecrets.flake.gather import Seen

_WHOLE = {"dotenv", "ini", "binary"}
Misuse = tuple[Code, str]


def use_problem(secret: Secret, seen: Seen, before: str) -> Misuse | None:
    """Return code and message of why sops-nix cannot use the file, None if it can.

    `before` is the format in which the same machine first declared the file.
    """
    wanted = secret.format or "yaml"
    if wanted != before:
        message = f"its format is {wanted} here and {before} in another secret"
        return Code.DECLARED_FORMAT, message
    if not _fits(wanted, seen):
        message = f"its format is {seen.format}, and it is declared as {wanted}"
        return Code.DECLARED_FORMAT, message
    key = secret.name if secret.key is None else secret.key
    if wanted in _WHOLE:
        if key in ("", secret.name):
            return None
        article = "an" if wanted == "ini" else "a"
        message = (
            f'{article} {wanted} file is used whole, and "{key}" is picked from it'
        )
        return Code.DECLARED_FORMAT, message
    if not key or seen.keys is None:
        return None
    if wanted == "json" and "/" in key:
        message = f'"{key}" is a nested key of a JSON file, which sops-nix refuses'
        return Code.DECLARED_FORMAT, message
    return _key_problem(key, seen.keys)


def _fits(wanted: str, seen: Seen) -> bool:
    """Return whether sops-nix can read a file as the declared format `wanted`."""
    if seen.format is SopsFormat.JSON:
        binary = seen.keys is not None and seen.keys.top() == {"data"}
        return wanted in ("json", "yaml") or (wanted == "binary" and binary)
    return seen.format == wanted


def _key_problem(key: str, keys: Keys) -> Misuse | None:
    match keys.find(key):
        case Value.TEXT:
            return None
        case Value.OTHER:
            message = f'the value of "{key}" is not a string: quote it'
            return Code.DECLARED_NO_TEXT, message
        case Value.TREE:
            message = f'"{key}" is not one value but a mapping or a list'
            return Code.DECLARED_NO_TEXT, message
        case Value.ABSENT:
            return Code.DECLARED_KEY, f'it has no key "{key}"'
