"""The values and comments of a sops file under another data key; all else stays.

The edits that `sops rotate` would make, without its run of 20 ms for each file, and
without new indentation (ADR 15).  What the engine does not understand it declines, and
the caller lets sops rotate.
"""

from collections.abc import Mapping
from typing import NamedTuple

from nixsecrets.errors import SecretFileError
from nixsecrets.files.sops import token
from nixsecrets.files.sops.comments import Comment, comments
from nixsecrets.files.sops.engine import contents, mac, spelling
from nixsecrets.files.sops.metadata import SopsFile
from nixsecrets.files.sops.selection import selector_of
from nixsecrets.files.sops.spans import Edit
from nixsecrets.files.sops.token import is_encrypted
from nixsecrets.files.sops.values import UNKNOWN_SPAN
from nixsecrets.splice import line_start


def value_edits(
    file: SopsFile, old: bytes, new: bytes, now: str, *, comments: int = 0
) -> list[Edit] | None:
    """Return the edits that encrypt every value under the data key `new`, not `old`.

    The MAC is new as well, and `now` (RFC 3339, UTC, no fractions) the time of the
    change.  Entries and encrypted comments are the caller's: they still hold or need
    the old key, and `comments` says how many of these there are.  None where the file
    has a value in plaintext or several documents, or its MAC does not fit.
    """
    if len(file.blocks) > 1 or dict(file.options).get(mac.MAC_ONLY):
        return None
    values = contents.opened(file, old)
    if values is None:
        return None
    full = [value for value in values if not value.leaf.empty]
    if not all(v.sealed and v.leaf.span != UNKNOWN_SPAN for v in full):
        return None
    # every token is that of a value, of a comment or the MAC: none is left behind
    if file.text.count(token.MARK) != len(full) + comments + 1:
        return None
    dated = mac.edits(file, new, mac.hash_of(file, values), now)
    return dated and [*(_value_edit(file, value, new) for value in full), *dated]


def _value_edit(file: SopsFile, value: contents.Value, key: bytes) -> Edit:
    bound = token.additional_data(value.leaf.path)
    again = token.sealed(key, value.plaintext, bound, value.type)
    return spelling.respelled(file.text, value.leaf, again)


class Comments(NamedTuple):
    """The comments of a file under another data key.

    `edits` encrypt every comment that sops would encrypt, and remove those that stand
    in the metadata, where sops keeps none.  `known` counts those that were encrypted
    before; `guessed` has the token of each other one, by its place in the text.
    """

    edits: list[Edit]
    known: int
    guessed: Mapping[int, str]


def comment_edits(
    file: SopsFile, old: bytes, new: bytes, guesses: Mapping[int, int]
) -> Comments | None:
    """Return the comments of a file under the data key `new` instead of `old`.

    sops binds a comment to the keys that it counts above it.  One that is encrypted
    shows by itself which these are; of one in plaintext it is known once sops has read
    what was written.  `guesses` says which of the possible paths to try for the comment
    at a place, if not the first.  None where a comment cannot be opened, or no path is
    left to try.
    """
    try:
        found = comments(file.format, file.data)
        selects = selector_of(file)
    except (SecretFileError, ValueError):
        return None
    edits: list[Edit] = []
    guessed: dict[int, str] = {}
    known = 0
    for one in found:
        start, end = one.spans[0]
        spelled = one.text.strip()
        ways = [one.path, *one.others]
        if is_encrypted(spelled):
            again = _comment_again(spelled, ways, old, new)
            if again is None:
                return None
            edits.append((start, end, file.text[start:end].replace(spelled, again)))
            known += 1
        elif one.dropped:
            edits += _without(file.text, one)
        elif selects(one):
            tried = guesses.get(start, 0)
            if len(one.spans) > 1 or tried >= len(ways):
                return None
            sealed = _sealed(new, one.text, ways[tried])
            guessed[start] = sealed
            mark = file.text[start : file.text.index(one.text, start)]
            edits.append((start, end, mark + sealed))
    return Comments(edits, known, guessed)


def _comment_again(
    spelled: str, ways: list[tuple[str, ...]], old: bytes, new: bytes
) -> str | None:
    """Return a comment under `new`, None where `old` opens it at none of the paths."""
    for path in ways:
        bound = token.additional_data(path)
        opened = token.opened(spelled, old, bound)
        if opened is not None:
            return token.sealed(new, opened.plaintext, bound, opened.type)
    return None


def _sealed(key: bytes, text: str, path: tuple[str, ...]) -> str:
    plaintext = text.encode("utf-8", "surrogateescape")
    return token.sealed(key, plaintext, token.additional_data(path), "comment")


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
