"""The size of the source: each package's files, code, docstrings and comments.

Code is a line with a token on it that belongs to neither a docstring nor a comment;
a line of code with a comment behind it counts as both.
"""

import ast
import io
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path(__file__).resolve().parent.parent / "nixsecrets"
# What touches keys and secret bytes: docs/architecture.md, "An auditor's path".
AUDITED = (
    *("files/age/header", "files/age/operations", "files/age/payload"),
    *("files/age/plugin", "files/age/pyrage_port", "files/age/verify"),
    *("files/age/wrap", "files/pieces", "files/sops/assign", "files/sops/datakey"),
    *("files/sops/engine", "files/sops/extract", "files/sops/grant"),
    *(
        "files/sops/integrity",
        "files/sops/lookup",
        "files/sops/opening",
        "files/sops/operations",
    ),
    *("files/sops/program", "files/sops/publish", "files/sops/rekey"),
    *("files/sops/run", "files/sops/token", "files/sops/verify"),
    *("files/sops/workcopy", "apply", "repo/fsops", "repo/journal", "repo/private"),
    *("repo/gitunlock/texts", "repo/staging"),
)
_NO_CODE = {
    *(tokenize.NEWLINE, tokenize.NL, tokenize.INDENT, tokenize.DEDENT),
    *(tokenize.COMMENT, tokenize.ENCODING, tokenize.ENDMARKER),
}


class Size(NamedTuple):
    """Lines of one file or of several."""

    files: int = 0
    code: int = 0
    docstrings: int = 0
    comments: int = 0

    def plus(self, other: "Size") -> "Size":
        """Return the sum, column by column."""
        return Size(*(mine + more for mine, more in zip(self, other, strict=True)))


def size_of(source: str) -> Size:
    """Return the size of one module."""
    docstrings = {line for lines in _docstrings(ast.parse(source)) for line in lines}
    code: set[int] = set()
    comments: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            comments.add(token.start[0])
        elif token.type not in _NO_CODE:
            code.update(range(token.start[0], token.end[0] + 1))
    return Size(1, len(code - docstrings), len(docstrings), len(comments))


def _docstrings(tree: ast.Module) -> Iterator[range]:
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    for node in ast.walk(tree):
        if isinstance(node, documented) and ast.get_docstring(node) is not None:
            first = node.body[0]
            yield range(first.lineno, (first.end_lineno or first.lineno) + 1)


def sizes() -> dict[str, Size]:
    """Return the size of each package, those within packages apart."""
    found: dict[str, Size] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        package = path.parent.relative_to(PACKAGE).as_posix()
        name = "(beside the folders)" if package == "." else package
        size = size_of(path.read_text(encoding="utf-8"))
        found[name] = found.get(name, Size()).plus(size)
    return found


def audited() -> list[Path]:
    """Return the modules that touch keys and secret bytes."""
    found: list[Path] = []
    for name in AUDITED:
        folder = PACKAGE / name
        module = folder.with_suffix(".py")
        found += sorted(folder.glob("*.py")) if folder.is_dir() else [module]
    return found


def main() -> int:
    """Print the table."""
    found = sizes()
    total = Size()
    for size in found.values():
        total = total.plus(size)
    touching = Size()
    for path in audited():
        touching = touching.plus(size_of(path.read_text(encoding="utf-8")))
    rows = [*found.items(), ("all", total), ("touches keys or plaintext", touching)]
    sys.stdout.write(f"{'package':<28}{'files':>7}{'code':>8}{'docs':>7}{'notes':>7}\n")
    for name, size in rows:
        row = f"{name:<28}{size.files:>7}{size.code:>8}{size.docstrings:>7}"
        sys.stdout.write(f"{row}{size.comments:>7}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
