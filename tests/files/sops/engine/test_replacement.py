"""The value engine: one value changes, nothing else does, and the real sops agrees."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nixsecrets.errors import SecretFileError, UsageError
from nixsecrets.files.kind import format_for
from nixsecrets.files.sops import assign, extract, metadata
from nixsecrets.files.sops.datakey import data_key
from nixsecrets.files.sops.engine import contents, replacement
from nixsecrets.files.sops.keypath import KeyPath, NewValues, key_path
from nixsecrets.files.sops.program import Layout
from tests.files import sopsfiles
from tests.files.agekeys import reader
from tests.fleet import age_key

ALICE_KEY = age_key()
ALICE = reader(ALICE_KEY)
BOB_KEY = age_key()
BOB = reader(BOB_KEY)
YAML = b"""\
# about all
n: 5
f: 1.50
yes_no: true
empty: ""
nothing:
switch: on
when: 2024-01-02
list:
    - a
    - in_list: x
      more: z
nested:
    # why
    deep:
        er: |
            two
            lines
    # a foot
open_unencrypted: 8080
number_unencrypted: 1.5
true_unencrypted: true
text_unencrypted: "0123"
"""
MANY = b"a: 1\nb: x\n---\na: 2\nc:\n  d: y\n"
JSON = b'{"a": "x", "b": {"c": 1.5, "d": [1, "two", null]}, "o_unencrypted": 12}'
INI = b"top = 1\n\n[db]\npassword = old\nuser = bob\n[web]\nport = 80\n"
ENV = b"A=1\n# why\nLONGER_NAME=two words\n"
TRICKY = "a\\nb\"c'd`e#f;g = h\\\\ \n\u00fc\\"
CASES = {
    "s.yaml": (YAML, ("n", "f", "yes_no", "empty", "nothing", "switch", "when")),
    "l.yaml": (YAML, ("list/0", "list/1/in_list", "nested/deep/er")),
    "o.yaml": (YAML, ("open_unencrypted", "true_unencrypted", "text_unencrypted")),
    "new.yaml": (YAML, ("new", "new/deep/er", "nested/deep/new", "list/1/new")),
    "many.yaml": (MANY, ("b", "[1]/a", "[2]/a", "c/d", "[2]/c/new", "[1]/new/er")),
    "s.json": (JSON, ("a", "b/c", "b/d/1", "b/d/0", "o_unencrypted", "b/new/er")),
    "s.ini": (INI, ("db/password", "web/port", "db/new", "new/key", "DEFAULT/top")),
    "s.env": (ENV, ("A", "LONGER_NAME", "NEW")),
}
EACH = [(name, key) for name, (_, keys) in CASES.items() for key in keys]
MAC_ONLY = ("mac_only_encrypted", True)
TOKENS = re.compile(r"ENC\[[^\]]*\]")


def written(version: str, name: str, folder: Path, *options: str) -> bytes:
    """A file of the real sops for alice."""
    program = sopsfiles.SOPS[version]()
    reads = [ALICE.recipient.text]
    plain = CASES[name][0]
    return sopsfiles.encrypt(program, name, plain, reads, folder, *options)


def replaced(name: str, data: bytes, key: str, value: str, folder: Path) -> bytes:
    """The file with one value, as a command would write it, verified as staged."""
    program = sopsfiles.SOPS["3.11"]()
    path = key_path(format_for(name), key)
    sealed = assign.replace_values(
        name,
        data,
        [ALICE.identity],
        NewValues({path: value}),
        recipients=[ALICE.recipient],
        sops=program,
        workdir=folder,
    )
    sopsfiles.verify(program, name, sealed.data, sealed, ALICE.identity, folder)
    return sealed.data


def read(name: str, data: bytes, key: str, folder: Path) -> str:
    program = sopsfiles.SOPS["3.11"]()
    found = extract.value_at(
        name, data, [ALICE.identity], key, sops=program, workdir=folder
    )
    return found.decode()


@pytest.mark.parametrize("version", sopsfiles.SOPS)
@pytest.mark.parametrize(("name", "key"), EACH)
def test_one_value_changes_and_every_sops_reads_the_file(
    version: str, name: str, key: str, tmp_path: Path
) -> None:
    old = written(version, name, tmp_path)
    plain_ini = name == "s.ini" or key == "open_unencrypted"
    value = "a\\" if plain_ini else TRICKY
    new = replaced(name, old, key, value, tmp_path)
    assert read(name, new, key, tmp_path) == value
    for other in sopsfiles.SOPS.values():
        sopsfiles.decrypt(other(), name, new, ALICE_KEY.private, tmp_path)
    # not a byte but of the value, the MAC and its time
    gone = set(old.decode().splitlines()) - set(new.decode().splitlines())
    docs = 2 if name == "many.yaml" else 1
    assert len(gone) <= 1 + 2 * docs
    kept = set(TOKENS.findall(old.decode()))
    lost = [token for token in kept if token not in new.decode()]
    assert len(lost) <= 1 + 1, "one value and the MAC"


@pytest.mark.parametrize("version", sopsfiles.SOPS)
def test_other_values_are_the_same_to_the_byte(version: str, tmp_path: Path) -> None:
    old = written(version, "s.ini", tmp_path)
    new = replaced("s.ini", old, "db/password", "a\\", tmp_path)
    assert read("s.ini", new, "db/user", tmp_path) == "bob"
    assert read("s.ini", new, "web/port", tmp_path) == "80"
    lines = [line.split()[0] for line in old.decode().splitlines() if line]
    changed = [
        one.split()[0]
        for one, two in zip(
            old.decode().splitlines(), new.decode().splitlines(), strict=True
        )
        if one != two
    ]
    assert {"mac", "password"} <= {*changed} <= {"lastmodified", "mac", "password"}, (
        lines
    )


@pytest.mark.parametrize("name", CASES)
def test_the_same_value_again_changes_no_byte(name: str, tmp_path: Path) -> None:
    key = CASES[name][1][0]
    once = replaced(name, written("3.11", name, tmp_path), key, "x y", tmp_path)
    assert replaced(name, once, key, "x y", tmp_path) == once


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("version", sopsfiles.SOPS)
def test_the_engine_understands_what_sops_writes(
    version: str, name: str, tmp_path: Path
) -> None:
    program = sopsfiles.SOPS[version]()
    regex = ("encrypted_regex", "a|e|n|port")
    for options in ((), (regex,), (MAC_ONLY,), (regex, MAC_ONLY)):
        data = program.encrypt(
            CASES[name][0],
            kind=format_for(name),
            recipient=ALICE.recipient.text,
            options=options,
            layout=Layout(),
            workdir=tmp_path,
        )
        file = metadata.parse(name, data)
        key = data_key(file, [ALICE.identity])
        assert contents.opened(file, key) is not None, options


def test_a_file_whose_mac_does_not_fit_is_declined(tmp_path: Path) -> None:
    data = written("3.11", "s.ini", tmp_path)
    lines = data.decode().splitlines(keepends=True)
    swapped = [line for line in lines if not line.startswith("user")]
    file = metadata.parse("s.ini", "".join(swapped).encode())
    assert contents.opened(file, data_key(file, [ALICE.identity])) is None
    with pytest.raises(SecretFileError):
        replaced("s.ini", "".join(swapped).encode(), "db/password", "x", tmp_path)


@pytest.mark.parametrize("version", sopsfiles.SOPS)
@pytest.mark.parametrize(
    "plain",
    [
        b"a: {b: x, c: [y, z]}\n",
        b"? a\n: b: x\n",
        b"a: &one\n  b: x\nc: *one\n",
    ],
)
def test_what_is_spelled_in_other_ways_goes_through_sops(
    version: str, plain: bytes, tmp_path: Path
) -> None:
    """sops writes its own spelling; this is what a formatter made of that."""
    program = sopsfiles.SOPS[version]()
    reads = [ALICE.recipient.text]
    data = sopsfiles.encrypt(program, "s.yaml", plain, reads, tmp_path)
    flow = data.decode().replace("a:\n    b: ENC", "a:\n    'b': ENC", 1)
    new = replaced("s.yaml", flow.encode(), "a/b", "new", tmp_path)
    assert read("s.yaml", new, "a/b", tmp_path) == "new"


def test_flow_style_goes_through_sops_and_keeps_every_other_value(
    tmp_path: Path,
) -> None:
    data = written("3.11", "l.yaml", tmp_path).decode()
    start = data.index("    - ENC")
    block = data[start : data.index("nested:")]
    items = TOKENS.findall(block)
    flow = f'    ["{items[0]}", {{"in_list": "{items[1]}", "more": "{items[2]}"}}]\n'
    data = data.replace(block, flow)
    file = metadata.parse("l.yaml", data.encode())
    assert contents.opened(file, data_key(file, [ALICE.identity])) is None
    new = replaced("l.yaml", data.encode(), "list/1/more", "new", tmp_path)
    assert read("l.yaml", new, "list/1/more", tmp_path) == "new"
    assert read("l.yaml", new, "list/1/in_list", tmp_path) == "x"
    assert read("l.yaml", new, "nested/deep/er", tmp_path) == "two\nlines\n"


@pytest.mark.parametrize("version", sopsfiles.SOPS)
@pytest.mark.parametrize("name", ["s.yaml", "s.ini"])
def test_line_ends_stay_as_they_are(version: str, name: str, tmp_path: Path) -> None:
    data = written(version, name, tmp_path).replace(b"\n", b"\r\n")
    for key in ("n/new", "db/new")[name == "s.ini" :][:1]:
        key = key if name == "s.ini" else "fresh/new"
        new = replaced(name, data, key, "x", tmp_path)
        assert new.count(b"\n") == new.count(b"\r\n")
        assert read(name, new, key, tmp_path) == "x"


def test_a_new_key_goes_after_its_siblings_where_the_metadata_stand_first(
    tmp_path: Path,
) -> None:
    data = written("3.11", "s.yaml", tmp_path).decode()
    at = data.index("sops:\n")
    first = data[at:] + data[:at].removesuffix("\n")
    new = replaced("s.yaml", first.encode(), "fresh", "x", tmp_path).decode()
    assert new.splitlines()[-1].startswith("fresh: ENC[")
    assert not new.endswith("\n")


TREES = st.recursive(
    st.one_of(
        st.integers(-(2**40), 2**40),
        st.booleans(),
        st.none(),
        st.text("ab \u00fc\\\"'#:-", max_size=6),
        st.floats(-1000, 1000).map(lambda number: round(number, 3)),
    ),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3),
        st.dictionaries(st.sampled_from(["a", "b c", "d-e", "1"]), inner, min_size=1),
    ),
    max_leaves=8,
)


@settings(max_examples=12, deadline=None)
@given(
    tree=st.dictionaries(st.sampled_from(["x", "y", "z"]), TREES, min_size=1),
    form=st.sampled_from(["s.yaml", "s.json"]),
    data=st.data(),
)
def test_of_random_trees_one_value_changes_and_no_other(
    tree: dict[str, object],
    form: str,
    data: st.DataObject,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("random")
    program = sopsfiles.SOPS["3.11"]()
    plain = json.dumps(tree).encode()
    reads = [ALICE.recipient.text]
    old = sopsfiles.encrypt(program, form, plain, reads, folder)
    file = metadata.parse(form, old)
    key = data_key(file, [ALICE.identity])
    before = contents.opened(file, key)
    assert before is not None, "every file of sops is understood"
    if not before:
        return
    one = data.draw(st.sampled_from(before)).leaf.place
    path = KeyPath(tuple(map(str, one[1])))
    new = replaced(form, old, str(path), TRICKY, folder)
    after = contents.opened(metadata.parse(form, new), key)
    assert after is not None
    assert [(v.leaf.place, v.plaintext, v.type) for v in after] == [
        (one, TRICKY.encode(), "str")
        if v.leaf.place == one
        else (v.leaf.place, v.plaintext, v.type)
        for v in before
    ]


def test_an_item_is_added_to_a_list_by_sops(tmp_path: Path) -> None:
    data = written("3.11", "l.yaml", tmp_path)
    new = replaced("l.yaml", data, "list/2", "new", tmp_path)
    assert read("l.yaml", new, "list/2", tmp_path) == "new"
    assert read("l.yaml", new, "list/1/more", tmp_path) == "z"


@pytest.mark.parametrize(
    ("options", "key", "taken"),
    [
        (("--encrypted-regex", "^(pass|a)$"), "new", False),
        (("--encrypted-regex", "^(pass|a)$"), "pass", True),
        (("--encrypted-suffix", "a"), "new", False),
        (("--unencrypted-regex", "^new$"), "new", False),
        ((), "new_unencrypted", False),
    ],
)
def test_a_new_value_is_never_stored_unencrypted(
    options: tuple[str, ...],
    key: str,
    taken: bool,
    tmp_path: Path,
) -> None:
    data = written("3.11", "s.json", tmp_path, *options)
    if taken:
        new = replaced("s.json", data, key, "x", tmp_path)
        assert read("s.json", new, key, tmp_path) == "x"
        return
    with pytest.raises(SecretFileError, match="leave the new value unencrypted"):
        replaced("s.json", data, key, "x", tmp_path)


def test_other_readers_get_the_new_value_under_a_new_key(tmp_path: Path) -> None:
    program = sopsfiles.SOPS["3.11"]()
    data = written("3.11", "s.json", tmp_path)
    sealed = assign.replace_values(
        "s.json",
        data,
        [ALICE.identity],
        NewValues({KeyPath(("a",)): "new"}),
        recipients=[BOB.recipient],
        sops=program,
        workdir=tmp_path,
    )
    assert b'"new"' in sopsfiles.decrypt(
        program, "s.json", sealed.data, BOB_KEY.private, tmp_path
    )
    old = data_key(metadata.parse("s.json", data), [ALICE.identity])
    assert sealed.data_key != old


def test_several_values_change_at_once(tmp_path: Path) -> None:
    data = written("3.11", "s.yaml", tmp_path)
    file = metadata.parse("s.yaml", data)
    key = data_key(file, [ALICE.identity])
    given = NewValues(
        {KeyPath((name,)): f"new {name}" for name in ("n", "switch", "x")}
    )
    places = assign.placed(file, given)
    found = replacement.replaced(file, key, places, "2026-01-02T03:04:05Z")
    assert found is not None
    for name in ("n", "switch", "x"):
        assert read("s.yaml", found.data, name, tmp_path) == f"new {name}"
    program = sopsfiles.SOPS["3.11"]()
    sopsfiles.decrypt(program, "s.yaml", found.data, ALICE_KEY.private, tmp_path)


@pytest.mark.parametrize(
    ("typed", "names"),
    [
        ("a", ("a",)),
        ("a/b", ("a", "b")),
        (r"a\/b/c", ("a/b", "c")),
        (r"a\\b", ("a\\b",)),
        (r"\[x\]/\"y\"", ("[x]", '"y"')),
        ("a b/0", ("a b", "0")),
    ],
)
def test_a_key_path_names_any_key(typed: str, names: tuple[str, ...]) -> None:
    path = key_path(metadata.SopsFormat.YAML, typed)
    assert path == KeyPath(names)
    assert key_path(metadata.SopsFormat.YAML, str(path)) == path


@pytest.mark.parametrize("typed", ["", "/", "a//b", "a/", "/a", 'a"b', "a[0]", "a\\"])
def test_what_is_no_path_is_refused(typed: str) -> None:
    with pytest.raises(UsageError, match="not a valid path to a value"):
        key_path(metadata.SopsFormat.YAML, typed)


def test_a_document_is_named_where_several_have_the_key(tmp_path: Path) -> None:
    data = written("3.11", "many.yaml", tmp_path)
    for key in ("a", "new"):
        with pytest.raises(UsageError, match="several documents"):
            replaced("many.yaml", data, key, "x", tmp_path)
    with pytest.raises(UsageError, match="no document 3"):
        replaced("many.yaml", data, "[3]/a", "x", tmp_path)
    assert read("many.yaml", data, "[2]/a", tmp_path) == "2"


@pytest.mark.parametrize("key", ["with/slash", 'quo"te', "back\\slash", "123", "on"])
def test_odd_names_of_keys_are_set_and_read(key: str, tmp_path: Path) -> None:
    typed = str(KeyPath((key,)))
    for name in ("s.yaml", "s.json"):
        data = written("3.11", name, tmp_path)
        if name == "s.yaml" and set(key) & set('"\\'):
            with pytest.raises(SecretFileError, match="set safely"):
                replaced(name, data, typed, "x", tmp_path)
            continue
        new = replaced(name, data, typed, "x", tmp_path)
        assert read(name, new, typed, tmp_path) == "x"
