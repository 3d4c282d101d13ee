"""Size limits for input from a repository, which is not trusted.

Larger input is refused by name before it is parsed.  `docs/files.md` has the table; the
limits are far above what fleets of thousands of machines need.
"""

import re

from nixsecrets.errors import TooLargeError

MEGABYTE = 1 << 20

TEXT = 8 * MEGABYTE
"""Bytes of the map, and of each configuration file; enough for 50,000 machines."""
LOCK = 32 * MEGABYTE
"""Bytes of the lock; enough for 100,000 files."""
YAML = 2 * MEGABYTE
"""Characters of a `.sops.yaml`; ruamel.yaml parses about 60 kB per second."""
FOREIGN_VALUES = MEGABYTE // 2
"""Characters of a sops file in YAML that sops itself did not format."""
COMMENTS = 5_000
"""Comments in one YAML document; matching them to values is quadratic."""
ENTRIES = 10_000
"""Recipients of one file."""
DEPTH = 500
"""Nested flow collections in YAML that neither nixsecrets nor sops formatted."""
KEY_PARTS = 100
"""Parts of a dotted key in TOML, `a.b.c`."""

# possessive quantifiers, so that a long line of almost-keys costs linear time
_PART = r"[\w\"'-]++[ \t]*+\.[ \t]*+"
_DOTTED = rf"(?<![\w\"'-])(?:{_PART}){{{KEY_PARTS}}}"
_BRACKETS = r"[\[{]+|[\]}]+"


def check(what: str, size: int, most: int, unit: str = "bytes") -> None:
    """Check the `size` of something, counted in `unit`, against a limit.

    Raises:
        TooLargeError: `what` (a path, or "the file") has more than `most`.
    """
    if size > most:
        raise TooLargeError(
            what,
            f"has more than {most:,} {unit}, more than nixsecrets reads",
            "nixsecrets explain NS062",
        )


def check_depth(what: str, text: str) -> None:
    """Check how deeply the brackets of a YAML text nest: ruamel.yaml can take minutes.

    Brackets in scalars and comments count as well; there they rarely only open.

    Raises:
        TooLargeError: more than `DEPTH` brackets are open at once.
    """
    depth = 0
    for found in re.finditer(_BRACKETS, text):
        many = found.end() - found.start()
        depth = depth + many if found[0][0] in "[{" else max(depth - many, 0)
        check(what, depth, DEPTH, "brackets within brackets")


def check_dotted(what: str, text: str) -> None:
    """Check the dotted keys of a TOML text: tomllib is quadratic in their parts.

    Raises:
        TooLargeError: a key has more than `KEY_PARTS` parts.
    """
    if text.count(".") >= KEY_PARTS and re.search(_DOTTED, text):
        raise TooLargeError(
            what,
            f"has a key of more than {KEY_PARTS} parts: more than is read",
            "nixsecrets explain NS062",
        )
