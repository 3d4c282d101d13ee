"""Metadata of sops files: parsed in every format and layout, and edited as text."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixsecrets.errors import SecretFileError
from nixsecrets.files.kind import format_for, looks_like_sops
from nixsecrets.files.sops import metadata as sops_metadata
from nixsecrets.files.sops.metadata import SopsFormat
from nixsecrets.splice import apply_edits
from tests.files import sopsfiles
from tests.files.agekeys import reader
from tests.fleet import age_key, ssh_key

ALICE = reader(age_key())
BOB = reader(age_key())
WEB = reader(ssh_key("web", comment="root@web"))
LABELS = (ALICE.recipient.text, BOB.recipient.text, ssh_key("web", comment="c").public)
NAMES = [*sopsfiles.PLAIN, "many.yaml"]
FAKE = ("age1fake", "-----BEGIN X-----\nAAAA\n-----END X-----\n")


def sample(version: str, name: str) -> bytes:
    return sopsfiles.sample(version, name, *LABELS)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a/b.yaml", SopsFormat.YAML),
        ("b.yml", SopsFormat.YAML),
        ("b.json", SopsFormat.JSON),
        (".env", SopsFormat.DOTENV),
        ("prod.env", SopsFormat.DOTENV),
        (".env.prod", SopsFormat.BINARY),
        ("b.ini", SopsFormat.INI),
        ("b.YAML", SopsFormat.BINARY),
        ("yaml", SopsFormat.BINARY),
        ("", SopsFormat.BINARY),
    ],
)
def test_the_format_follows_from_the_suffix_as_in_sops(
    path: str, expected: SopsFormat
) -> None:
    assert format_for(path) is expected


@pytest.mark.parametrize("version", sopsfiles.SOPS)
@pytest.mark.parametrize("name", NAMES)
def test_what_sops_wrote_is_read(version: str, name: str) -> None:
    data = sample(version, name)
    file = sops_metadata.parse(name, data)
    assert tuple(entry.label for entry in file.entries) == LABELS
    assert [entry.recipient for entry in file.entries] == [
        ALICE.recipient,
        BOB.recipient,
        WEB.recipient,
    ]
    assert all(e.enc.startswith("-----BEGIN AGE ENC") for e in file.entries)
    assert all(
        e.enc.endswith("-----END AGE ENCRYPTED FILE-----\n") for e in file.entries
    )
    assert file.mac.startswith("ENC[AES256_GCM,data:")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", file.lastmodified)
    assert file.version.startswith("3.1")
    assert (file.groups, file.others, file.options) == (1, (), ())
    assert file.agree
    assert len(file.blocks) == (3 if name == "many.yaml" else 1)
    assert looks_like_sops(name, data)


@pytest.mark.parametrize("version", sopsfiles.SOPS)
@pytest.mark.parametrize("name", NAMES)
def test_entries_are_edited_and_every_other_byte_stays(version: str, name: str) -> None:
    data = sample(version, name)
    file = sops_metadata.parse(name, data)
    old = [(entry.label, entry.enc) for entry in file.entries]
    append = [edit for block in file.blocks for edit in block.append([FAKE, FAKE])]
    replace = [edit for block in file.blocks for edit in block.replace(1, *FAKE)]
    only = [edit for block in file.blocks for edit in block.only(*FAKE)]
    for edits, expected in (
        (append, [*old, FAKE, FAKE]),
        (replace, [old[0], FAKE, old[2]]),
        (only, [FAKE]),
        ([*append, *replace], [old[0], FAKE, old[2], FAKE, FAKE]),
    ):
        again = sops_metadata.parse(name, apply_edits(file.text, edits).encode())
        assert [(entry.label, entry.enc) for entry in again.entries] == expected
        assert again.agree
        assert (again.mac, again.lastmodified) == (file.mac, file.lastmodified)
    assert all(start == end for start, end, _ in append)


@pytest.mark.parametrize("version", sopsfiles.SOPS)
@pytest.mark.parametrize("name", ["s.yaml", "s.json", "s.env", "s.bin"])
def test_an_inserted_entry_is_spelled_as_sops_spells_it(
    version: str, name: str, tmp_path: Path
) -> None:
    """Removing the last entry and inserting it again gives the same file (but INI,
    whose keys sops 3.11 writes in random order)."""
    three = sops_metadata.parse(name, sample(version, name))
    last = three.entries[-1]
    two = sopsfiles.sample(version, name, *LABELS[:2])
    file = sops_metadata.parse(name, two)
    grown = apply_edits(file.text, file.blocks[0].append([(last.label, last.enc)]))
    shape = re.compile(r"[A-Za-z0-9+/=]{16,}|ENC\[.*?\]|age1\w+|\d\d:\d\d:\d\dZ")
    assert shape.sub("x", grown) == shape.sub("x", three.text)


def indented_by_two(text: str) -> str:
    widths = {4: 2, 8: 4, 10: 6, 12: 8}
    lead = re.compile(r"^ +", re.MULTILINE)
    return lead.sub(lambda found: " " * widths[len(found[0])], text)


def sequences_not_indented(text: str) -> str:
    head, sops, rest = text.partition("    age:\n")
    entries, last, tail = rest.partition("    lastmodified")
    return head + sops + re.sub(r"(?m)^    ", "", entries) + last + tail


def sops_block_first(text: str) -> str:
    at = text.index("sops:")
    return text[at:] + text[:at]


SPELLINGS: dict[str, Callable[[str], str]] = {
    "as sops wrote it": lambda text: text,
    "CRLF": lambda text: text.replace("\n", "\r\n"),
    "indented by two": indented_by_two,
    "sequences not indented": sequences_not_indented,
    "the sops block first": sops_block_first,
    "document marker": lambda text: "---\n" + text,
    "end marker": lambda text: text + "...\n",
    "comments": lambda text: (
        "# one\n"
        + text.replace("    age:\n", "    # two\n\n    age: # three\n").replace(
            "        - ", "        # four\n        - "
        )
    ),
    "trailing comments": lambda text: re.sub(
        r"(recipient: age1\w+)", r"\1 # somebody", text
    ),
    "no final newline": lambda text: text.rstrip("\n"),
    "blank lines": lambda text: text.replace("    mac:", "\n\n    mac:") + "\n\n",
    "quoted key": lambda text: text.replace("\nsops:", '\n"sops":'),
    "quoted keys": lambda text: text.replace(" mac:", ' "mac":').replace(
        "recipient:", "'recipient':"
    ),
    "single quotes": lambda text: re.sub(r"(recipient: )(\S.*)", r"\1'\2'", text),
    "double quotes": lambda text: re.sub(r"(recipient: )(\S.*)", r'\1"\2"', text),
    "stripped literals": lambda text: text.replace("enc: |\n", "enc: |-\n"),
    "folded mac": lambda text: text.replace("    mac: ", "    mac: >-\n        "),
    "mac on the next line": lambda text: text.replace("    mac: ", "    mac:\n      "),
    "unknown fields": lambda text: text.replace(
        "    mac:", "    later:\n        - a\n        - b: c\n    mac:"
    ),
    "empty lists as in 3.7": lambda text: text.replace(
        "sops:\n", "sops:\n    kms: []\n    gcp_kms: []\n    pgp: []\n"
    ),
    "null lists": lambda text: text.replace(
        "sops:\n", "sops:\n    kms: null\n    hc_vault: ~\n    pgp:\n"
    ),
    "another key that starts alike": lambda text: "sops_version: 3\nsopsy: 1\n" + text,
}


@pytest.mark.parametrize("version", sopsfiles.SOPS)
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_other_spellings_of_yaml_are_read_and_edited(
    version: str, spelling: str
) -> None:
    original = sample(version, "s.yaml").decode()
    text = SPELLINGS[spelling](original)
    assert spelling == "as sops wrote it" or text != original
    expected = sops_metadata.parse("s.yaml", original.encode())
    file = sops_metadata.parse("s.yaml", text.encode())
    assert file.entries == expected.entries
    assert file.mac == expected.mac
    assert looks_like_sops("s.yaml", text.encode())
    (block,) = file.blocks
    old = [(entry.label, entry.enc) for entry in file.entries]
    for edits, wanted in (
        (block.append([FAKE]), [*old, FAKE]),
        (block.replace(2, *FAKE), [*old[:2], FAKE]),
        (block.only(*FAKE), [FAKE]),
    ):
        again = sops_metadata.parse("s.yaml", apply_edits(text, edits).encode())
        assert [(entry.label, entry.enc) for entry in again.entries] == wanted


SAME_VALUES = [s for s in SPELLINGS if s != "another key that starts alike"]


@pytest.mark.parametrize("version", sopsfiles.SOPS)
@pytest.mark.parametrize("spelling", SAME_VALUES)
def test_sops_reads_the_same_spellings_after_an_insertion(
    version: str, spelling: str, tmp_path: Path
) -> None:
    program = sopsfiles.SOPS[version]()
    text = SPELLINGS[spelling](sample(version, "s.yaml").decode())
    file = sops_metadata.parse("s.yaml", text.encode())
    entry = file.entries[0]
    (block,) = file.blocks
    grown = apply_edits(text, block.append([(entry.label, entry.enc)])).encode()
    plain = sopsfiles.decrypt(program, "s.yaml", grown, ALICE.private, tmp_path)
    assert b"k: v\n" in plain


@pytest.mark.parametrize("version", sopsfiles.SOPS)
def test_json_in_any_layout_is_read_and_edited(version: str) -> None:
    import json

    original = sample(version, "s.json")
    value = json.loads(original)
    reordered = {"sops": dict(reversed(value.pop("sops").items())), **value}
    for text in (
        json.dumps(reordered),
        json.dumps(reordered, indent=2),
        json.dumps(reordered, indent=4, separators=(" ,", " : ")),
        "\n\t" + json.dumps(reordered) + "\n\n",
    ):
        for name in ("s.json", "json-is-yaml.yaml"):
            file = sops_metadata.parse(name, text.encode())
            assert file.entries == sops_metadata.parse("s.json", original).entries
            grown = apply_edits(text, file.blocks[0].append([FAKE]))
            again = sops_metadata.parse(name, grown.encode())
            assert [e.label for e in again.entries] == [*LABELS, FAKE[0]]
            assert json.loads(grown)["sops"]["mac"] == file.mac


@pytest.mark.parametrize("version", sopsfiles.SOPS)
def test_the_order_of_ini_lines_is_free(version: str) -> None:
    lines = sample(version, "s.ini").decode().splitlines(keepends=True)
    at = lines.index("[sops]\n") + 1
    expected = sops_metadata.parse("s.ini", "".join(lines).encode()).entries
    for metadata in (sorted(lines[at:]), sorted(lines[at:], reverse=True)):
        shuffled = "".join([*lines[:at], *metadata, "[after]\nk = v\n"])
        assert sops_metadata.parse("s.ini", shuffled.encode()).entries == expected
        crlf = shuffled.replace("\n", "\r\n").encode()
        assert sops_metadata.parse("s.ini", crlf).entries == expected


def test_ini_values_with_real_newlines_are_read() -> None:
    """As sops 3.13.0 and 3.13.1 wrote them."""
    text = sample("3.11", "s.ini").decode()
    expected = sops_metadata.parse("s.ini", text.encode()).entries
    broken = re.sub(
        r"(?m)(_enc +)= (.*)$",
        lambda found: f'{found[1]}= """' + found[2].replace("\\n", "\n") + '"""',
        text,
    )
    assert broken != text
    assert sops_metadata.parse("s.ini", broken.encode()).entries == expected


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("version", sopsfiles.SOPS)
def test_several_key_groups_are_recognised(
    version: str, name: str, tmp_path: Path
) -> None:
    config = tmp_path / ".sops.yaml"
    groups = f"    - age: [{LABELS[0]}]\n    - age: [{LABELS[1]}]\n"
    config.write_text("creation_rules:\n- key_groups:\n" + groups)
    content = sopsfiles.MANY if name == "many.yaml" else sopsfiles.PLAIN[name]
    data = sopsfiles.encrypt(sopsfiles.SOPS[version](), name, content, [], tmp_path)
    file = sops_metadata.parse(name, data)
    assert (file.groups, len(file.entries)) == (2, 0)


@pytest.mark.parametrize("name", [*sopsfiles.PLAIN])
def test_selection_options_are_read(name: str, tmp_path: Path) -> None:
    config = tmp_path / ".sops.yaml"
    config.write_text(
        "creation_rules:\n"
        f"- age: {LABELS[0]}\n  encrypted_regex: ^(k|K|data)$\n"
        "  mac_only_encrypted: true\n"
    )
    data = sopsfiles.encrypt(
        sopsfiles.old_sops(), name, sopsfiles.PLAIN[name], [], tmp_path
    )
    expected = (("encrypted_regex", "^(k|K|data)$"), ("mac_only_encrypted", True))
    # The binary store ignores them all, and says so.
    assert sops_metadata.parse(name, data).options == (
        () if name == "s.bin" else expected
    )


@pytest.mark.parametrize(
    ("options", "canonical"),
    [
        ([], ()),
        ([("unencrypted_suffix", "_unencrypted")], ()),
        ([("unencrypted_suffix", "_open")], (("unencrypted_suffix", "_open"),)),
        ([("mac_only_encrypted", False), ("encrypted_regex", "")], ()),
        (
            [("mac_only_encrypted", True), ("encrypted_regex", "a")],
            (("encrypted_regex", "a"), ("mac_only_encrypted", True)),
        ),
    ],
)
def test_options_of_the_same_meaning_are_equal(
    options: list[tuple[str, str | bool]],
    canonical: tuple[tuple[str, str | bool], ...],
) -> None:
    assert sops_metadata.canonical_options(options) == canonical


def test_entries_of_other_kinds_are_described() -> None:
    text = sample("3.11", "s.yaml").decode()
    others = (
        '    pgp:\n        - created_at: "2026-11-20T10:52:10Z"\n'
        "          enc: |-\n            -----BEGIN PGP MESSAGE-----\n\n"
        "            hQ==\n            -----END PGP MESSAGE-----\n"
        "          fp: 85D77543B3D624B63CEA9E6DBC17301B491B3F21\n"
        "    kms:\n        - arn: arn:aws:kms:eu-west-1:1:key/a\n"
        "          context:\n            app: x\n          enc: AQ==\n"
    )
    file = sops_metadata.parse(
        "s.yaml", text.replace("sops:\n", "sops:\n" + others).encode()
    )
    assert list(map(str, file.others)) == [
        "pgp:85D77543B3D624B63CEA9E6DBC17301B491B3F21",
        "awskms:arn:aws:kms:eu-west-1:1:key/a",
    ]
    assert tuple(entry.label for entry in file.entries) == LABELS


@pytest.mark.parametrize(
    ("name", "original"),
    [("app.conf", "s.json"), ("secret", "s.yaml"), ("x.txt", "s.env"), ("y", "s.ini")],
)
def test_the_content_determines_a_format_that_the_suffix_does_not(
    name: str, original: str
) -> None:
    data = sample("3.11", original)
    assert looks_like_sops(name, data)
    file = sops_metadata.parse(name, data)
    assert file.format is format_for(original)
    assert tuple(entry.label for entry in file.entries) == LABELS


@pytest.mark.parametrize(
    ("path", "data", "expected"),
    [
        ("a.yaml", b"", False),
        ("a.yaml", b"k: v\n", False),
        ("values.yaml", b"sops:\n  enabled: true\n", False),
        ("values.yaml", b"sops: {enabled: true}\nmac: 0\n", False),
        ("notes.md", b"sops:\n  mac: x\n  lastmodified: y\n", False),
        ("go.go", b'"sops": { ENC[AES256_GCM,data:%s', False),
        ("package.json", b'{"devDependencies": {"sops": "1"}}', False),
        ("a.env", b"SOPS=1\nsops_x=1\n", False),
        ("a.ini", b"[sops]\nk = v\n", False),
        ("cut.yaml", b"k: ENC[AES256_GCM,data:eA==,iv:eA==,tag:eA==,type:str]\n", True),
        ("cut.env", b"K=ENC[AES256_GCM,data:eA==,iv:eA==,tag:eA==,type:str]\n", True),
        ("cut.yaml", b"sops:\n    age:\n    - enc: |\n -----BEGIN AGE ENCR", True),
        ("cut.json", b'{"sops": {"mac": "", "lastmodified": ""', True),
    ],
)
def test_only_what_was_meant_to_be_a_sops_file_looks_like_one(
    path: str, data: bytes, *, expected: bool
) -> None:
    assert looks_like_sops(path, data) is expected


DAMAGES: dict[str, tuple[str, Callable[[str], str], str]] = {
    "no metadata": ("s.yaml", lambda t: t[: t.index("sops:")], "no sops metadata"),
    "no mac": (
        "s.yaml",
        lambda t: re.sub(r"(?m)^ +mac:.*\n", "", t),
        "without its MAC",
    ),
    "no recipients": ("s.yaml", lambda t: drop_age(t), "without any recipient"),
    "two sops keys": ("s.yaml", lambda t: t + t[t.index("sops:") :], "two sops keys"),
    "a document without metadata": ("s.yaml", lambda t: t + "---\na: b\n", "document"),
    "a scalar": ("s.yaml", lambda t: "sops: 3\n" + t[:9], "not sops metadata"),
    "an anchor": ("s.yaml", lambda t: t.replace("age:\n", "age: &a\n"), "line"),
    "flow style": ("s.yaml", lambda t: "sops: {mac: a}\n" + t[:9], "line 1"),
    "tabs": ("s.yaml", lambda t: t.replace("    mac", "\tmac"), "without its MAC"),
    "conflict markers": (
        "s.yaml",
        lambda t: t.replace("    mac:", "<<<<<<< HEAD\n    mac:"),
        "MAC",
    ),
    "a duplicate key": (
        "s.yaml",
        lambda t: t.replace("    mac:", "    version: 1\n    mac:"),
        "line",
    ),
    "an entry without enc": (
        "s.json",
        lambda t: t.replace('"enc"', '"inc"', 1),
        "incomplete age entry",
    ),
    "cut JSON": ("s.json", lambda t: t[:-5], "not valid JSON"),
    "JSON and more": ("s.json", lambda t: t + "x", "after the end"),
    "a JSON array": ("s.json", lambda t: f"[{t}]", "no sops metadata"),
    "deep JSON": (
        "s.json",
        lambda t: t[:1] + '"sops": ' + "[" * 99999,
        "not valid JSON",
    ),
    "a long number": (
        "s.json",
        lambda t: t[:1] + '"a": ' + "9" * 9999,
        "not valid JSON",
    ),
    "a gap": ("s.env", lambda t: t.replace("list_2", "list_3"), "gap"),
    "the same line twice": (
        "s.env",
        lambda t: t + "sops_version=1\n",
        "same sops metadata line twice",
    ),
    "a contradiction": ("s.env", lambda t: t + "sops_mac__map_a=1\n", "contradict"),
    "no number": ("s.env", lambda t: t + "sops_pgp__list_x__map_a=1\n", "number"),
    "CRLF in dotenv": ("s.env", lambda t: t.replace("\n", "\r\n"), "CRLF"),
    "two sections": ("s.ini", lambda t: t + "[sops]\n", "2 [sops] sections"),
    "two options": (
        "s.env",
        lambda t: t + "sops_encrypted_regex=a\nsops_encrypted_suffix=b\n",
        "two selection options",
    ),
}


def drop_age(text: str) -> str:
    start, end = text.index("    age:\n"), text.index("    lastmodified")
    return text[:start] + text[end:]


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_is_named(damage: str) -> None:
    name, change, words = DAMAGES[damage]
    with pytest.raises(SecretFileError, match=re.escape(words)) as caught:
        sops_metadata.parse(name, change(sample("3.11", name).decode()).encode())
    assert caught.value.hint


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("version", sopsfiles.SOPS)
def test_a_file_that_lost_its_last_lines_is_refused_or_reads_the_same(
    version: str, name: str
) -> None:
    """What follows the metadata that is needed (version, options) may be missing."""
    data = sample(version, name)
    whole = sops_metadata.parse(name, data)
    for end in [at for at, byte in enumerate(data) if byte == ord("\n")]:
        try:
            file = sops_metadata.parse(name, data[:end])
        except SecretFileError:
            continue
        assert set(file.entries) <= set(whole.entries)


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_no_bytes_whatever_make_the_reader_fail(name: str, data: st.DataObject) -> None:
    original = sample("3.11", name)
    start = data.draw(st.integers(0, len(original)))
    end = data.draw(st.integers(start, min(start + 200, len(original))))
    filler = data.draw(
        st.one_of(
            st.binary(max_size=40),
            st.text("\n\r\t -:|>#'\"[]{}sopage_0", max_size=40).map(str.encode),
            st.just(original[end : end + 300]),
        )
    )
    changed = original[:start] + filler + original[end:]
    looks_like_sops(name, changed)
    try:
        file = sops_metadata.parse(name, changed)
    except SecretFileError:
        return
    if file.entries and file.agree:
        edits = [edit for block in file.blocks for edit in block.append([FAKE])]
        text = apply_edits(file.text, edits)
        again = sops_metadata.parse(name, text.encode("utf-8", "surrogateescape"))
        assert [e.label for e in again.entries] == [
            *(e.label for e in file.entries),
            FAKE[0],
        ]
        assert again.mac == file.mac
