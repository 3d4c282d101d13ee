"""Names, comments and imports in the source text of agenix rules.

Evaluation returns keys without names, so the text is searched for bindings.  It is not
parsed as Nix: a misread text loses a name, never a reader, because readers come from
evaluation alone.
"""

import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from nixsecrets.adopt.hints import (
    Hints,
    NamedSet,
    Sighting,
    from_comment,
    is_heading,
    keys_in,
    kind_of_words,
    safe_name,
    split_prefix,
)
from nixsecrets.keys.recipients import KeyId, Recipient
from nixsecrets.splice import line_at, line_start

_TOKEN = re.compile(
    r"""(?P<comment>\#[^\n]*|/\*.*?\*/)
    |(?P<string>"(?:[^"\\]|\\.)*")
    |(?P<block>''.*?'')
    |(?P<relative>(?:\.\.?|[A-Za-z0-9_.+-]+)(?:/[A-Za-z0-9_.+-]+)+)
    |(?P<word>[A-Za-z_][A-Za-z0-9_'-]*)
    |(?P<sign>\+\+|//|[=;{}()\[\].,:@?])
    |(?P<newline>\n)""",
    re.VERBOSE | re.DOTALL,
)
_NOT_NAMES = frozenset(
    (
        *("publicKeys", "armor", "inherit", "import", "builtins", "map", "readFile"),
        *("attrValues", "concatLists"),
    )
)
# Names that say nothing about a key: the binding around them names it.
_GENERIC = frozenset(
    (
        *("publicKey", "publicKeys", "key", "keys", "pubkey", "pubKey", "sshKey"),
        *("hostKey", "hostPubkey", "hostPublicKey", "sshPublicKey", "ssh", "age"),
        *("value", "ed25519", "rsa", "public", "system", "user", "default"),
    )
)
_KEYWORDS = frozenset(("let", "in", "rec", "with", "if", "then", "else"))
_COMPUTED = re.compile(r"\b(readDir|getEnv|pathExists|currentTime|currentSystem)\b")
_QUOTED = '"'  # prefix of a name that was written as a string: that of an entry
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    start: int


@dataclass
class _Binding:
    """`names… = value;` as far as it was read.

    `depth` is the number of open brackets, `outer` the names of the bindings around it,
    `above` the comment lines above, `keys` its keys with their places, `mentions` the
    other names in its value.
    """

    names: tuple[str, ...]
    depth: int
    outer: tuple[str, ...] = ()
    above: tuple[str, ...] = ()
    keys: list[tuple[Recipient, str]] = field(default_factory=list)
    mentions: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Read:
    """The names and comments in one source text.

    `comments` are those of entries, by the entry's name, `loose` all others.
    """

    hints: Hints
    comments: Mapping[str, tuple[str, ...]]
    loose: tuple[str, ...]


def imports(text: str, path: str) -> Iterator[str]:
    """Yield the files that a source names by relative paths, as repository paths."""
    folder = posixpath.dirname(path)
    for token in _tokens(text):
        if token.kind == "relative" and token.text.startswith("."):
            target = posixpath.normpath(posixpath.join(folder, token.text))
            yield target
            if "." not in posixpath.basename(target):
                yield target + "/default.nix"


def computed(text: str) -> list[str]:
    """Return the functions in a source that make its value depend on other things."""
    return sorted(set(_COMPUTED.findall(_without_comments(text))))


def read_source(text: str, filename: str) -> Read:
    """Return the names, sets and comments of one `.nix` file."""
    scan = _Scan(text, filename)
    scan.run()
    hints = scan.hints()
    return Read(hints, scan.entry_comments, tuple(scan.loose))


def read_public_key(text: str, path: str) -> Hints:
    """Return names for the keys in a `.pub` file: after the file, else its folder."""
    stem = safe_name(posixpath.basename(path).removesuffix(".pub"))
    generic = stem is None or stem.startswith("ssh_host_") or stem.startswith("id_")
    folder = posixpath.basename(posixpath.dirname(path))
    name = safe_name(folder) if generic and folder else stem
    kind = kind_of_words([*path.split("/")[:-1]])
    if generic and "ssh_host" in path:
        kind = "host"
    keys = keys_in(text)
    many = len(keys) > 1
    return Hints(
        tuple(Sighting(key, name, path, kind or from_comment(key)[1]) for key in keys),
        (NamedSet(name, frozenset(k.key_id for k in keys), path),)
        if many and name
        else (),
    )


def _name_of_file(path: str) -> str | None:
    """Return the host or user that a file is named after, None if it is not."""
    folder, name = posixpath.split(path)
    stem = name.removesuffix(".nix")
    if stem in ("default", "configuration", "host", "meta", "keys", "secrets"):
        folder, stem = posixpath.split(folder)
    return safe_name(stem) if kind_of_words(folder.split("/")) else None


def _tokens(text: str) -> Iterator[_Token]:
    for found in _TOKEN.finditer(text):
        kind = found.lastgroup or ""
        yield _Token(kind, found[0], found.start())


def _without_comments(text: str) -> str:
    return "".join(
        one.text + " "
        for one in _tokens(text)
        if one.kind in ("word", "relative", "sign")
    )


class _Scan:
    """Reads one text from left to right and tracks the open bindings."""

    def __init__(self, text: str, filename: str) -> None:
        self.text = text
        self.filename = filename
        self.open: list[_Binding] = []
        self.closed: list[_Binding] = []
        self.depth = 0
        self.path: list[str] = []  # the names before a `=`
        self.pending: list[str] = []  # comment lines above what comes next
        self.blank = 0  # line ends since the last token
        self.last: _Binding | str | None = None  # what a comment on its line is about
        self.entry_comments: dict[str, tuple[str, ...]] = {}
        self.comments: dict[int, str] = {}  # of keys, by where they stand
        self.loose: list[str] = []
        self.seen: list[tuple[int, Recipient]] = []
        self.by_file = _name_of_file(filename)

    def run(self) -> None:
        for token in _tokens(self.text):
            if token.kind == "newline":
                self.blank += 1
                if self.blank > 1:
                    self.drop_pending()
                continue
            if token.kind == "comment":
                self.comment(token)
            else:
                getattr(self, token.kind)(token)
            self.blank = token.kind == "comment" and token.text.startswith("/*")
        self.drop_pending()
        self.closed += reversed(self.open)

    def drop_pending(self) -> None:
        self.loose += self.pending
        self.pending = []

    def comment(self, token: _Token) -> None:
        """Store a comment: for the key before it on its line, else for what follows."""
        lines = [
            line.strip().lstrip("#*").removesuffix("*/").strip()
            for line in token.text.removeprefix("/*").split("\n")
        ]
        lines = [line for line in lines if line]
        before = self.text[line_start(self.text, token.start) : token.start]
        line_keys = [at for at, _ in self.seen if at >= token.start - len(before)]
        if before.strip() and line_keys and lines:
            self.comments[line_keys[-1]] = " ".join(lines)
        else:
            self.pending += lines

    def word(self, token: _Token) -> None:
        if token.text in _KEYWORDS:
            self.drop_pending()
            self.path = []
            return
        if self.open and token.text not in _NOT_NAMES:
            self.open[-1].mentions.append(token.text)
        self.path.append(token.text)

    def relative(self, token: _Token) -> None:
        if self.open and token.text.endswith(".pub"):
            self.open[-1].mentions.append(token.text)

    def string(self, token: _Token) -> None:
        text = _ESCAPE.sub(_unescaped, token.text[1:-1])
        keys = keys_in(text)
        self.path.append(_QUOTED + text)
        for key in keys:
            self.found(key, token)

    def block(self, token: _Token) -> None:
        for key in keys_in(token.text[2:-2].strip()):
            self.found(key, token)

    def found(self, key: Recipient, token: _Token) -> None:
        line = line_at(self.text, token.start)
        binding = self.open[-1] if self.open else _Binding((), 0)
        if not self.open:
            self.closed.append(binding)
        binding.keys.append((key, f"{self.filename}:{line}"))
        self.seen.append((token.start, key))

    def sign(self, token: _Token) -> None:
        match token.text:
            case "=":
                self.bind()
            case ";":
                self.close()
            case "{" | "(" | "[":
                self.depth += 1
                self.path = []
            case "}" | ")" | "]":
                self.close_to(self.depth)
                self.depth -= 1
                self.path = []
            case ".":
                return
            case _:
                self.path = []

    def bind(self) -> None:
        names = tuple(self.path)
        for name in names:
            if self.open and self.open[-1].mentions[-1:] == [name]:
                self.open[-1].mentions.pop()
        above, self.pending = tuple(self.pending), []
        if above and names and names[0].startswith(_QUOTED):
            self.entry_comments[names[0].removeprefix(_QUOTED)] = above
            above = ()
        outer = (*self.open[-1].outer, *self.open[-1].names) if self.open else ()
        self.open.append(_Binding(names, self.depth, outer, above))
        self.path = []

    def close(self) -> None:
        self.path = []
        if self.open and self.open[-1].depth == self.depth:
            self.closed.append(self.open.pop())

    def close_to(self, depth: int) -> None:
        while self.open and self.open[-1].depth >= depth:
            self.closed.append(self.open.pop())

    def hints(self) -> Hints:
        """Return the keys with the names of their bindings, and the sets of keys."""
        for binding in self.closed:
            if len(binding.keys) != 1:
                self.loose += binding.above
        sightings = [one for binding in self.closed for one in self.named(binding)]
        return Hints(tuple(sightings), tuple(self.sets()))

    def named(self, binding: _Binding) -> Iterator[Sighting]:
        names = [name for name in binding.names if safe_binding(name)]
        outer = [*binding.outer, *binding.names[:-1]]
        while names and names[-1] in _GENERIC:
            names = names[:-1] or [n for n in outer[-1:] if safe_binding(n)]
            outer = outer[:-1]
        name = names[-1] if names else self.by_file
        group = name is not None and is_heading(name)
        for key, where in binding.keys:
            said, kind = from_comment(key)
            at = next((at for at, one in self.seen if one == key), -1)
            comment = self.comments.get(at, "")
            if len(binding.keys) == 1 and name is not None and not comment:
                comment = " ".join(binding.above)
            if name is None or group:
                kind = kind or kind_of_words([name or "", *outer])
                called = safe_name(comment) if len(comment.split()) == 1 else None
                yield Sighting(key, called or said, where, kind, comment)
            else:
                role, plain = split_prefix(name)
                kind = role or kind_of_words(outer) or kind
                origin = f"`{name}` in {where}"
                called, full = safe_name(plain), safe_name(name)
                yield Sighting(key, called, origin, kind, comment, full)

    def sets(self) -> Iterator[NamedSet]:
        """Yield the keys of each binding, including those of bindings it mentions."""
        own: dict[str, frozenset[KeyId]] = {}
        mentions: dict[str, list[str]] = {}
        for binding in self.closed:
            names = [one for one in binding.names if safe_binding(one)][-1:]
            keys = frozenset(key.key_id for key, _ in binding.keys)
            for name in {*names, *filter(safe_binding, binding.outer)}:
                own[name] = own.get(name, frozenset()) | keys
                mentions.setdefault(name, []).extend(binding.mentions)
        for name in own:
            keys = _closure(name, own, mentions)
            if len(keys) > 1:
                parts = tuple(dict.fromkeys(mentions[name]))
                yield NamedSet(name, keys, f"`{name}` in {self.filename}", parts)


def safe_binding(name: str) -> bool:
    """Return whether a name before `=` can be the name of a key or a set of keys."""
    return re.fullmatch(r"[A-Za-z_][A-Za-z0-9_'-]*", name) is not None and (
        name not in _NOT_NAMES
    )


def _closure(
    name: str, own: Mapping[str, frozenset[KeyId]], mentions: Mapping[str, list[str]]
) -> frozenset[KeyId]:
    seen: set[str] = set()
    waiting = [name]
    keys: frozenset[KeyId] = frozenset()
    while waiting:
        one = waiting.pop()
        if one not in seen and one in own:
            seen.add(one)
            keys |= own[one]
            waiting += mentions.get(one, [])
    return keys


def _unescaped(found: re.Match[str]) -> str:
    return {"n": "\n", "t": "\t", "r": "\r"}.get(found[1], found[1])
