"""How sops-nix would use a file: format, key path, type of the value.  Pure.

After its documentation and `sops-install-secrets`: dotenv, ini and binary files are
used whole; `key` "" is the whole file; nested keys are for YAML only; what is picked
must be a string; one file has one format per machine.
"""

from nixsecrets.files.sops.keytree import Keys, Value
from nixsecrets.files.sops.metadata import SopsFormat
from nixsecrets.findings.catalogue import Code
from nixsecrets.flake.declared import Secret
from nixsecrets.flake.gather import Seen

_WHOLE = {"dotenv", "ini", "binary"}
Misuse = tuple[Code, str]


def use_problem(secret: Secret, seen: Seen, before: str) -> Misuse | None:
    """Say why sops-nix cannot use the file as declared.

    `before` is the format in which the same machine declared the file first.
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
    """Return whether a file of this format can be read as the declared one."""
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
