"""Every mistake in the map is an error with file, line and hint; no key is echoed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixsecrets.errors import MapError
from nixsecrets.map.load import decode, load
from tests.fleet import age_key, ssh_key
from tests.map.maps import SMALL, converted, public

ALICE, WEB, OTHER = public("alice"), public("web"), public("other")
RULE = '[[secrets]]\npath = "a/*"\nreaders = []\n'

# name, what is put behind the map of 12 lines (or replaces it), line, part of message
APPENDED = [
    ("an unknown table", "[hsots.x]\n", 13, 'unknown key "hsots" in the top level'),
    ("an unknown key of a host", "[hosts.x]\nkey = []\n", 14, 'unknown key "key"'),
    ("an unknown key of a user", "[users.x]\naddress = ''\n", 14, '"address"'),
    ("an unknown key of a rule", f"{RULE}reader = []\n", 16, 'in [[secrets]]'),
    ("an unknown key of sops", "[sops]\nfile = 'x'\n", 14, "in [sops]"),
    ("an unknown key of agenix", "[agenix]\nrule = 'x'\n", 14, "in [agenix]"),
    ("an unknown option", f"{RULE}sops = {{ regex = 'x' }}\n", 16, "[secrets.sops]"),
    ("an unknown key of retired", "[[retired]]\nkeys = []\n", 14, "in [[retired]]"),
    ("a host that is no table", "[hosts]\nx = 'y'\n", 14, '"x" must be a table'),
    ("a rule that is no table", "[secrets]\n", 13, "given twice"),
    ("keys that are no list", "[hosts.x]\nkeys = 'y'\n", 14, "a list of strings"),
    ("a key that is no string", "[hosts.x]\nkeys = [\n1]\n", 15, "not a number"),
    ("a group that is no list", "[groups]\nx = 'web'\n", 14, "a list of strings"),
    ("a member that is no string", "[groups]\nx = [[]]\n", 14, "not a list"),
    ("a date", f"[[retired]]\nname='x'\nkey='{OTHER}'\ndate=2026-11-20\n", 16, "date"),
    ("armor that is no boolean", f"{RULE}armor = 'yes'\n", 16, "true or false"),
    ("an empty string", f"[hosts.x]\nkeys=['{OTHER}']\naddress=' '\n", 15, "is empty"),
    ("a control character", f'{RULE}backend = "a\\u001b[m"\n', 16, "control"),
    ("another plaintext", f"{RULE}plaintext = 'yes'\n", 16, 'must be "allowed"'),
    ("another backend", f"{RULE}backend = 'gpg'\n", 16, 'must be "age" or "sops"'),
    ("another sops_form", f"[users.x]\nkeys=['{OTHER}']\nsops_form='x'\n", 15, '"ssh"'),
    ("a name that starts badly", "[hosts.-x]\nkeys = []\n", 13, "cannot be a name"),
    ("a name with a blank", "[hosts.'a b']\nkeys = []\n", 13, "cannot be a name"),
    ("a name too long", f"[hosts.{64 * 'a'}]\nkeys = []\n", 13, "cannot be a name"),
    ("a name in other letters", "[users.'ä']\nkeys = []\n", 13, "cannot be a name"),
    ("a bad name of a group", "[groups]\n'a/b' = []\n", 14, "cannot be a name"),
    ("a bad group", f"[hosts.x]\nkeys=['{OTHER}']\ngroups=['a b']", 15, "group"),
    ("a host called like a user", f"[hosts.alice]\nkeys=['{OTHER}']\n", 13, "a user"),
    ("a group called like a host", "[groups]\nweb = []\n", 14, "a host (line 7)"),
    ("a joined host", f"[hosts.x]\nkeys=['{OTHER}']\ngroups=['web']\n", 15, "a host"),
    ("an unknown reader", "[[secrets]]\npath='x'\nreaders=[\n'wbe']\n", 16, '"wbe"'),
    ("an unknown exception", f"{RULE}except = ['x']\n", 16, "no host, user or group"),
    ("an unknown member", "[groups]\nx = ['y']\n", 14, "no host, user or group"),
    ("a placeholder in a group", "[groups]\nx = ['{host}']\n", 14, "only in a rule"),
    ("{host} without one", "[[secrets]]\npath='x'\nreaders=['{host}']\n", 14, "{host}"),
    ("a group in itself", "[groups]\nx = ['x']\n", 14, '"x" contains itself'),
    ("a ring of groups", "[groups]\nx=['y']\ny=['z']\nz=['x']\n", 14, "itself"),
    ("a key of two hosts", f"[hosts.x]\nkeys = [\n'{WEB}']\n", 15, 'same key as "web"'),
    ("a host's key of a user", f"[hosts.x]\nkeys = ['{ALICE}']\n", 14, "alice"),
    ("another comment", f"[hosts.x]\nkeys = ['{WEB}2']\n", 14, 'same key as "web"'),
    ("a converted key", f"[hosts.x]\nkeys = ['{converted('web')}']\n", 14, "same key"),
    (
        "both forms of one key",
        f"[hosts.x]\nkeys = [\n'{OTHER}',\n'{converted('other')}']\n",
        16,
        "both forms",
    ),
    ("a key twice", f"[hosts.x]\nkeys = ['{OTHER}',\n'{OTHER}']\n", 15, "key twice"),
    ("a host without keys", "[hosts.x]\n", 13, '[hosts.x] has no "keys"'),
    ("a host with no key", "[hosts.x]\nkeys = []\n", 14, "[hosts.x] has no key"),
    ("a damaged key", f"[hosts.x]\nkeys = [\n'{OTHER[:60]}']\n", 15, "[hosts.x]: "),
    ("both path and regex", f"{RULE}path_regex = 'x'\n", 16, "not both"),
    ("neither path nor regex", "[[secrets]]\nreaders = []\n", 13, 'has no "path"'),
    ("a rule without readers", "[[secrets]]\npath='x'\n", 13, 'has no "readers"'),
    ("an invalid glob", "[[secrets]]\nreaders=[]\npath='a/[b'\n", 15, ""),
    ("an invalid regex", "[[secrets]]\nreaders=[]\npath_regex='(a'\n", 15, ""),
    ("a regex RE2 lacks", "[[secrets]]\nreaders=[]\npath_regex='a(?=b)'\n", 15, ""),
    (
        "two selection options",
        f"{RULE}[secrets.sops]\nencrypted_regex='a'\nencrypted_suffix='b'\n",
        17,
        "only one",
    ),
    ("a number as regex", f"{RULE}sops={{ encrypted_regex=1 }}\n", 16, "a string"),
    ("mac_only as a string", f"{RULE}sops={{ mac_only_encrypted='x' }}\n", 16, "true"),
    ("sops for age", f"{RULE}backend='age'\nsops={{encrypted_regex='x'}}", 17, ""),
    ("armor for sops", f"{RULE}backend='sops'\narmor=true\n", 17, "age files only"),
    ("rules outside", "[agenix]\nrules='../x.nix'\n", 14, "not a plain path"),
    ("an absolute config", "[sops]\nconfig='/x'\n", 14, "not a plain path"),
    ("the map as config", "[sops]\nconfig='nixsecrets.toml'\n", 14, "is reserved"),
    ("one generated file", "[sops]\n[agenix]\nrules='.sops.yaml'\n", 15, "[sops]"),
    ("agenix without rules", "[agenix]\n", 13, '[agenix] has no "rules"'),
    ("retired without key", "[[retired]]\nname='x'\n", 13, 'has no "key"'),
    ("retired without name", f"[[retired]]\nkey='{OTHER}'\n", 13, 'has no "name"'),
    ("a table twice", f"[hosts.x]\nkeys=['{OTHER}']\n[hosts.x]\n", 15, "given twice"),
    ("a key twice in a table", f"{RULE}readers = [\n\n]\n", 16, '"readers" is given'),
    ("a value that ends early", "x = [\n", 13, "not valid TOML"),
    ("a word without quotes", "[groups]\nx = [web]\n", 14, "not valid TOML"),
]  # fmt: skip

REPLACED = [
    ("no version", "[users]\n", 1, "has no version"),
    ("the empty file", "", 1, "has no version"),
    ("a later version", "# c\nversion = 2\nfuture = 1\n", 2, "version 2"),
    ("version 0", "version = 0\n", 1, "version 0"),
    ("a version in quotes", 'version = "1"\n', 1, "must be a number"),
    ("a version that is true", "version = true\n", 1, "must be a number"),
    ("a byte order mark", "\ufeffversion = 1\n", 1, "byte order mark"),
    ("a bare carriage return", "version = 1\rx", 1, "not valid TOML"),
    ("a number too long", f"version = 1{5000 * '0'}", 1, "too long"),
    ("values nested too deep", f"version = {5000 * '['}", 1, "nested too deep"),
    ("nobody at all", 'version=1\n[[secrets]]\npath="x"\nreaders=[]\n', 4, "nobody"),
    (
        "everybody excepted",
        f"version=1\n[hosts.a]\nkeys=['{WEB}']\n[[secrets]]\npath='x'\n"
        "readers=['a']\nexcept=['a']",
        6,
        "nobody could read",
    ),
    (
        "an empty group alone",
        'version=1\nalways=["g"]\n[groups]\ng=[]\n[[secrets]]\npath="x"\nreaders=["g"]\n',
        7,
        "nobody could read",
    ),
]


def refused(text: str) -> MapError:
    with pytest.raises(MapError) as error:
        load(text)
    assert error.value.message.isprintable()
    assert not error.value.message.endswith(".")
    return error.value


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [pytest.param(SMALL + case[1], *case[2:], id=case[0]) for case in APPENDED]
    + [pytest.param(*case[1:], id=case[0]) for case in REPLACED],
)
def test_a_mistake_is_an_error_with_its_line(text: str, line: int, part: str) -> None:
    error = refused(text)
    place, _, message = error.message.partition(": ")
    assert place.endswith(f".toml:{line}")
    assert part in message
    assert message[0].islower() or message[0] in '"[{'


@pytest.mark.parametrize(
    "text", [pytest.param(SMALL + case[1], id=case[0]) for case in APPENDED]
)
def test_a_mistake_has_a_hint_that_says_what_to_do(text: str) -> None:
    assert refused(text).hint


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("[hsots.x]\n", '"hosts"'),
        (f"{RULE}[[secrets]]\npath='x'\nreadres=[]\n", '"readers"'),
        ("[[secrets]]\npath='x'\nreaders=['wbe']\n", '"web"'),
        (f"{RULE}backend = 'soops'\n", '"sops"'),
    ],
)
def test_a_slip_of_the_pen_is_answered_with_the_word_meant(
    wrong: str, meant: str
) -> None:
    assert refused(SMALL + wrong).hint == f"did you mean {meant}?"


AGE_SECRET = age_key().private
SSH_SECRET = ssh_key("secret").private


@pytest.mark.parametrize("secret", [AGE_SECRET, SSH_SECRET], ids=["age", "ssh"])
@pytest.mark.parametrize(
    "text",
    [
        "[hosts.x]\nkeys = [{0}]\n",
        "[hosts.x]\nkeys = {0}\n",
        "[hosts.{0}]\nkeys = []\n",
        "[hosts.{0}]\n[hosts.{0}]\n",
        "{0} = 1\n",
        "[hosts]\n{0} = 1\n{0} = 2\n",
        "[groups]\n{0} = []\n",
        "[groups]\nx = [{0}]\n",
        "[groups]\nx = [[], {0}]\n",
        "[[secrets]]\npath = {0}\nreaders = 1\n",
        "[[secrets]]\npath = 'x'\nreaders = [{0}]\n",
        "[[secrets]]\npath = 'x'\nreaders = []\nbackend = {0}\n",
        "[[secrets]]\npath_regex = {0}\nreaders = []\nsops = {{ {0} = 1 }}\n",
        "[sops]\nconfig = {0}\n",
        "[[retired]]\nname = {0}\nkey = 'x'\n",
    ],
)
def test_a_private_key_in_the_map_is_never_echoed(text: str, secret: str) -> None:
    shown = '"' + secret.replace("\n", "\\n") + '"'
    for value in (shown, f'"""{secret}"""', secret):
        error = said(SMALL + text.format(value))
        for line in secret.strip().splitlines():
            for start in range(0, max(1, len(line) - 16), 8):
                assert line[start : start + 16] not in error or "----" in line


def said(text: str) -> str:
    """Return everything that the error says, empty if the map is valid."""
    try:
        load(text)
    except MapError as error:
        return f"{error.message} {error.hint} {error!r} {error.__cause__!r}"
    return ""


def test_a_private_key_among_the_keys_is_named_as_one() -> None:
    error = refused(SMALL + f"[hosts.x]\nkeys = [\n'{AGE_SECRET}']\n")
    assert error.message.startswith("nixsecrets.toml:15: [hosts.x]: ")
    assert "private key" in error.message


def test_a_map_of_a_later_version_says_what_to_upgrade() -> None:
    with pytest.raises(MapError) as caught:
        load("version = 2\nfuture = 1\n")
    assert caught.value.hint == "a newer nixsecrets wrote it: upgrade this one"


def test_a_file_that_is_not_utf8_is_an_error_with_its_line() -> None:
    assert decode(SMALL.encode()) == SMALL
    with pytest.raises(MapError) as error:
        decode(b"version = 1\n# gr\xfc\xdf\n", "map.toml")
    assert error.value.message == "map.toml:2: not UTF-8 text"


@given(
    st.integers(0, len(SMALL)),
    st.integers(0, 12),
    st.sampled_from(["", '"', "'", "]", "[", "\n", "=", "#", "{", "\x00", "é", '"""']),
)
def test_a_damaged_map_is_read_or_refused_but_never_a_crash(
    start: int, length: int, junk: str
) -> None:
    said(SMALL[:start] + junk + SMALL[start + length :])
