"""One grammar says what an encrypted value is, to every reader of a sops file."""

import os
import re

import pytest

from nixsecrets.files.faults import faults
from nixsecrets.files.kind import SopsFormat
from nixsecrets.files.sops import selection
from nixsecrets.files.sops import token as sops_token
from nixsecrets.files.sops.selectors import DEFAULT_OPTION
from nixsecrets.files.sops.state import Shown, look
from nixsecrets.files.sops.values import Leaf, leaves
from tests.files import sopsfiles
from tests.files.agekeys import reader
from tests.fleet import age_key

LABEL = reader(age_key()).recipient.text
KEY = os.urandom(32)
AT = sops_token.additional_data(("a", "b"))


def sealed(plaintext: bytes = b"hello", kind: str = "str") -> str:
    return sops_token.sealed(KEY, plaintext, AT, kind)


def spoiled(token: str) -> dict[str, str]:
    """Tokens that Go's base64 reads like `token`, or that sops refuses."""
    data = re.search(r"data:([^,]*)", token)
    assert data and data[1].endswith("=")
    odd = data[1].rstrip("=")
    odd = odd[:-1] + chr(ord(odd[-1]) + 1) + data[1][len(odd) :]
    return {
        "bits that no byte needs": token.replace(data[1], odd),
        "no padding": token.replace(data[1], data[1].rstrip("=")),
        "no data": token.replace(data[1], ""),
        "a short IV": re.sub(r"iv:....", "iv:", token),
        "a short tag": re.sub(r"tag:....", "tag:", token),
        "a type that sops has not": token.replace("type:str", "type:text"),
        "something behind it": token + "x",
    }


@pytest.mark.parametrize("how", spoiled(sealed()))
def test_every_parser_refuses_what_is_not_a_token(
    how: str,
) -> None:
    data = sopsfiles.sample("3.11", "s.yaml", LABEL)
    first = next(iter(leaves(SopsFormat.YAML, data))).value
    assert isinstance(first, str)
    assert sops_token.is_encrypted(first)
    wrong = spoiled(first)[how]
    assert not sops_token.is_encrypted(wrong)
    assert sops_token.opened(wrong, KEY, AT) is None
    other = data.replace(first.encode(), wrong.encode())
    looked = look("s.yaml", other)
    assert looked
    assert not (isinstance(looked[0], Shown) and looked[0].complete)
    assert any("is not encrypted" in one.message for one in faults("s.yaml", other))
    leaf = Leaf(("k",), wrong)
    assert [*selection.open_values([leaf], selection.selector((DEFAULT_OPTION,)))]


@pytest.mark.parametrize("size", range(1, 40))
def test_a_token_of_any_length_is_one_and_opens_only_where_it_stands(size: int) -> None:
    token = sealed(b"x" * size)
    assert sops_token.is_encrypted(token)
    assert re.fullmatch(sops_token.TOKEN_PATTERN, token)
    assert sops_token.opened(token, KEY, AT) == (b"x" * size, "str")
    assert sops_token.opened(token, KEY, sops_token.additional_data(("a",))) is None
    assert sops_token.opened(token, os.urandom(32), AT) is None
    assert "x" * 3 not in repr(sops_token.opened(token, KEY, AT))


@pytest.mark.parametrize(
    ("kind", "fits", "misfits"),
    [("int", (1, 20), (21, 40)), ("bool", (4, 5), (1, 3, 6)), ("str", (1, 99), ())],
)
def test_the_length_of_a_token_says_what_types_it_can_have(
    kind: str, fits: tuple[int, ...], misfits: tuple[int, ...]
) -> None:
    assert not any(sops_token.any_misfitting(sealed(b"1" * n, kind)) for n in fits)
    assert all(sops_token.any_misfitting(sealed(b"1" * n, kind)) for n in misfits)


def test_a_mac_has_the_length_of_its_hash() -> None:
    assert re.fullmatch(sops_token.MAC_PATTERN, sealed(b"A" * 128))
    assert not re.fullmatch(sops_token.MAC_PATTERN, sealed(b"A" * 127))
