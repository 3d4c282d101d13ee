"""Splicing: only the named spans change, and only when the result reads as meant."""

import json
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixsecrets.splice import SpliceError, apply_edits, require_value

CASES = [
    ("nothing to do", "abc", [], "abc"),
    ("insert into the empty text", "", [(0, 0, "x")], "x"),
    ("insert at the start", "abc", [(0, 0, "x")], "xabc"),
    ("insert at the end", "abc", [(3, 3, "x")], "abcx"),
    ("remove all", "abc", [(0, 3, "")], ""),
    ("spans that touch", "abc", [(0, 1, "x"), (1, 2, "y")], "xyc"),
    ("insert before a replaced span", "abc", [(1, 1, "x"), (1, 2, "y")], "axyc"),
    ("insert after a replaced span", "abc", [(0, 1, "y"), (1, 1, "x")], "yxbc"),
]


@pytest.mark.parametrize(("text", "edits", "result"), [c[1:] for c in CASES])
def test_edits_apply_in_any_order_to_text_and_bytes(
    text: str, edits: list[tuple[int, int, str]], result: str
) -> None:
    for order in permutations(edits):
        assert apply_edits(text, order) == result
        as_bytes = [(start, end, new.encode()) for start, end, new in order]
        assert apply_edits(text.encode(), as_bytes) == result.encode()


def test_insertions_at_one_place_keep_their_order() -> None:
    assert apply_edits("ab", [(1, 1, "x"), (1, 1, "y")]) == "axyb"


@pytest.mark.parametrize(
    "edits",
    [
        [(0, 2, ""), (1, 3, "")],
        [(0, 3, ""), (1, 1, "x")],
        [(-1, 0, "")],
        [(2, 1, "")],
        [(0, 4, "")],
    ],
)
def test_spans_that_overlap_or_leave_the_text_are_a_bug(
    edits: list[tuple[int, int, str]],
) -> None:
    with pytest.raises(ValueError, match="span"):
        apply_edits("abc", edits)


@given(st.lists(st.tuples(st.binary(max_size=4), st.binary(max_size=4), st.booleans())))
def test_every_byte_outside_the_spans_is_kept(
    parts: list[tuple[bytes, bytes, bool]],
) -> None:
    old = b"".join(piece for piece, _, _ in parts)
    edits, offset = [], 0
    for piece, new, replaced in parts:
        if replaced:
            edits.append((offset, offset + len(piece), new))
        offset += len(piece)
    expected = b"".join(new if replaced else piece for piece, new, replaced in parts)
    assert apply_edits(old, edits) == expected


def test_a_result_that_reads_otherwise_is_refused() -> None:
    text = '{"a": 3, "b": 2}'
    require_value(text, reread=json.loads, intended={"a": 3, "b": 2})
    with pytest.raises(SpliceError) as error:
        require_value(text, reread=json.loads, intended={"a": 1, "b": 3})
    assert text not in error.value.message
    assert error.value.hint
