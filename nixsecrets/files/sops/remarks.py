"""The comments of a sops file under another data key, in place.

sops binds a comment to the keys that it counts above it.  Which these are, one that is
encrypted shows by itself; of one in the open it is known once the real sops has read
what we wrote, so that a guess can be tried and another after it (`sopsops`).
"""

from collections.abc import Mapping
from typing import NamedTuple

from nixsecrets.errors import SecretFileError
from nixsecrets.files.sops import token as sops_token
from nixsecrets.files.sops.comments import Comment, comments
from nixsecrets.files.sops.metadata import SopsFile
from nixsecrets.files.sops.selection import selector
from nixsecrets.files.sops.spans import Edit
from nixsecrets.files.sops.token import is_encrypted
from nixsecrets.splice import line_start


class Remarks(NamedTuple):
    """What happens to the comments of a file.

    `known` counts those whose ciphertext is made anew; `guessed` has the new ciphertext
    of each other one, by the place of the comment.
    """

    edits: list[Edit]
    known: int
    guessed: Mapping[int, str]


def resealed(
    file: SopsFile, old: bytes, new: bytes, guesses: Mapping[int, int]
) -> Remarks | None:
    """Return the edits that encrypt every comment that sops would encrypt.

    Those in the metadata go, since sops keeps none there.  `guesses` says which guess
    is to be tried for the comment at a place, if it is not the first.  None where a
    comment cannot be opened, or no guess is left.
    """
    data = file.text.encode("utf-8", "surrogateescape")
    try:
        found = comments(file.format, data)
        selects = selector(file.options)
    except (SecretFileError, ValueError):
        return None
    edits: list[Edit] = []
    guessed: dict[int, str] = {}
    known = 0
    for one in found:
        start, end = one.spans[0]
        token = one.text.strip()
        ways = [one.path, *one.others]
        if is_encrypted(token):
            again = _again(token, ways, old, new)
            if again is None:
                return None
            edits.append((start, end, file.text[start:end].replace(token, again)))
            known += 1
        elif one.dropped:
            edits += _without(file.text, one)
        elif selects(one):
            tried = guesses.get(start, 0)
            if len(one.spans) > 1 or tried >= len(ways):
                return None
            sealed = _sealed(new, one.text, ways[tried])
            guessed[start] = sealed
            spelled = file.text[start:end]
            mark = spelled[: spelled.index(one.text)]
            edits.append((start, end, mark + sealed))
    return Remarks(edits, known, guessed)


def _again(
    token: str, ways: list[tuple[str, ...]], old: bytes, new: bytes
) -> str | None:
    """Return a comment under the new key, None where the old one does not open it."""
    for path in ways:
        bound = sops_token.additional_data(path)
        opened = sops_token.opened(token, old, bound)
        if opened is not None:
            return sops_token.sealed(new, opened.plaintext, bound, opened.type)
    return None


def _sealed(key: bytes, text: str, path: tuple[str, ...]) -> str:
    plaintext = text.encode("utf-8", "surrogateescape")
    return sops_token.sealed(
        key, plaintext, sops_token.additional_data(path), "comment"
    )


def _without(text: str, comment: Comment) -> list[Edit]:
    """Return the edits that take a comment out, with its line if it has one."""
    edits: list[Edit] = []
    for start, end in comment.spans:
        begin = line_start(text, start)
        if text[begin:start].strip():
            begin = len(text[:start].rstrip(" \t"))
            edits.append((begin, end, ""))
        else:
            stop = text.find("\n", end)
            edits.append((begin, stop + 1 if stop >= 0 else len(text), ""))
    return edits
