"""How much of what a repository holds is read: it may come from anybody.

What is larger is refused by name before it is parsed.  `docs/files.md` has the table;
the limits lie far above what fleets of thousands of machines have.
"""

import re

from nixsecrets.errors import TooLargeError

MEGABYTE = 1 << 20

TEXT = 8 * MEGABYTE
"""Bytes of the map, and of each configuration: 50,000 machines."""
LOCK = 32 * MEGABYTE
"""Bytes of the lock: 100,000 files."""
YAML = 2 * MEGABYTE
"""Characters of a configuration of sops; the library reads 60 kB in a second."""
FOREIGN_VALUES = MEGABYTE // 2
"""Characters of a sops file in YAML that sops did not write."""
COMMENTS = 5_000
"""Comments of a document of YAML: each is read with those above it."""
ENTRIES = 10_000
"""Recipients of one file."""
DEPTH = 500
"""Brackets that are open at once in YAML that is not as we or sops write it."""
KEY_PARTS = 100
"""Parts of a dotted key in TOML, `a.b.c`."""

_PART = r"[\w\"'-]++[ \t]*+\.[ \t]*+"
_DOTTED = re.compile(rf"(?<![\w\"'-])(?:{_PART}){{{KEY_PARTS}}}")
_BRACKETS = re.compile(r"[\[{]+|[\]}]+")


def check(what: str, size: int, most: int, unit: str = "bytes") -> None:
    """Refuse what is larger than a limit.

    Raises:
        TooLargeError: `what` (a file, or "the file") has more than `most`.
    """
    if size > most:
        raise TooLargeError(
            what,
            f"has more than {most:,} {unit}, more than nixsecrets reads",
            "nixsecrets explain NS062",
        )


def check_depth(what: str, text: str) -> None:
    """Refuse YAML whose brackets nest too deep, which takes the library minutes.

    Those in texts and comments count too, but hardly ever only open.

    Raises:
        TooLargeError: more than `DEPTH` are open at once.
    """
    depth = 0
    for found in _BRACKETS.finditer(text):
        many = found.end() - found.start()
        depth = depth + many if found[0][0] in "[{" else max(depth - many, 0)
        check(what, depth, DEPTH, "brackets within brackets")


def check_dotted(what: str, text: str) -> None:
    """Refuse a TOML key of very many parts: tomllib takes the square of their number.

    Raises:
        TooLargeError: there is one.
    """
    if _DOTTED.search(text):
        raise TooLargeError(
            what,
            f"has a key of more than {KEY_PARTS} parts: more than is read",
            "nixsecrets explain NS062",
        )
