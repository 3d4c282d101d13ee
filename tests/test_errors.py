"""Errors carry fields; their text is for people, and no code reads it."""

import ast
import importlib
import pickle
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from nixsecrets import errors
from nixsecrets.errors import (
    MapError,
    NixsecretsError,
    PlaceError,
    SecretFileError,
    TooLargeError,
)

PACKAGE = Path(errors.__file__).parent
TEXTS = {"message", "reason", "hint", "args"}
"""What an error has for people, and how Python calls it."""
READERS = {
    "search",
    "match",
    "fullmatch",
    "findall",
    "finditer",
    "split",
    "sub",
    "join",
}
"""Functions of `re`, a compiled expression and paths: a text is an argument."""
FOREIGN = {
    "_compiled": "re2 says only in its text why an expression is refused",
    "_toml_error": "tomllib (Python 3.11) has the line of a mistake only in its text",
    "_failed": "paramiko tells its cases apart only by their text",
    "_decrypt_to": "pyrage tells its cases apart only by their text",
    "_explained": "pyrage tells its cases apart only by their text",
    "_first_line": "what another program said becomes one line of ours",
}
"""Functions at the border of a library that has no fields."""


@cache
def modules() -> dict[str, ast.Module]:
    """Return every module, parsed, by its path."""
    return {
        str(path.relative_to(PACKAGE)): ast.parse(path.read_text())
        for path in sorted(PACKAGE.rglob("*.py"))
    }


def readings(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield the places where a program decides by the text of an error."""
    functions = (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef))
    for function in functions:
        if function.name not in FOREIGN:
            texts = set(_texts(function))
            yield from (n for n in ast.walk(function) if _reads(n, texts))


def _texts(function: ast.FunctionDef) -> Iterator[str]:
    """Yield the names that stand for the text of an error."""
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and _is_text(node.value, set()):
            yield from (one.id for one in node.targets if isinstance(one, ast.Name))
        if isinstance(node, ast.NamedExpr) and _is_text(node.value, set()):
            yield node.target.id


def _is_text(node: ast.AST, texts: set[str]) -> bool:
    """Tell whether an expression is (or holds) the text of an error."""
    match node:
        case ast.Name(id=name):
            return name in texts
        case ast.Attribute(value=base, attr=attribute):
            return attribute in TEXTS and _is_error(base)
        case ast.Call(func=ast.Name(id="str" | "repr"), args=[base]):
            return _is_error(base) or _is_text(base, texts)
        case ast.JoinedStr(values=parts):
            return any(_is_text(part, texts) for part in parts)
        case ast.FormattedValue(value=base):
            return _is_error(base) or _is_text(base, texts)
        case ast.Subscript(value=base):
            return _is_text(base, texts)
        case ast.BinOp(left=left, right=right):
            return _is_text(left, texts) or _is_text(right, texts)
        case _:
            return False


def _is_error(node: ast.AST) -> bool:
    """Tell by its name whether an expression is an error."""
    name = getattr(node, "id", getattr(node, "attr", ""))
    return name in caught() or name.endswith("error")


@cache
def caught() -> set[str]:
    """Return the names under which errors are caught anywhere."""
    return {
        node.name
        for tree in modules().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler) and node.name
    }


def _reads(node: ast.AST, texts: set[str]) -> bool:
    match node:
        case ast.Compare(left=left, comparators=others, ops=ops):
            wanted = [one for one in (left, *others) if _is_text(one, texts)]
            return bool(wanted) and not all(
                isinstance(op, ast.Is | ast.IsNot) for op in ops
            )
        case ast.Subscript(value=base):
            return _is_text(base, texts)
        case ast.Match(subject=subject):
            return _is_text(subject, texts)
        case ast.Call(func=ast.Attribute(value=base, attr=method), args=args):
            if _is_text(base, texts):
                return method != "encode"
            return method in READERS and any(_is_text(one, texts) for one in args)
        case _:
            return False


@pytest.mark.parametrize(
    "code",
    [
        '"no such value" not in error.message',
        'str(error) == "gone"',
        'error.message.removeprefix("the file ")',
        'error.reason.startswith("the file")',
        'f"{error}".partition(": ")',
        're.search(r"line (\\d+)", error.message)',
        're.sub("^x", "", str(error))',
        "error.args[0]",
        "error.message[3:]",
        "posixpath.join(folder, error.message)",
        "failure.error.message.split()",
        "[text := error.message, text.split()]",
    ],
)
def test_a_decision_by_the_text_of_an_error_is_found(code: str) -> None:
    assert list(readings(ast.parse(f"def f(error, failure):\n    {code}\n")))


@pytest.mark.parametrize(
    "code",
    [
        "warn(error.message, error.hint)",
        "error.line == 3",
        "error.hint is None",
        "Finding(path, code, error.reason, error.line)",
        'print(f"{path}: {error}")',
    ],
)
def test_showing_the_text_of_an_error_is_no_decision(code: str) -> None:
    assert not list(readings(ast.parse(f"def f(error):\n    {code}\n")))


def test_no_code_reads_the_text_of_an_error() -> None:
    found = [
        f"{path}: {ast.unparse(node)}"
        for path, tree in modules().items()
        for node in readings(tree)
    ]
    assert not found, "\n".join(found)


def test_each_border_to_a_library_without_fields_is_still_one() -> None:
    defined = {
        node.name
        for tree in modules().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
    }
    assert set(FOREIGN) <= defined


def test_each_family_is_one_that_some_code_tells_apart() -> None:
    for name in modules():
        importlib.import_module("nixsecrets." + name[:-3].replace("/", "."))
    families = list(_below(NixsecretsError))
    told_apart = {name for tree in modules().values() for name in _told_apart(tree)}
    same = [
        one.__name__
        for one in families
        if one.exit_code == NixsecretsError.exit_code and one.__name__ not in told_apart
    ]
    assert len(families) > 10
    assert not same


def _below(family: type[NixsecretsError]) -> Iterator[type[NixsecretsError]]:
    for member in family.__subclasses__():
        yield member
        yield from _below(member)


def _told_apart(tree: ast.Module) -> Iterator[str]:
    """Yield the names of the classes that are caught, or asked for."""
    for node in ast.walk(tree):
        match node:
            case ast.ExceptHandler(type=ast.AST() as wanted):
                pass
            case ast.Call(func=ast.Name(id="isinstance" | "suppress"), args=args):
                wanted = ast.Tuple(args)
            case ast.Call(func=ast.Attribute(attr="suppress"), args=args):
                wanted = ast.Tuple(args)
            case ast.MatchClass(cls=wanted):
                pass
            case _:
                continue
        for one in ast.walk(wanted):
            yield getattr(one, "id", getattr(one, "attr", ""))


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (NixsecretsError("it failed", "do this"), "it failed"),
        (PlaceError(".sops.yaml", 3, "not YAML"), ".sops.yaml:3: not YAML"),
        (MapError("a/b.toml", 0, "no rule"), "a/b.toml: no rule"),
        (SecretFileError("sops refuses it", line=2), "sops refuses it"),
        (
            SecretFileError("is cut off", "hint", subject="the age file"),
            "the age file is cut off",
        ),
        (TooLargeError("map.toml", "has 3 bytes", "hint"), "map.toml has 3 bytes"),
    ],
)
def test_an_error_is_the_same_behind_a_process(
    error: NixsecretsError, text: str
) -> None:
    again = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert (type(again), vars(again)) == (type(error), vars(error))
    assert str(again) == again.message == str(error) == error.message == text
