"""Small edits of a TOML text: items of lists, keys of tables, whole tables.

Every function reads a scanned Document and returns edits for `splice.apply_edits`,
which change nothing but the named item.  The caller checks what the result means.

Comments move with what they describe:

- a comment at the end of a line, with the item that has this line to itself;
- comment lines directly above a table, with the table;
- comment lines directly above a list item or a `key = value` line, with it, unless
  another one follows directly (then they are the heading of both);
- comment lines directly below a table's last line and before an empty line, with that
  table.
"""

import json
import re
from collections.abc import Iterator, Sequence

from nixsecrets.map.tomlspans import (
    Array,
    Document,
    Entry,
    Header,
    InlineTable,
    Path,
    Statement,
)
from nixsecrets.splice import after_line, line_start, newline_of

Edit = tuple[int, int, str]

_BARE = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_INDENT = re.compile(r"[ \t]*+")
_COMMENT_LINE = re.compile(r"[ \t]*+#")
_REST_OF_LINE = re.compile(r"[ \t]*+(,?+)[ \t]*+(?:#[^\n]*+)?+\r?+(?:\n|\Z)")
_COMMA = re.compile(r"(?:[ \t\r\n]++|#[^\n]*+)*+,")


def toml_key(name: str) -> str:
    """Return `name` as one part of a TOML key."""
    return name if _BARE.fullmatch(name) else toml_string(name)


def toml_string(text: str) -> str:
    r"""Return `text` as a TOML string; a literal one where it has a `\` or a `"`."""
    if ("\\" in text or '"' in text) and "'" not in text and text.isprintable():
        return f"'{text}'"
    # JSON's escapes are valid in TOML, but JSON does not escape DEL, and TOML must.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")


def toml_strings(texts: Sequence[str], *, one_per_line: bool = False) -> str:
    r"""Return `texts` as a TOML list, on one line or (with `\n`) on several."""
    written = [toml_string(text) for text in texts]
    if one_per_line and len(written) > 1:
        return "[\n" + "".join(f"  {text},\n" for text in written) + "]"
    return "[" + ", ".join(written) + "]"


def append_item(document: Document, array: Array, item: str) -> list[Edit]:
    """Return edits that append `item` (TOML text) to `array`, in its layout."""
    text = document.text
    if not array.items:
        return _fill_empty(text, array, item)
    last = array.items[-1]
    tail = text[last.end : array.end - 1]
    line = line_start(text, last.start)
    indent = _indent_at(text, line)
    starts_line = line + len(indent) == last.start
    if "\n" not in tail:
        gap = f",{newline_of(text)}{indent}" if starts_line else ", "
        return [(last.end, last.end, gap + item)]
    if line <= array.start:  # the last item is on the line of the opening bracket
        indent += "  "
    comma = _COMMA.match(text, last.end)
    place = after_line(text, comma.end() if comma else last.end)
    if comma:
        return [(place, place, f"{indent}{item},{newline_of(text)}")]
    return [
        (last.end, last.end, ","),
        (place, place, f"{indent}{item}{newline_of(text)}"),
    ]


def remove_item(
    document: Document,
    container: Array | InlineTable,
    index: int,
    *,
    heads_no_others: bool = False,
) -> list[Edit]:
    """Return edits that remove one item (of a list) or entry (of a table).

    `heads_no_others`: comment lines above belong to this item even if another one
    follows directly.
    """
    text = document.text
    items = container.items if isinstance(container, Array) else container.entries
    item = items[index]
    before = items[index - 1].end if index else container.start + 1
    has_next = index + 1 < len(items)
    after = items[index + 1].start if has_next else container.end - 1
    gap_before, gap_after = text[before : item.start], text[item.end : after]
    if len(items) == 1 and "#" not in gap_before + gap_after:
        return [(before, after, "")]
    # an item with lines of its own: remove these, and the comments above
    if lines := _own_lines(text, item.start, item.end, last=not has_next):
        start, end = lines
        if len(items) == 1 and not (text[before:start] + text[end:after]).strip():
            return [(before, after, "")]
        if heads_no_others or not has_next or line_start(text, after) != end:
            start = _comments_above(text, start)
        edits = [(start, end, "")]
        comma = _COMMA.match(text, before) if index else None
        if comma and not has_next and "," not in _uncommented(gap_after):
            edits.append((comma.end() - 1, comma.end(), ""))
        return edits
    # an item among others on a line: remove it with the comma on the side that has no
    # line break and no comment
    if index and not {"\n", "#"} & set(gap_before):
        return [(before, item.end, "")]
    if has_next and not {"\n", "#"} & set(gap_after):
        return [(item.start, after, "")]
    if index and "#" not in gap_before:
        return [(before, item.end, "")]
    comma = _COMMA.match(text, item.end)
    return [(item.start, comma.end() if comma else item.end, "")]


def set_key(document: Document, table: Path, key: str, value: str) -> list[Edit]:
    """Return edits that set `key` of the table at `table` to `value` (TOML text).

    The table may have a header, be inline, or consist of dotted keys.  Returns no edits
    if there is no such table.
    """
    values = document.values()
    if old := values.get((*table, key)):
        return [(old.start, old.end, value)]
    if isinstance(inline := values.get(table), InlineTable):
        return _add_inline(inline, f"{toml_key(key)} = {value}")
    home = _last_line_of(document, table)
    if home is None:
        return []
    # below dotted keys (`hosts.web.keys = …`) the new line needs the same prefix
    own_keys = home.keys if isinstance(home, Entry) else ()
    prefix = own_keys[: max(0, len(own_keys) - (len(home.path) - len(table)))]
    dotted = document.text[prefix[0].start : prefix[-1].end] + "." if prefix else ""
    indent = _indent_at(document.text, line_start(document.text, home.start))
    line = f"{indent}{dotted}{toml_key(key)} = {value}{newline_of(document.text)}"
    return [_insert_line(document.text, after_line(document.text, home.end), line)]


def remove_path(document: Document, path: Path) -> list[Edit]:
    """Return edits that remove one place where `path` is written; none if it is gone.

    A table may be written in several places (sub-tables, dotted keys): apply the edits,
    scan again, and repeat until there are none.
    """
    blocks = list(_blocks(document, path))
    if blocks:
        return [_remove_block(document, *blocks[0])]
    for node in document.nodes():
        if isinstance(node, InlineTable) and not _is_below(node.path, path):
            for index, entry in enumerate(node.entries):
                if _is_below(entry.path, path):
                    return remove_item(document, node, index)
    return []


def insert_table(document: Document, sections: Sequence[str], block: str) -> list[Edit]:
    r"""Return the edit that adds a table's text `block` (lines ending in `\n`).

    It follows the last table of the first of `sections` that exists; "" stands for the
    keys above all tables.  If its own section, `sections[0]`, does not exist yet and
    would start at the end of the file, it follows the comments there.
    """
    text = document.text
    last: dict[str, Statement] = {}
    section = ""
    for statement in document.statements:
        if isinstance(statement, Header):
            section = str(statement.path[0])
        last[section] = statement
    anchor = next(last[section] for section in sections if section in last)
    place = block_end(document, anchor)
    if sections[0] not in last and anchor is document.statements[-1]:
        place = after_line(text, len(text.rstrip()))
    follows_directly = place < len(text) and _blank_line_end(text, place) is None
    spaced = f"\n{block}\n" if follows_directly else f"\n{block}"
    return [_insert_line(text, place, spaced.replace("\n", newline_of(text)))]


def insert_table_before(document: Document, header: Header, block: str) -> list[Edit]:
    """Return the edit that adds a table's text above another table's header."""
    text = document.text
    place = _comments_above(text, line_start(text, header.start))
    return [(place, place, f"{block}\n".replace("\n", newline_of(text)))]


def _fill_empty(text: str, array: Array, item: str) -> list[Edit]:
    inner = text[array.start + 1 : array.end - 1]
    if "#" not in inner:
        return [(array.start + 1, array.end - 1, item)]
    closing = line_start(text, array.end - 1)
    indent = _indent_at(text, line_start(text, array.start)) + "  "
    return [(closing, closing, f"{indent}{item},{newline_of(text)}")]


def _add_inline(table: InlineTable, entry: str) -> list[Edit]:
    if not table.entries:
        return [(table.start, table.end, f"{{ {entry} }}")]
    end = table.entries[-1].end
    return [(end, end, f", {entry}")]


def _last_line_of(document: Document, table: Path) -> Statement | None:
    """Return the statement that a new key of `table` must follow."""
    home: Statement | None = None
    for statement in document.statements:
        if isinstance(statement, Header):
            home = statement if statement.path == table else home
        elif _is_below(statement.path, table):
            depth = len(statement.path) - len(table)
            home = statement if len(statement.keys) >= depth else home
    return home


def _blocks(document: Document, path: Path) -> Iterator[tuple[Statement, Statement]]:
    """Yield the first and last of each run of statements that are below `path`."""
    run: list[Statement] = []
    for statement in document.statements:
        if _is_below(statement.path, path):
            run.append(statement)
        elif run:
            yield run[0], run[-1]
            run = []
    if run:
        yield run[0], run[-1]


def _remove_block(document: Document, first: Statement, last: Statement) -> Edit:
    text = document.text
    start = line_start(text, first.start)
    if isinstance(first, Entry):
        end = after_line(text, last.end)
        entries = (s for s in document.statements if isinstance(s, Entry))
        heads_more = any(line_start(text, entry.start) == end for entry in entries)
        return (start if heads_more else _comments_above(text, start), end, "")
    start = _comments_above(text, start)
    above = text[:start].rstrip()
    content_above = after_line(text, len(above)) if above else 0
    end = block_end(document, last)
    if content_above < start or start == 0:  # keep one of the two gaps
        while (after := _blank_line_end(text, end)) is not None:
            end = after
    return (content_above if end == len(text) else start, end, "")


def block_end(document: Document, last: Statement) -> int:
    """Return the end of a table's lines, including the comments that trail it."""
    text = document.text
    end = below = after_line(text, last.end)
    while _COMMENT_LINE.match(text, below):
        below = after_line(text, below)
    trails = below == len(text) or _blank_line_end(text, below) is not None
    return below if trails else end


def _blank_line_end(text: str, start: int) -> int | None:
    """Return the end of the line at `start` if it is an empty line, else None."""
    end = after_line(text, start)
    return end if start < end and not text[start:end].strip() else None


def _own_lines(
    text: str, start: int, end: int, *, last: bool
) -> tuple[int, int] | None:
    """Return start and end of an item's lines, None if it shares them with another."""
    line = line_start(text, start)
    rest = _REST_OF_LINE.match(text, end)
    if text[line:start].strip() or rest is None:
        return None
    if not rest[1] and not (last and not _COMMA.match(text, end)):
        return None
    return line, rest.end()


def _comments_above(text: str, line: int) -> int:
    """Return the start of the comment lines straight above `line`, else `line`."""
    while line and _COMMENT_LINE.match(text, above := line_start(text, line - 1)):
        line = above
    return line


def _uncommented(gap: str) -> str:
    return re.sub(r"#[^\n]*", "", gap)


def _is_below(path: Path, top: Path) -> bool:
    return path[: len(top)] == top


def _insert_line(text: str, place: int, line: str) -> Edit:
    """Return the edit that inserts a whole line, also after a text without newline."""
    if place == len(text) and text and not text.endswith("\n"):
        line = newline_of(text) + line
    return (place, place, line)


def _indent_at(text: str, line: int) -> str:
    indent = _INDENT.match(text, line)
    return indent.group() if indent else ""
