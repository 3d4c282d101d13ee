"""known_hosts: what ssh-keygen finds, and what follows from it for a key."""

from pathlib import Path

import pytest

from nixsecrets.errors import ProgramError
from nixsecrets.hosts import knownhosts
from nixsecrets.hosts.address import Address, parse_address
from nixsecrets.hosts.knownhosts import Standing, entries, judge, lookup_names
from nixsecrets.hosts.login import key_over_login
from nixsecrets.hosts.sshconfig import Endpoint, direct, resolve
from nixsecrets.keys.recipients import parse_recipient
from tests.fleet import clean_env, program, rsa_key, run_program, ssh_key

KEY, OTHER = ssh_key("right"), ssh_key("wrong")
RIGHT, WRONG = parse_recipient(KEY.public), parse_recipient(OTHER.public)


def standing(text: str, *names: str) -> Standing:
    Path("kh").write_bytes(text.encode())
    return judge([list(entries(Path("kh"), name)) for name in names], RIGHT)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


SAME, NOTHING = Standing(same="kh:1"), Standing()
ANOTHER = Standing(others=(("kh:1", WRONG),))
REVOKED = Standing(revoked="kh:1")

LINES = {
    "the name": ("brunnen {key}", SAME),
    "the name in other letters": ("BRUNNEN {key}", SAME),
    "one of several names": ("a,brunnen,b {key}", SAME),
    "a wildcard": ("brun* {key}", SAME),
    "a question mark": ("brunne? {key}", SAME),
    "a wildcard that leaves the name out": ("*,!brunnen {key}", NOTHING),
    "a dot is a dot": ("b.unnen {key}", NOTHING),
    "another name": ("stein {key}", NOTHING),
    "another port": ("[brunnen]:2222 {key}", NOTHING),
    "another ed25519 key": ("brunnen {other}", ANOTHER),
    "an rsa key says nothing of ed25519": ("brunnen {rsa}", NOTHING),
    "a revoked key": ("@revoked * {key}", REVOKED),
    "another revoked key": ("@revoked * {other}", NOTHING),
    "a revoked key of another host": ("@revoked stein {key}", NOTHING),
    "a key that signs certificates": ("@cert-authority * {key}", NOTHING),
    "another key that signs certificates": ("@cert-authority * {other}", NOTHING),
    "an unknown marker": ("@friendly brunnen {key}", NOTHING),
    "a comment": ("# brunnen {key}", NOTHING),
    "a key that says another type": ("brunnen ssh-rsa {blob}", NOTHING),
}


@pytest.mark.parametrize("case", LINES)
def test_a_line_says_of_a_key(case: str) -> None:
    text, expected = LINES[case]
    words = {
        "key": KEY.public,
        "other": OTHER.public,
        "rsa": rsa_key().public,
        "blob": KEY.public.split()[1],
    }
    assert standing(text.format(**words), "brunnen") == expected


@pytest.mark.parametrize(
    "bad",
    ["brunnen", "brunnen ssh-ed25519", "brunnen ssh-ed25519 AAAA", "|1|x|y z", "@"],
)
def test_a_bad_line_spoils_nothing(bad: str) -> None:
    found = standing(f"{bad}\n\x00\xff\nbrunnen {KEY.public}\n", "brunnen")
    assert found == Standing(same="kh:3")


def test_the_right_key_next_to_another_is_the_right_key() -> None:
    text = f"brunnen {OTHER.public}\nbrunnen {KEY.public}\n"
    assert standing(text, "brunnen") == Standing(same="kh:2")


def test_a_revoked_key_stays_revoked_next_to_a_good_line() -> None:
    text = f"brunnen {KEY.public}\n@revoked brunnen {KEY.public}\n"
    assert standing(text, "brunnen").revoked == "kh:2"


@pytest.mark.parametrize("name", ["brunnen", "[brunnen]:2222", "fe80::1%eth0"])
def test_names_that_ssh_keygen_hashed_are_found(tmp_path: Path, name: str) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(f"{name} {KEY.public}\nother {OTHER.public}\n")
    keygen = program("ssh-keygen")
    run_program(keygen, "-H", "-f", str(file), env=clean_env(tmp_path))
    hashed = file.read_text()
    assert name not in hashed
    assert standing(hashed, name) == SAME
    assert standing(hashed, "other").others == (("kh:2", WRONG),)
    assert standing(hashed, "another") == NOTHING


@pytest.mark.parametrize(
    ("address", "names"),
    [
        ("brunnen", ("brunnen",)),
        ("brunnen:2222", ("[brunnen]:2222", "brunnen")),
        ("[fe80::1]:2222", ("[fe80::1]:2222", "fe80::1")),
        ("fe80::1", ("fe80::1",)),
    ],
)
def test_the_names_that_are_looked_up(address: str, names: tuple[str, ...]) -> None:
    assert lookup_names(direct(parse_address(address, port=0))) == names


def test_an_alias_is_the_only_name() -> None:
    where = Endpoint(Address("a"), Address("b", port=2222), alias="c")
    assert lookup_names(where) == ("c",)


def test_another_key_under_the_name_without_port_is_no_alarm() -> None:
    names = ("[brunnen]:2222", "brunnen")
    assert standing(f"brunnen {OTHER.public}", *names) == NOTHING
    assert standing(f"brunnen {KEY.public}", *names) == SAME


def test_another_key_under_the_name_with_port_counts_before_the_name_alone() -> None:
    text = f"[brunnen]:2222 {OTHER.public}\nbrunnen {KEY.public}\n"
    assert standing(text, "[brunnen]:2222", "brunnen") == ANOTHER


def test_a_file_that_cannot_be_read_says_nothing() -> None:
    where = Endpoint(Address("a"), Address("b"), known_hosts=(Path("n" * 300),))
    assert knownhosts.standing(where, RIGHT) == NOTHING


def test_programs_of_openssh_that_do_not_start_are_no_bug(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ssh", "ssh-keygen"):
        (tmp_path / name).write_text("not executable")
    monkeypatch.setenv("PATH", str(tmp_path))
    asked = parse_address("brunnen", port=0)
    assert resolve("brunnen") == direct(asked)
    with pytest.raises(ProgramError, match="ssh-keygen cannot be started"):
        standing("", "brunnen")
    with pytest.raises(ProgramError, match="ssh cannot be started"):
        key_over_login(direct(asked))
