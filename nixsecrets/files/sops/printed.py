"""Comparing two plaintexts that sops printed: their values and comments.

The texts may differ although nothing was lost: sops moves comments each time that it
writes a file.
"""

from collections import Counter
from collections.abc import Iterable

from nixsecrets.errors import SecretFileError
from nixsecrets.files.kind import SopsFormat
from nixsecrets.files.sops import tree
from nixsecrets.files.sops.comments import comments
from nixsecrets.files.sops.keypath import KeyPath
from nixsecrets.files.sops.token import COMMENT_END
from nixsecrets.files.sops.values import leaves


def require_same(kind: SopsFormat, before: bytes, after: bytes) -> None:
    """Check that two texts printed by sops have the same values and comments.

    Raises:
        SecretFileError: a value or a comment was lost, or a text cannot be parsed.
    """
    if before == after:
        return
    require_comments(before, after)
    if not same(kind, before, after):
        raise SecretFileError(
            "sops did not keep the values of the file", "try another version of sops"
        )


def same(kind: SopsFormat, before: bytes, after: bytes) -> bool:
    """Return whether two texts printed by sops have the same values and comments.

    Raises:
        SecretFileError: a text cannot be parsed.
    """
    if before == after or kind is not SopsFormat.YAML:
        return before == after
    if _yaml_documents(before) != _yaml_documents(after):
        return False
    had, has = (Counter(c.text for c in comments(kind, t)) for t in (before, after))
    return had == has


def _yaml_documents(text: bytes) -> list[object]:
    try:
        return list(tree.loaded(text))
    except SecretFileError as error:
        raise SecretFileError("sops wrote YAML that cannot be read back") from error


def require_comments(before: bytes, after: bytes) -> None:
    """Check that sops could decrypt every comment that it encrypted.

    The encryption of a comment is bound to the keys above it, and sops itself moves
    comments to other keys; then the comment cannot be decrypted any more.

    Raises:
        SecretFileError: `after` has more encrypted comments than `before`.
    """
    if after.count(COMMENT_END) > before.count(COMMENT_END):
        raise SecretFileError(
            "sops would lose a comment of the file",
            "move the comments at the end of lists and mappings above a key, "
            "or remove them: nixsecrets edit",
        )


def changed_elsewhere(
    kind: SopsFormat, before: bytes, after: bytes, paths: Iterable[KeyPath]
) -> bool:
    """Return whether two texts differ in a value that is not at one of `paths`.

    Raises:
        SecretFileError: a text cannot be parsed.
    """
    names = {path.names for path in paths}
    had, has = (
        Counter(
            (leaf.place, leaf.value)
            for leaf in leaves(kind, text, plaintext=True)
            if tuple(map(str, leaf.place[1])) not in names
        )
        for text in (before, after)
    )
    return had != has
