"""docs/findings.md is written from the catalogue; run with --write to bring it up."""

import sys
from pathlib import Path

from nixsecrets.findings.catalogue import document

FILE = Path(__file__).parent.parent / "docs" / "findings.md"


def main() -> int:
    """Compare, or with --write replace; 1 where they differ."""
    if "--write" in sys.argv:
        FILE.write_text(document(), encoding="utf-8")
        return 0
    return int(FILE.read_text(encoding="utf-8") != document())


if __name__ == "__main__":
    sys.exit(main())
