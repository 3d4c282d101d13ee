"""docs/options.md, rendered by real Nix from the modules.

python -m tests.options_doc [--write]: compare it, or write it anew.
"""

import json
import subprocess
import sys

from tests import fleet as kit
from tests.fleet import PROJECT

PAGE = PROJECT / "docs/options.md"
STUB = "(import ./tests/nix/stub).lib"


def rendered(lib: str = STUB) -> str:
    """Return the page; `lib` is an expression for the library of nixpkgs."""
    done = subprocess.run(
        [
            *(kit.program("nix-instantiate"), "--store", "dummy://", "--eval"),
            *("--json", "-E", f"import ./nix/options.nix {{ lib = {lib}; }}"),
        ],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=kit.TIMEOUT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return str(json.loads(done.stdout))


def main() -> int:
    """Compare, or with --write replace; 1 where they differ."""
    if "--write" in sys.argv:
        PAGE.write_text(rendered())
        return 0
    return int(PAGE.read_text() != rendered())


if __name__ == "__main__":
    sys.exit(main())
