"""docs/architecture.md and the words of the packages name what is there, all of it."""

import ast
import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent
PACKAGE = PROJECT / "nixsecrets"
TEXT = (PROJECT / "docs/architecture.md").read_text(encoding="utf-8")
LONG = {"findings/catalogue.py": "a table of texts"}
PACKAGES = sorted(p.parent for p in PACKAGE.rglob("*/__init__.py"))
NAMES = [package.relative_to(PACKAGE).as_posix() for package in PACKAGES]


def test_every_file_it_names_is_there() -> None:
    named = set(re.findall(r"`((?:[a-z0-9_]+/)*[a-z0-9_]+\.py)`", TEXT))
    assert len(named) > 25
    below = {PACKAGE, *PACKAGES, PROJECT}
    assert {n for n in named if not any((p / n).is_file() for p in below)} == set()


def test_every_package_and_every_module_at_the_top_has_its_words() -> None:
    there = {f"{name}/" for name in NAMES}
    there |= {p.name for p in PACKAGE.glob("*.py") if not p.name.startswith("__")}
    assert {name for name in there if f"`{name}`" not in TEXT} == set()


@pytest.mark.parametrize("package", PACKAGES, ids=NAMES)
def test_a_package_says_what_it_is_and_names_only_modules_it_has(package: Path) -> None:
    tree = ast.parse((package / "__init__.py").read_text(encoding="utf-8"))
    words = ast.get_docstring(tree) or ""
    assert words.endswith((".", ")"))
    modules = {path.stem for path in package.glob("*.py")}
    beside = {path.stem for path in PACKAGE.iterdir()} | {"sops", "command"}
    assert set(re.findall(r"`([a-z0-9_]+)`", words)) <= modules | beside


def test_a_file_is_short_unless_there_is_a_reason() -> None:
    lines = {
        path.relative_to(PACKAGE).as_posix(): path.read_text("utf-8").count("\n")
        for path in PACKAGE.rglob("*.py")
    }
    assert {name for name, count in lines.items() if count > 400} <= LONG.keys()
