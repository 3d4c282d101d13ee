import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixsecrets.errors import NixsecretsError
from nixsecrets.hosts.address import Address, parse_address

GOOD = {
    "brunnen": Address("brunnen"),
    "brunnen.lan:2222": Address("brunnen.lan", None, 2222),
    "root@brunnen": Address("brunnen", "root"),
    "root@brunnen:1": Address("brunnen", "root", 1),
    "192.0.2.7": Address("192.0.2.7"),
    "192.0.2.7:65535": Address("192.0.2.7", None, 65535),
    "::1": Address("::1"),
    "2001:db8::7": Address("2001:db8::7"),
    "fe80::1%eth0": Address("fe80::1%eth0"),
    "root@2001:db8::7": Address("2001:db8::7", "root"),
    "[::1]": Address("::1"),
    "[::1]:2222": Address("::1", None, 2222),
    "root@[::1]:2222": Address("::1", "root", 2222),
    "ssh://root@brunnen:2222/": Address("brunnen", "root", 2222),
    " brunnen \n": Address("brunnen"),
    "bücher.example": Address("bücher.example"),
}
BAD = [
    "",
    " ",
    ":22",
    "@brunnen",
    "root@",
    "brunnen:",
    "brunnen:0",
    "brunnen:65536",
    "brunnen:ssh",
    "brunnen:٢٢",
    "brunnen:22:",
    "-oProxyCommand=id",
    "-l@brunnen",
    "[::1",
    "[::1]2222",
    "[::1]:",
    "[brunnen]:22",
    "two words",
    "a/b",
    "a\nb",
    "$(id)",
    "a,b",
]


@pytest.mark.parametrize(("text", "address"), GOOD.items(), ids=repr)
def test_an_address_is_split_into_host_user_and_port(
    text: str, address: Address
) -> None:
    assert parse_address(text) == address


def test_a_port_in_the_text_counts_more_than_the_usual_one() -> None:
    assert parse_address("brunnen", port=2222).port == 2222
    assert parse_address("brunnen:23", port=2222).port == 23


@pytest.mark.parametrize("address", GOOD.values(), ids=str)
def test_an_address_reads_back_as_it_is_spelled(address: Address) -> None:
    assert parse_address(str(address)) == address


@pytest.mark.parametrize("text", BAD, ids=repr)
def test_what_is_no_address_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(NixsecretsError) as raised:
        parse_address(text)
    assert raised.value.hint
    assert "\n" not in raised.value.message


@given(st.text(max_size=40))
def test_any_text_is_an_address_that_reads_back_or_an_error(text: str) -> None:
    try:
        address = parse_address(text)
    except NixsecretsError:
        return
    assert parse_address(str(address)) == address
    assert not address.host.startswith("-")
