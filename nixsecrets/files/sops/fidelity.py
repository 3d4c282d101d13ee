"""What sops would change in a text: compares it with what sops prints of it.

For `edit`, `set FILE` and `set --from-file`, in all formats.  A value that sops would
change is refused, with a spelling that preserves it; one that sops only spells
differently is reported.  Messages have the place of a value and the kind of change,
never its content.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import assert_never

from nixsecrets.errors import SecretFileError
from nixsecrets.files.kind import SopsFormat
from nixsecrets.files.sops import plaintexts, printed
from nixsecrets.files.sops.comments import comments
from nixsecrets.files.sops.plaintexts import SourceValue, Style
from nixsecrets.files.sops.values import Place
from nixsecrets.frozen import NamedTuple
from nixsecrets.splice import line_start

_SHOWN = 10
_WORDS = frozenset(("yes", "no", "on", "off"))
_BASES = {"x": "hexadecimal", "o": "octal", "b": "binary"}
_MARK = re.compile(r"[#;]")
_SEPARATORS = re.compile("[\u2028\u2029]")
_WHOLE = (
    "give the file a name that sops stores as it is, for example one that ends in .conf"
)


class Change(NamedTuple):
    """How sops would change one value, and how to write the value instead."""

    line: int
    place: Place
    what: str
    hint: str = ""


def require_kept(
    kind: SopsFormat,
    plaintext: bytes,
    kept: bytes,
    before: Mapping[Place, str] | None = None,
) -> tuple[str, ...]:
    """Check that sops preserves the values of a text.

    `kept` is what sops prints of it.  Returns notes about values that are spelled
    differently, without those that the file had `before` (text by place).

    Raises:
        SecretFileError: a value would change (`line` is that of the first), or a
            comment would be lost.
    """
    printed.require_comments(plaintext, kept)
    if kind is SopsFormat.BINARY:
        if plaintext != kept:
            raise SecretFileError(
                "sops did not keep the content", "encrypt it with age"
            )
        return ()
    wrote = plaintexts.read(kind, plaintext)
    has = plaintexts.read(kind, kept)
    lost = list(_lost(kind, wrote.values, has.values))
    if lost:
        _refuse(lost)
    known = {place: text.replace("\n", "\\n") for place, text in (before or {}).items()}
    new = [one for one in wrote.values if known.get(one.place) != one.text]
    moved = _comments_moved(kind, plaintext, kept)
    return (*_notes(kind, wrote._replace(values=new), has.values), *moved)


def _refuse(lost: Sequence[Change]) -> None:
    count = "a value" if len(lost) == 1 else f"{len(lost)} values"
    lines = [f"line {one.line}: {shown(one.place)} {one.what}" for one in lost[:_SHOWN]]
    if len(lost) > _SHOWN:
        lines.append(f"and {len(lost) - _SHOWN} more")
    listed = f" {lines[0]}" if len(lines) == 1 else "".join(f"\n    {x}" for x in lines)
    message = f"sops would not keep {count} as written:{listed}"
    hints = dict.fromkeys(one.hint for one in lost if one.hint)
    raise SecretFileError(message, "\n".join(hints), line=lost[0].line)


def shown(place: Place) -> str:
    """Return the path of a value for a message; sops does not encrypt keys."""
    path = "/".join(map(str, place[1]))
    path = path if place[0] == 0 else f"[{place[0] + 1}]/{path}"
    return path if path.isprintable() and len(path) <= 80 else "a value"


# --- what is lost ---------------------------------------------------------------------


def _lost(
    kind: SopsFormat, wrote: Iterable[SourceValue], has: Iterable[SourceValue]
) -> Iterator[Change]:
    """Yield the values that sops would change; of joined lines only the first."""
    kept: dict[Place, list[SourceValue]] = {}
    for one in has:
        kept.setdefault(one.place, []).append(one)
    counts = Counter(one.place for one in wrote)
    taken: Counter[Place] = Counter()
    joined = False
    for one in wrote:
        there = kept.get(one.place, [])
        taken[one.place] += 1
        # a repeated key that sops does not keep as often: reported at its second place
        if 1 < counts[one.place] != len(there):
            if taken[one.place] == 2:
                yield _change(one, "is duplicated: sops keeps one", _repeated(kind))
            continue
        if not there and joined:
            joined = False
            continue  # sops joined it to the previous value
        found = there[taken[one.place] - 1] if there else None
        change = _compared(kind, one, found)
        joined = kind is SopsFormat.INI and one.text.endswith("\\")
        if change is not None:
            yield change


def _change(one: SourceValue, what: str, hint: str = "") -> Change:
    return Change(one.line, one.place, what, hint)


def _repeated(kind: SopsFormat) -> str:
    if kind is SopsFormat.INI:
        return f"where both are needed, {_WHOLE}"
    return "keep the intended one"


def _compared(
    kind: SopsFormat, one: SourceValue, there: SourceValue | None
) -> Change | None:
    """Return how sops would change a value, None if it does not."""
    match kind:
        case SopsFormat.YAML:
            return _yaml_value(one, there)
        case SopsFormat.JSON:
            return _json_value(one, there)
        case SopsFormat.INI:
            return _ini_value(one, there)
        case SopsFormat.DOTENV:
            return _dotenv_value(one, there)
        case SopsFormat.BINARY:
            return None  # kept byte for byte
        case _ as never:
            assert_never(never)


def _yaml_value(one: SourceValue, there: SourceValue | None) -> Change | None:
    name = _quoted_name(one.place)
    quote = f'write it in double quotes: {name}: "…"'
    if "\x85" in one.text:  # a line break for sops, in quotes too
        quote = f'write U+0085 as \\N, in double quotes: {name}: "…\\N…"'
    if _SEPARATORS.search(one.text):
        quote = "leave U+2028 and U+2029 out; nixsecrets set --key stores them"
    if one.style is Style.TAGGED:
        return _change(
            one,
            "has a tag (!…), which sops drops",
            f'if the tag is part of the value, quote both: {name}: "!… …"; '
            "if not, leave it out",
        )
    if there is None:
        return _change(one, "is not kept at all", quote)
    if one.style is Style.NULL and there.style is Style.NULL:
        return None
    if one.style is Style.TEXT:
        same = one.text == there.text and not _resolved(there)
        return None if same else _change(one, "is read as other text", quote)
    if one.text == there.text:
        return None  # sops quotes the word, which is still the same text
    kind = _kind_of_change(one.text, there)
    return None if kind is None else _change(one, kind, quote)


def _quoted_name(place: Place) -> str:
    name = next((s for s in reversed(place[1]) if isinstance(s, str)), "key")
    return name if name.isprintable() and len(name) <= 40 else "key"


def _resolved(there: SourceValue) -> bool:
    """Return whether a word that sops prints without quotes is not text."""
    bare = there.style is Style.BARE and not plaintexts.bare_is_text(there.text)
    return there.style is Style.NULL or bare


def _kind_of_change(text: str, there: SourceValue) -> str | None:
    """Return what a bare word is read as, None if it is only spelled differently."""
    word = text.lower()
    if word in plaintexts.CONSTANTS and there.text.lower() == word:
        return None
    if plaintexts.DATE.match(text):
        return "is read as a date, and written as a time"
    if not plaintexts.NUMBER.fullmatch(text) or there.style is not Style.BARE:
        return "is read as another value"
    unsigned = word.lstrip("+-")
    if unsigned[:1] == "0" and unsigned[1:2] in _BASES:
        return f"is read as a number ({_BASES[unsigned[1]]})"
    if "_" in text:
        return "is read as a number, without its underscores"
    was, now = _decimal(text), _decimal(there.text)
    if re.match(r"0\d", unsigned):
        octal = was != now
        return "is read as a number" + (
            " (octal)" if octal else ", without its leading zeros"
        )
    if was is None or now is None:
        return "is read as another number"
    if "e" in word:
        return "is read as a number with an exponent"
    if was != now:
        return "is a number with more digits than sops keeps"
    return "is read as a number, without its plus sign" if text[0] == "+" else None


def _decimal(text: str) -> Decimal | None:
    try:
        return Decimal(text)
    except InvalidOperation:
        return None


def _json_value(one: SourceValue, there: SourceValue | None) -> Change | None:
    name = _quoted_name(one.place)
    if there is None:
        return _change(one, "is not kept at all")
    if one.style is not there.style:
        return _change(one, "is read as another value")
    if one.text == there.text:
        return None
    if one.style is Style.TEXT:
        return _change(
            one,
            "contains an invalid character",
            "write each \\ud8… together with its second half, or drop it",
        )
    if _decimal(one.text) is not None and _decimal(one.text) == _decimal(there.text):
        return None
    return _change(
        one,
        "is a number with more digits than sops keeps",
        f'write it as a string: "{name}": "…"',
    )


def _ini_value(one: SourceValue, there: SourceValue | None) -> Change | None:
    if there is not None and there.text == one.text:
        return None
    name, text = _quoted_name(one.place), one.text
    quote = "`" if "`" not in text else '"""'
    way = f"put it into backquotes: {name} = `…`"
    if quote != "`":
        way = f'put it into three double quotes: {name} = """…"""'
    if "`" in text and '"""' in text:
        way = "no spelling keeps it in an ini file: keep it in a yaml file"
    if text.endswith("\\"):
        what = "ends with a backslash, which joins the next line to it"
        return _change(one, what, way)
    if there is None:
        return _change(one, "is read under another name", "use letters and digits")
    if _MARK.search(text):
        return _change(
            one,
            'is cut short at its "#" or ";"',
            f"{way}; a comment goes on a line of its own",
        )
    if text[:1] in ("'", '"') and text[:1] == text[-1:]:
        inner = "`'…'`" if text[0] == "'" else '`"…"`'
        belong = f"{name} = {inner}" if quote == "`" else way
        return _change(
            one,
            "loses the quotes around it",
            f"remove them; if they are part of the value: {belong}",
        )
    return _change(one, "is read as other text", way)


def _dotenv_value(one: SourceValue, there: SourceValue | None) -> Change | None:
    if one.text.endswith("\r"):
        return _change(
            one,
            "ends with CR, which sops treats as part of it",
            "give the text LF line ends",
        )
    if there is not None and there.text == one.text:
        return None
    return _change(
        one, "is read as other text", "keep it in a yaml file: no spelling keeps it"
    )


# --- what is only spelled differently -------------------------------------------------


def _notes(
    kind: SopsFormat,
    wrote: plaintexts.Plaintext,
    has: Sequence[SourceValue],
) -> Iterator[str]:
    if wrote.aliases:
        line = wrote.aliases[0]
        yield f"line {line}: sops expands YAML anchors: every alias becomes a copy"
    kept = {one.place: one for one in has}
    notes = [
        (one, note)
        for one in wrote.values
        if (note := _note(kind, one, kept.get(one.place)))
    ]
    for one, note in notes[:_SHOWN]:
        yield f"line {one.line}: {shown(one.place)} {note}"
    if len(notes) > _SHOWN:
        yield f"and {len(notes) - _SHOWN} more values that are spelled differently"


def _note(kind: SopsFormat, one: SourceValue, there: SourceValue | None) -> str | None:
    name = _quoted_name(one.place)
    if kind is SopsFormat.DOTENV:
        return _dotenv_note(one)
    if there is None or one.style is not Style.BARE:
        return None
    if there.style is Style.TEXT and one.text.lower() in _WORDS:
        return f'is a string for sops, not a boolean; it writes {name}: "…"'
    if one.text == there.text:
        return None
    if kind is SopsFormat.JSON:
        return f'will be spelled differently; "{name}": "…" keeps it as it is'
    if kind is SopsFormat.YAML and one.text.split() != there.text.split():
        return f'will be spelled differently; {name}: "…" keeps it as it is'
    return None


def _dotenv_note(one: SourceValue) -> str | None:
    name = str(one.place[1][0])
    if name.startswith("export "):
        return 'has "export " as part of its name for sops'
    if name != name.strip() or one.text != one.text.strip():
        return "has spaces around its name or value that sops treats as part of it"
    if len(one.text) > 1 and one.text[0] in "\"'" and one.text[0] == one.text[-1]:
        return "has quotes, which sops treats as part of the value"
    if "\\n" in one.text:
        return "has a backslash and an n, which sops reads as a line feed"
    return None


def _comments_moved(kind: SopsFormat, plaintext: bytes, kept: bytes) -> Iterator[str]:
    """Yield a note if sops would move a comment from after a value to above it."""
    beside = _beside(kind, plaintext)
    if len(beside) > len(_beside(kind, kept)):
        yield f"line {beside[0]}: sops moves a comment after a value above it"


def _beside(kind: SopsFormat, data: bytes) -> list[int]:
    """Return the lines of the comments that follow something on their line."""
    if kind is not SopsFormat.YAML:
        return []
    text = data.decode("utf-8", "replace")
    found = (one for one in comments(kind, data) if one.spans)
    return [
        one.line
        for one in found
        if text[line_start(text, one.spans[0][0]) : one.spans[0][0]].strip()
    ]
