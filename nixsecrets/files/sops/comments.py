"""The comments of a sops file: sops encrypts them as it does values.

Where they stand, which keys are above them, and which of them sops does not keep.
Without the values (`values`), but from the same readers.
"""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple, assert_never

from nixsecrets.errors import SecretFileError
from nixsecrets.files.sops import tree
from nixsecrets.files.sops.flat import Kind, dotenv_lines, ini_lines
from nixsecrets.files.sops.metadata import SopsFormat
from nixsecrets.files.sops.values import (
    Lines,
    decoded,
    names_of,
    nodes,
)
from nixsecrets.splice import line_start
from nixsecrets.untrusted import limits

# between scalars: what a `#` begins at the start of a line or behind white space
_FOREIGN_COMMENT = re.compile(r"(?:(?<=[ \t,\[{\]}])|^)(#[^\r\n]*)", re.MULTILINE)


class Comment(NamedTuple):
    """One comment of a sops file: sops encrypts it as it does a value.

    `text` is what sops reads, without the mark; `spans` is where it stands, marks
    included (INI joins what stands above a key to one).  `path` are the keys above it,
    as far as that can be known without sops; `others` are further ones that sops may
    take instead.  `applying` are the comments that decide about this one where options
    go by comments.  `dropped` comments stand where sops keeps none: it never encrypts
    them, and the next time that it writes the file they are gone.
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
        """Whether it says nothing: sops leaves an empty one as it is."""
        return not self.text.strip("#; \t")


def comments(kind: SopsFormat, data: bytes) -> list[Comment]:
    """Return the comments of a sops file that say anything, in their order.

    Raises:
        SecretFileError: it cannot be read with certainty.

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

    It belongs to what follows in its column, else to what ended above it in that.
    """
    limits.check("the file", len(document.comments), limits.COMMENTS, "comments")
    marks, text = document.marks, lines.text
    metadata = _metadata_span(document)
    applying: tuple[str, ...] = ()
    after = 0
    for start, end in document.comments:
        while after < len(marks) and marks[after].start < start:
            after, applying = after + 1, ()
        said = text[start + 1 : end]
        column = start - line_start(text, start)
        around = [*marks[after : after + 1], *reversed(marks[:after])]
        level = [mark.path for mark in around if mark.column == column]
        inline = text[start - column : start].strip(" \t")
        if inline and after:
            level = [marks[after - 1].path]
        near = [mark.path for mark in around[:2]]
        path = (*level, *near, ())[0]
        within = path[:1] == ("sops",) and (not document.root or start < metadata[1])
        dropped = within or metadata[0] <= start < metadata[1]
        if path[:1] == ("sops",) and not dropped:
            path = ()  # below the metadata sops keeps them, however they are indented
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
    """Return where the metadata stands: sops keeps no comment between its lines."""
    root = document.root.value if document.root else None
    sops = root.get("sops") if isinstance(root, dict) else None
    return (sops.start, sops.end) if sops else (0, 0)


def _documents_by_library(text: str) -> list[tree.Document]:
    """Return the comments of YAML that sops did not write, as of one document.

    They are what stands between scalars behind a `#`.
    """
    limits.check("the file", len(text), limits.FOREIGN_VALUES, "characters of YAML")
    scalars: list[Any] = []
    marks: list[tree.Mark] = []
    for place, node, key in nodes(text, tree.composed(text)):
        scalars += (one for one in (key, node) if one and one.id == "scalar")
        if place[1]:  # keys above it: its own, if it has one, is not among them
            at = (key or node).start_mark
            names = names_of(place)
            marks.append(tree.Mark(at.index, at.column, names[:-1] if key else names))
    taken: list[tuple[int, int]] = []
    for one in scalars:
        start = one.start_mark.index
        block = one.style in ("|", ">")  # may have a comment beside its mark
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
    """Return the comments of an INI file (gopkg.in/ini.v1, parser.go).

    Those above a key or a section and the one beside it are one, in that section; of
    those below the last key sops keeps none, nor of its own section.
    """
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
