"""Re-encrypting the values and comments of a sops file under a new data key.

The same edits as `sops rotate`, without its 20 ms per file, and without changing the
indentation (docs/adr/0015).  If the engine does not understand a file, it declines
(returns None), and the caller runs sops.
"""

from collections.abc import Mapping

from nixsecrets.errors import SecretFileError
from nixsecrets.files.sops import token
from nixsecrets.files.sops.comments import Comment, comments
from nixsecrets.files.sops.engine import contents, mac, spelling
from nixsecrets.files.sops.metadata import SopsFile
from nixsecrets.files.sops.selection import selector_of
from nixsecrets.files.sops.spans import Edit
from nixsecrets.files.sops.token import is_encrypted
from nixsecrets.files.sops.values import UNKNOWN_SPAN
from nixsecrets.frozen import NamedTuple
from nixsecrets.splice import line_start


def value_edits(
    file: SopsFile, old: bytes, new: bytes, now: str, *, comments: int = 0
) -> list[Edit] | None:
    """Return the edits that re-encrypt every value from the data key `old` to `new`.

    And those of the MAC; `now` (RFC 3339, UTC, no fractions) is the time of the change.
    The caller replaces the entries and the encrypted comments, whose number is
    `comments`.  None if the file has a value in plaintext or several documents, or its
    MAC does not match.
    """
    if len(file.blocks) > 1 or dict(file.options).get(mac.MAC_ONLY):
        return None
    values = contents.opened(file, old)
    if values is None:
        return None
    full = [value for value in values if not value.leaf.empty]
    if not all(v.sealed and v.leaf.span != UNKNOWN_SPAN for v in full):
        return None
    # every token is of a value, of a comment, or the MAC: none stays under the old key
    if file.text.count(token.MARK) != len(full) + comments + 1:
        return None
    dated = mac.edits(file, new, mac.hash_of(file, values), now)
    return dated and [*(_value_edit(file, value, new) for value in full), *dated]


def _value_edit(file: SopsFile, value: contents.Value, key: bytes) -> Edit:
    bound = token.additional_data(value.leaf.path)
    again = token.sealed(key, value.plaintext, bound, value.type)
    return spelling.respelled(file.text, value.leaf, again)


class Comments(NamedTuple):
    """The re-encryption of a file's comments.

    `edits` encrypt every comment that sops would encrypt, and remove those in the
    metadata, where sops keeps none.  `known` is the number of comments that were
    encrypted before; `guessed` has the tokens of all others by their offset.
    """

    edits: list[Edit]
    known: int
    guessed: Mapping[int, str]


def comment_edits(
    file: SopsFile, old: bytes, new: bytes, guesses: Mapping[int, int]
) -> Comments | None:
    """Return the re-encryption of the comments from the data key `old` to `new`.

    The associated data of a comment are the keys that sops counts above it.  For an
    encrypted comment they are those with which it decrypts; for one in plaintext they
    are guessed, and sops has to confirm the result.  `guesses` is the number of the
    possible path to use by the offset of a comment, 0 if absent.  None if a comment
    does not decrypt, or no path is left to try.
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
            mark = file.text[start : file.text.index(one.text, start)]  # `# `, `; `
            edits.append((start, end, mark + sealed))
    return Comments(edits, known, guessed)


def _comment_again(
    spelled: str, ways: list[tuple[str, ...]], old: bytes, new: bytes
) -> str | None:
    """Return a comment under `new`, None if it decrypts with none of the paths."""
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
    """Return the edits that remove a comment, with its line if it is alone on it."""
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
