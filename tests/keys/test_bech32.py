"""Bech32: text and bytes, there and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixsecrets.keys import bech32
from tests.keys.vectors import VECTORS, Vector

PREFIXES = st.text("abcdefghijklmnopqrstuvwxyz0123456789-+._", min_size=1, max_size=30)


@given(PREFIXES, st.binary(max_size=2000))
def test_what_is_encoded_decodes_to_the_same(prefix: str, data: bytes) -> None:
    text = bech32.encode(prefix, data)
    assert bech32.decode(text) == (prefix, data)
    assert bech32.decode(text.upper()) == (prefix, data)


@given(st.text(max_size=100))
def test_any_text_decodes_or_is_refused_and_never_to_two_texts(text: str) -> None:
    try:
        prefix, data = bech32.decode(text)
    except bech32.Bech32Error:
        return
    assert bech32.encode(prefix, data) == text.lower()


@given(st.data())
def test_one_or_two_wrong_characters_never_pass(data: st.DataObject) -> None:
    text = VECTORS[0].age
    places = st.sampled_from(range(len("age1"), len(text)))
    wrong = list(text)
    for place in data.draw(st.lists(places, min_size=1, max_size=2, unique=True)):
        others = [char for char in bech32._CHARSET if char != text[place]]
        wrong[place] = data.draw(st.sampled_from(others))
    with pytest.raises(bech32.Bech32Error):
        bech32.decode("".join(wrong))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no prefix"),
        ("1qqqqqq", "no prefix"),
        ("age", "no prefix"),
        ("age1", "too short"),
        ("age1qqqqq", "too short"),
        ("age1qqqqqq", "checksum"),
        ("Age1qqqqqq", "mixes"),
        ("age1bqqqqqq", "characters that no key has"),
        ("age1qqqqqq\n", "characters that no key has"),
        ("a\x7f1qqqqqq", "prefix has characters"),
        ("äge1qqqqqq", "prefix has characters"),
    ],
)
def test_broken_texts_are_refused_with_the_reason(text: str, message: str) -> None:
    with pytest.raises(bech32.Bech32Error, match=message):
        bech32.decode(text)


def test_stray_bits_in_the_last_character_are_refused() -> None:
    # The checksum of each is right; the last data character has padding set, or more
    # padding than a byte needs.
    for values in ([0, 1], [0], [0] * 6):
        checked = [*values, *[0] * 6]
        check = bech32._checksum("age", checked) ^ 1
        values += [check >> shift & 31 for shift in range(25, -1, -5)]
        text = "age1" + "".join(bech32._CHARSET[value] for value in values)
        with pytest.raises(bech32.Bech32Error, match="stray bits"):
            bech32.decode(text)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.tag)
def test_the_known_keys_decode_to_32_bytes(vector: Vector) -> None:
    for text, prefix in (
        (vector.age, "age"),
        (vector.secret, "age-secret-key-"),
    ):
        found, data = bech32.decode(text)
        assert (found, len(data)) == (prefix, 32)
