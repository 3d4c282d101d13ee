"""Any two changes of a plaintext: what comes out is the merge of both sides' values."""

import configparser
import io
import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from nixsecrets.files.kind import SopsFormat
from nixsecrets.merge.valuemerge import merged

Tree = dict[str, Any]
_GONE = object()
FLAT = (SopsFormat.DOTENV, SopsFormat.INI)
_NAMES = st.sampled_from(["a", "b", "c", "db", "key", "name"])
_WORDS = st.sampled_from(["one", "two", "three", "one two", "x"])
_SIMPLE = st.dictionaries(_NAMES, _WORDS, min_size=1, max_size=5)
_NESTED = st.dictionaries(
    _NAMES,
    st.one_of(_WORDS, st.dictionaries(_NAMES, _WORDS, min_size=1, max_size=3)),
    min_size=1,
    max_size=5,
)


def written(kind: SopsFormat, tree: Tree) -> bytes:
    """Return the values as sops writes them."""
    match kind:
        case SopsFormat.JSON:
            return (json.dumps(tree, indent="\t") + "\n").encode()
        case SopsFormat.DOTENV:
            return "".join(f"{k}={v}\n" for k, v in tree.items()).encode()
        case SopsFormat.INI:
            lines = "".join(f"{k} = {v}\n" for k, v in tree.items())
            return f"[main]\n{lines}".encode()
        case _:
            out = io.BytesIO()
            yaml = YAML()
            yaml.indent(mapping=4, sequence=6, offset=4)
            yaml.dump(tree, out)
            return out.getvalue()


def read(kind: SopsFormat, data: bytes) -> Tree:
    match kind:
        case SopsFormat.JSON:
            return dict(json.loads(data))
        case SopsFormat.DOTENV:
            pairs = [line.split("=", 1) for line in data.decode().splitlines()]
            assert len(dict(pairs)) == len(pairs)
            return dict(pairs)
        case SopsFormat.INI:
            parser = configparser.ConfigParser(interpolation=None)
            parser.read_string(data.decode())
            return dict(parser["main"])
        case _:
            return dict(YAML(typ="safe").load(data) or {})


def three_way(
    base: Any, ours: Any, theirs: Any, clashes: list[str], at: str = ""
) -> Any:
    """Return the merge of trees; `_GONE` for what is in none."""
    if ours == theirs or theirs == base:
        return ours
    if ours == base:
        return theirs
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        had = base if isinstance(base, Mapping) else {}
        found: Tree = {}
        for key in [*ours, *(key for key in theirs if key not in ours)]:
            was, mine, other = (side.get(key, _GONE) for side in (had, ours, theirs))
            found[key] = three_way(was, mine, other, clashes, f"{at}{key}/")
        return {k: v for k, v in found.items() if v is not _GONE and v != {}}
    clashes.append(at)
    return ours


def check(kind: SopsFormat, base: Tree, ours: Tree, theirs: Tree) -> None:
    clashes: list[str] = []
    wanted = three_way(base, ours, theirs, clashes)
    before, mine, other = (written(kind, side) for side in (base, ours, theirs))
    made = merged(kind, before, mine, other)
    assert bool(made.clashes) == bool(clashes), (made, clashes)
    if not clashes:
        assert pruned(read(kind, made.text)) == wanted


def pruned(tree: Tree) -> Tree:
    """Return a tree without what both sides together emptied."""
    return {key: value for key, value in tree.items() if value not in ({}, None)}


@pytest.mark.hypothesis
@pytest.mark.parametrize("kind", FLAT)
@given(base=_SIMPLE, ours=_SIMPLE, theirs=_SIMPLE)
def test_flat_values_of_two_sides_are_merged_by_their_names(
    kind: SopsFormat, base: Tree, ours: Tree, theirs: Tree
) -> None:
    check(kind, base, ours, theirs)


@pytest.mark.hypothesis
@pytest.mark.parametrize("kind", [SopsFormat.YAML, SopsFormat.JSON])
@given(base=_NESTED, ours=_NESTED, theirs=_NESTED)
def test_nested_values_of_two_sides_are_merged_by_their_paths(
    kind: SopsFormat, base: Tree, ours: Tree, theirs: Tree
) -> None:
    check(kind, base, ours, theirs)
