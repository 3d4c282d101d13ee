"""What sops made of the content: is every value encrypted, did every value survive?

Reads what sops wrote and what it prints; a value that sops would leave open against
the selection options, or change on its way, is an error before anything is replaced.
"""

import json
import re
from collections import Counter

from nixsecrets.errors import SecretFileError
from nixsecrets.files.sops.comments import comments
from nixsecrets.files.sops.metadata import Options, SopsFormat
from nixsecrets.files.sops.options import DEFAULT_OPTION, selection_of, unusable
from nixsecrets.files.sops.selection import open_values, selector
from nixsecrets.files.sops.token import COMMENT_END, is_encrypted
from nixsecrets.files.sops.values import leaves

_LOST_COMMENT = COMMENT_END.encode()
_RESERVED = {
    SopsFormat.YAML: re.compile(rb"^(?:sops|\"sops\"|'sops')[ \t]*:", re.MULTILINE),
    SopsFormat.DOTENV: re.compile(rb"^sops_", re.MULTILINE),
    SopsFormat.INI: re.compile(rb"^[ \t]*\[[ \t]*sops[ \t]*\]", re.MULTILINE),
}


def require_encrypted(kind: SopsFormat, data: bytes, options: Options) -> None:
    """Check that every value that `options` select is encrypted, and at least one is.

    Raises:
        SecretFileError: a value lies open that should not, or an expression of the
            options cannot be compiled.

    """
    if why := unusable(options):
        raise SecretFileError(
            f"sops would not use the file's {why}",
            "correct the sops options of the file's rule",
        )
    values = [leaf for leaf in leaves(kind, data) if not leaf.empty]
    if any(open_values(values, selector(options))):
        raise SecretFileError(
            "sops left a value open that the options want encrypted",
            "check the sops options of the file's rule",
        )
    if values and not any(is_encrypted(leaf.value) for leaf in values):
        if not selection_of(options):
            raise SecretFileError(
                "nothing in it would be encrypted: sops by default leaves values below"
                f" keys that end in {DEFAULT_OPTION[1]} in plaintext; it has no other",
                "give the keys other names; options of the rule are not needed",
            )
        raise SecretFileError(
            "the sops options select no value: nothing would be encrypted",
            "check the sops options of the file's rule",
        )


def require_same(kind: SopsFormat, before: bytes, after: bytes) -> None:
    """Check that two texts printed by sops hold the same values and comments.

    Raises:
        SecretFileError: a value or a comment was lost.

    """
    if before == after:
        return
    require_comments(before, after)
    if not same(kind, before, after):
        raise SecretFileError(
            "sops did not keep the values of the file", "try another version of sops"
        )


def same(kind: SopsFormat, before: bytes, after: bytes) -> bool:
    """Tell whether two texts printed by sops hold the same values and comments.

    The text itself may differ: sops moves comments, and more so each time.

    Raises:
        SecretFileError: one cannot be read back.

    """
    if before == after or kind is not SopsFormat.YAML:
        return before == after
    if _yaml_documents(before) != _yaml_documents(after):
        return False
    had, has = (Counter(c.text for c in comments(kind, t)) for t in (before, after))
    return had == has


def require_comments(before: bytes, after: bytes) -> None:
    """Check that sops could decrypt every comment that it encrypted.

    A comment is bound to the key below which it stands, and sops itself moves comments
    to other keys; such a one stays encrypted forever.
    """
    if after.count(_LOST_COMMENT) > before.count(_LOST_COMMENT):
        raise SecretFileError(
            "sops would lose a comment of the file",
            "move the comments at the end of lists and mappings above a key, "
            "or remove them: nixsecrets edit",
        )


def require_no_metadata(kind: SopsFormat, plaintext: bytes) -> None:
    """Check that no key of the content has a name that sops keeps for itself.

    Before 3.12 `sops edit` wrote such a file, and could not read it again.

    Raises:
        SecretFileError: one has.

    """
    reserved = _RESERVED.get(kind)
    if kind is SopsFormat.JSON:
        found = _members_named_sops(plaintext)
    else:
        found = reserved is not None and reserved.search(plaintext) is not None
    if found:
        raise SecretFileError(
            "the content has a key whose name sops keeps for itself",
            'rename the keys or sections that start with "sops"',
        )


def _members_named_sops(plaintext: bytes) -> bool:
    try:
        value = json.loads(plaintext)
    except (ValueError, RecursionError):
        return False  # sops will say what is wrong with it
    return isinstance(value, dict) and "sops" in value


def _yaml_documents(text: str | bytes) -> list[object]:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        return list(YAML(typ="safe").load_all(text))
    except YAMLError as error:
        raise SecretFileError("sops wrote YAML that cannot be read back") from error
