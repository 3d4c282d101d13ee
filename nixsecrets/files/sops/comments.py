"""The comments of a sops file, which sops encrypts like values.

For each: its text and place, the keys above it, and whether sops keeps it.  The values
are in `values`; both use the same parsers.
"""

import re
from collections.abc import Iterator
from typing import Any, assert_never

from nixsecrets.errors import SecretFileError
from nixsecrets.files.sops import tree
from nixsecrets.files.sops.metadata import SopsFormat
from nixsecrets.files.sops.values import (
    Lines,
    decoded,
    names_of,
    nodes,
)
from nixsecrets.frozen import NamedTuple
from nixsecrets.splice import line_start
from nixsecrets.untrusted import limits

# in the text between scalars: a `#` at the start of a line or after white space
_FOREIGN_COMMENT = re.compile(r"(?:(?<=[ \t,\[{\]}])|^)(#[^\r\n]*)", re.MULTILINE)


class Comment(NamedTuple):
    """One comment of a sops file.

    - `path`: the keys above it, the best guess without sops; `others` are further
      possible paths.
    - `text`: as sops reads it, without the mark.
    - `spans`: the parts of the file, with marks; in INI, the comment lines above a key
      and the comment after it form one comment.
    - `applying`: the comments before it that options about comments consider for it.
    - `dropped`: it is where sops keeps no comments: sops does not encrypt it, and loses
      it the next time that it writes the file.
    """

    path: tuple[str, ...]
    text: str
    line: int
    spans: tuple[tuple[int, int], ...]
    applying: tuple[str, ...] = ()
    others: tuple[tuple[str, ...], ...] = ()
    dropped: bool = False

    @property
    def blank(self) -> bool:
        """Whether it is empty; sops does not encrypt empty comments."""
        return not self.text.strip("#; \t")


def comments(kind: SopsFormat, data: bytes) -> list[Comment]:
    """Return the comments of a sops file that are not empty, in order.

    Raises:
        SecretFileError: it cannot be parsed with certainty.
    """
    text = decoded(data)
    match kind:
        case SopsFormat.JSON | SopsFormat.BINARY:
            found: list[Comment] = []
        case SopsFormat.YAML:
            found = _yaml_comments(text)
        case SopsFormat.DOTENV:
            found = _dotenv_comments(text)
        case SopsFormat.INI:
            found = _ini_comments(text)
        case _ as never:
            assert_never(never)
    return [comment for comment in found if not comment.blank]


def _yaml_comments(text: str) -> list[Comment]:
    if "#" not in text:
        return []
    try:
        documents = tree.documents_with_comments(text)
    except (SecretFileError, RecursionError):
        documents = _documents_by_library(text)
    lines = Lines(text)
    found: list[Comment] = []
    for document in documents:
        found += _of_document(document, lines)
    return found


def _of_document(document: tree.Document, lines: Lines) -> Iterator[Comment]:
    """Yield the comments of a document, each with the keys that sops counts above it.

    A comment belongs to the next key in its column, else to the previous one in it.
    """
    limits.check("the file", len(document.comments), limits.COMMENTS, "comments")
    marks, text = document.marks, lines.text
    metadata = _metadata_span(document)
    applying: tuple[str, ...] = ()
    after = 0  # index of the first mark (key or dash) after the comment
    for start, end in document.comments:
        while after < len(marks) and marks[after].start < start:
            after, applying = after + 1, ()
        said = text[start + 1 : end]
        column = start - line_start(text, start)
        around = [*marks[after : after + 1], *reversed(marks[:after])]
        level = [mark.path for mark in around if mark.column == column]
        inline = text[start - column : start].strip(" \t")  # something before it
        if inline and after:
            level = [marks[after - 1].path]
        near = [mark.path for mark in around[:2]]
        path = (*level, *near, ())[0]  # the first candidate, if any
        within = path[:1] == ("sops",) and (not document.root or start < metadata[1])
        dropped = within or metadata[0] <= start < metadata[1]
        if path[:1] == ("sops",) and not dropped:
            path = ()  # after the metadata sops keeps comments, at any indentation
        # every prefix of the neighbors' paths, the longest first
        others = dict.fromkeys(
            one[:depth] for one in near for depth in range(len(one), -1, -1)
        )
        yield Comment(
            path,
            said,
            lines.line(start),
            ((start, end),),
            applying,
            tuple(one for one in others if one != path),
            dropped,
        )
        applying = (*applying, said)


def _metadata_span(document: tree.Document) -> tuple[int, int]:
    """Return the span of the metadata, in which sops keeps no comments."""
    root = document.root.value if document.root else None
    sops = root.get("sops") if isinstance(root, dict) else None
    return (sops.start, sops.end) if sops else (0, 0)


def _documents_by_library(text: str) -> list[tree.Document]:
    """Return the comments of YAML that sops did not format, as one document.

    ruamel.yaml gives the spans of scalars; a `#` between them starts a comment.
    """
    limits.check("the file", len(text), limits.FOREIGN_VALUES, "characters of YAML")
    scalars: list[Any] = []
    marks: list[tree.Mark] = []
    for place, node, key in nodes(text, tree.composed(text)):
        scalars += (one for one in (key, node) if one and one.id == "scalar")
        if place[1]:  # the path of a mark does not contain its own key
            at = (key or node).start_mark
            names = names_of(place)
            marks.append(tree.Mark(at.index, at.column, names[:-1] if key else names))
    taken: list[tuple[int, int]] = []
    for one in scalars:
        start = one.start_mark.index
        block = one.style in ("|", ">")  # a comment may follow the indicator
        start = text.find("\n", start) if block else start
        taken.append((start, one.end_mark.index))
    comments: list[tuple[int, int]] = []
    at = 0
    for start, end in [*sorted(taken), (len(text), len(text))]:
        found = _FOREIGN_COMMENT.finditer(text, at, max(at, start))
        comments += (one.span(1) for one in found)
        at = max(at, end)
    return [tree.Document(None, comments, sorted(marks))]


def _dotenv_comments(text: str) -> list[Comment]:
    from nixsecrets.files.sops.flat import Kind, dotenv_lines  # 1 ms; YAML has no use

    count = text.count("\n#") + text.startswith("#")
    limits.check("the file", count, limits.COMMENTS, "comments")
    found: list[Comment] = []
    applying: tuple[str, ...] = ()
    for line in dotenv_lines(text):
        if line.kind is not Kind.COMMENT:
            applying = ()
            continue
        said = text[line.comment[0] + 1 : line.comment[1]]
        found.append(Comment((), said, line.number, (line.comment,), applying))
        applying = (*applying, said)
    return found


def _ini_comments(text: str) -> list[Comment]:
    """Return the comments of an INI file (go-ini/ini:parser.go).

    The comments above a key or section and the one after it form one comment.  sops
    keeps none after the last key, nor in its own section.
    """
    from nixsecrets.files.sops.flat import Kind, ini_lines  # as above

    found: list[Comment] = []
    pending: list[tuple[int, tuple[int, int]]] = []

    def close(path: tuple[str, ...], *, dropped: bool) -> None:
        if pending:
            spans = tuple(span for _, span in pending)
            said = "\n".join(text[start:end] for start, end in spans).strip()
            said = said.lstrip(f"{said[:1]} ")
            found.append(Comment(path, said, pending[0][0], spans, dropped=dropped))
        pending.clear()

    for line in ini_lines(text):
        if line.comment[0] < line.comment[1]:
            pending.append((line.number, line.comment))
        if line.kind is not Kind.COMMENT:
            close((line.section,), dropped=line.section == "sops")
    close((), dropped=True)
    return found
