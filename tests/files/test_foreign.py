"""Readers that are not age keys: reported, kept from sops, gone under a new key."""

import re
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from nixsecrets.errors import SecretFileError
from nixsecrets.files.sops import grant, metadata, operations, verify
from nixsecrets.files.sops.program import SopsProgram
from nixsecrets.files.sops.state import read_actual
from nixsecrets.files.state import Actual, Damaged, Stated, Unknown
from nixsecrets.keys.book import KeyBook
from tests.files import sopsfiles
from tests.files.agekeys import reader
from tests.files.foreignentries import entries, planted
from tests.fleet import age_key

ALICE = reader(age_key())
BOB = reader(age_key())
LABELS = (ALICE.recipient.text,)
NAMES = [*sopsfiles.PLAIN, "many.yaml"]
CONTENT = {**sopsfiles.PLAIN, "many.yaml": sopsfiles.MANY}
KINDS = entries("http://127.0.0.1:9")
BOOK = KeyBook(())
# every kind in one format, one kind in every format
CASES = [
    *(("s.yaml", field) for field in KINDS),
    *((name, "hc_vault") for name in NAMES if name != "s.yaml"),
]


@pytest.fixture(params=sopsfiles.SOPS)
def version(request: pytest.FixtureRequest) -> str:
    sopsfiles.SOPS[request.param]()  # skips where the reference is not there
    return str(request.param)


@pytest.fixture
def recorder(tmp_path: Path, version: str) -> Iterator[SopsProgram]:
    """A script around the real sops that keeps a copy of every file it gets."""
    seen, real = tmp_path / "seen", sopsfiles.SOPS[version]().path
    seen.mkdir()
    script = tmp_path / "bin" / "sops"
    script.parent.mkdir()
    script.write_text(
        "#!/bin/sh\n"
        f'mine=$(mktemp -d "{seen}/XXXXXX")\n'
        'for one in "$@"; do\n'
        '  case "$one" in /dev/stdin) cat > "$mine/stdin";;'
        ' /*) [ -e "$one" ] && cp -r "$one" "$mine/";; esac\n'
        "done\n"
        f'if [ -e "$mine/stdin" ]; then exec "{real}" "$@" < "$mine/stdin"; fi\n'
        f'exec "{real}" "$@"\n'
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    yield SopsProgram(script, sopsfiles.old_sops().env)
    given = [p.read_bytes() for p in seen.rglob("*") if p.is_file()]
    names = (
        rb'(?im)(?:^|[\s"_])(?:hc_vault|hckms|gcp_kms|azure_kv|kms|pgp|key_groups)'
        rb'(?:__|["\s]*[:=])|127\.0\.0\.1'
    )
    shown = [data for data in given if b"creation_rules" not in data]
    assert given, "sops was started"
    assert not [data for data in shown if re.search(names, data)]


def with_entry(version: str, name: str, field: str) -> bytes:
    data = sopsfiles.sample(version, name, *LABELS)
    return planted(name, data, field, KINDS[field][0])


def others(name: str, data: bytes) -> list[str]:
    actual = read_actual(name, data, BOOK)
    assert isinstance(actual, Actual)
    return [str(key) for key in actual.others]


@pytest.mark.parametrize(("name", "field"), CASES)
def test_an_entry_is_reported_as_the_map_spells_it(
    version: str, name: str, field: str
) -> None:
    data = with_entry(version, name, field)
    actual = read_actual(name, data, BOOK)
    assert isinstance(actual, Actual)
    assert isinstance(actual.state, Stated)
    assert others(name, data) == [KINDS[field][1]]


@pytest.mark.parametrize(("name", "field"), CASES)
def test_a_reencryption_drops_it_and_sops_never_sees_it(
    recorder: SopsProgram, version: str, name: str, field: str, tmp_path: Path
) -> None:
    old = with_entry(version, name, field)
    work = tmp_path / "w"
    work.mkdir()
    sealed = operations.reencrypt(
        name, old, [ALICE.identity], [BOB.recipient], sops=recorder, workdir=work
    )
    sopsfiles.verify(recorder, name, sealed.data, sealed, BOB.identity, work)
    assert others(name, sealed.data) == []
    assert field.encode() not in sealed.data
    assert b"127.0.0.1" not in sealed.data
    plain = sopsfiles.decrypt(recorder, name, sealed.data, BOB.private, tmp_path)
    assert (
        plain.split()
        == sopsfiles.decrypt(
            recorder,
            name,
            sopsfiles.sample(version, name, *LABELS),
            ALICE.private,
            tmp_path,
        ).split()
    )


@pytest.mark.parametrize(("name", "field"), CASES)
def test_a_grant_leaves_its_bytes(version: str, name: str, field: str) -> None:
    old = with_entry(version, name, field)
    granted = grant.grant(name, old, [ALICE.identity], add=[BOB.recipient])
    verify.verify_grant(name, old, granted.data, granted)
    assert others(name, granted.data) == [KINDS[field][1]]
    without = planted_lines(old) - planted_lines(granted.data)
    assert not without, "every line of the old file is still there"


def planted_lines(data: bytes) -> set[bytes]:
    return {line.strip(b" \t,") for line in data.splitlines()}


@pytest.mark.parametrize(("name", "field"), CASES)
def test_new_content_keeps_the_data_key_and_the_entry_and_sops_never_sees_it(
    recorder: SopsProgram, version: str, name: str, field: str, tmp_path: Path
) -> None:
    old = with_entry(version, name, field)
    work = tmp_path / "w"
    work.mkdir()
    plain = CONTENT[name].replace(b"v", b"w").replace(b"bin", b"new")
    sealed = operations.replace_content(
        name, old, [ALICE.identity], plain, sops=recorder, workdir=work
    )
    sopsfiles.verify(recorder, name, sealed.data, sealed, ALICE.identity, work)
    assert others(name, sealed.data) == [KINDS[field][1]]
    before, after = (metadata.parse(name, one).blocks for one in (old, sealed.data))
    assert [block.foreign for block in before] == [block.foreign for block in after]


@pytest.mark.parametrize("name", NAMES)
def test_new_content_under_a_new_key_drops_it(
    recorder: SopsProgram, version: str, name: str, tmp_path: Path
) -> None:
    old = with_entry(version, name, "hc_vault")
    work = tmp_path / "w"
    work.mkdir()
    sealed = operations.replace_content(
        name,
        old,
        [ALICE.identity],
        CONTENT[name],
        recipients=[ALICE.recipient],
        rotate=True,
        sops=recorder,
        workdir=work,
    )
    sopsfiles.verify(recorder, name, sealed.data, sealed, ALICE.identity, work)
    assert others(name, sealed.data) == []


@pytest.mark.parametrize(
    ("name", "field"),
    [("s.json", "HC_VAULT"), ("s.bin", "hc_Vault"), ("s.env", "Hc_vault"),
     ("s.ini", "HC_VAULT"), ("s.yaml", "Hc_Vault")],
)  # fmt: skip
def test_letters_of_another_case_hide_nothing(
    recorder: SopsProgram, version: str, name: str, field: str, tmp_path: Path
) -> None:
    """Go's decoders ignore the case of field names."""
    entry, shown = KINDS["hc_vault"]
    data = sopsfiles.sample(version, name, *LABELS)
    old = planted(name, data, field, entry)
    assert others(name, old) == [shown]
    work = tmp_path / "w"
    work.mkdir()
    sealed = operations.reencrypt(
        name, old, [ALICE.identity], [BOB.recipient], sops=recorder, workdir=work
    )
    sopsfiles.verify(recorder, name, sealed.data, sealed, BOB.identity, work)
    assert others(name, sealed.data) == []


def test_one_entry_that_is_no_list_counts(version: str) -> None:
    """sops 3.13 reads a single mapping as a list of one."""
    data = sopsfiles.sample(version, "s.yaml", *LABELS)
    more = b"sops:\n    hc_vault:\n        vault_address: http://127.0.0.1:9\n"
    assert others("s.yaml", data.replace(b"sops:\n", more)) == [
        "vault:http://127.0.0.1:9/v1/keys"
    ]


@pytest.mark.parametrize("name", ["s.json", "s.bin"])
@pytest.mark.parametrize("key", ["SOPS", "Sops", "\u017fops"])
def test_a_second_metadata_object_in_other_letters_is_refused(
    version: str, name: str, key: str
) -> None:
    """sops 3.11 merges it into the first one."""
    data = sopsfiles.sample(version, name, *LABELS).decode()
    vault = f'{{"{key}": {{"hc_vault": [{{"vault_address": "http://127.0.0.1:9"}}]}},'
    found = read_actual(name, data.replace("{", vault, 1).encode(), BOOK)
    assert isinstance(found, Damaged)
    assert "second" in found.reason


@pytest.mark.parametrize(
    "line",
    [
        '"hc_vault__list_0__map_vault_address" = http://127.0.0.1:9',
        "`hc_vault__list_0__map_vault_address` = http://127.0.0.1:9",
        "hc vault = x",
    ],
)
def test_an_ini_line_that_only_sops_would_read_is_refused(
    version: str, line: str
) -> None:
    data = sopsfiles.sample(version, "s.ini", *LABELS).decode()
    odd = data.replace("[sops]\n", f"[sops]\n{line}\n")
    assert isinstance(read_actual("s.ini", odd.encode(), BOOK), Damaged)


def test_key_groups_next_to_age_entries_are_reported_and_dropped(
    recorder: SopsProgram, version: str, tmp_path: Path
) -> None:
    """sops reads only the entries; the groups may still have a wrapped key."""
    data = sopsfiles.sample(version, "s.yaml", *LABELS)
    group = b"sops:\n    key_groups:\n        - pgp:\n            - fp: AB\n"
    old = data.replace(b"sops:\n", group)
    found = read_actual("s.yaml", old, BOOK)
    assert isinstance(found, Actual)
    assert isinstance(found.state, Unknown)
    assert "key groups" in found.state.reason
    assert others("s.yaml", old) == ["pgp:AB"]
    work = tmp_path / "w"
    work.mkdir()
    sealed = operations.reencrypt(
        "s.yaml", old, [ALICE.identity], [BOB.recipient], sops=recorder, workdir=work
    )
    sopsfiles.verify(recorder, "s.yaml", sealed.data, sealed, BOB.identity, work)
    assert b"key_groups" not in sealed.data


def test_several_entries_of_several_kinds_go_at_once(
    recorder: SopsProgram, version: str, tmp_path: Path
) -> None:
    work = tmp_path / "w"
    work.mkdir()
    for name in NAMES:
        old = sopsfiles.sample(version, name, *LABELS)
        for field, (entry, _) in KINDS.items():
            old = planted(name, old, field, entry)
        assert len(others(name, old)) == len(KINDS)
        sealed = operations.reencrypt(
            name, old, [ALICE.identity], [BOB.recipient], sops=recorder, workdir=work
        )
        sopsfiles.verify(recorder, name, sealed.data, sealed, BOB.identity, work)
        assert others(name, sealed.data) == []


def test_json_entries_at_the_end_of_the_metadata_go(
    recorder: SopsProgram, version: str, tmp_path: Path
) -> None:
    data = sopsfiles.sample(version, "s.json", *LABELS).decode()
    more = ', "hc_vault": [{"vault_address": "http://127.0.0.1:9"}], "{": 1\n\t}\n}'
    old = re.sub(r"\n\t\}\n\}\s*$", more, data).encode()
    assert old.decode() != data
    work = tmp_path / "w"
    work.mkdir()
    sealed = operations.reencrypt(
        "s.json", old, [ALICE.identity], [BOB.recipient], sops=recorder, workdir=work
    )
    sopsfiles.verify(recorder, "s.json", sealed.data, sealed, BOB.identity, work)
    assert b"vault" not in sealed.data


def test_an_entry_put_back_after_it_was_dropped_is_a_deviation(
    version: str, tmp_path: Path
) -> None:
    old = with_entry(version, "s.yaml", "hc_vault")
    sealed = operations.reencrypt(
        "s.yaml",
        old,
        [ALICE.identity],
        [BOB.recipient],
        sops=sopsfiles.SOPS[version](),
        workdir=tmp_path,
    )
    entry, _ = KINDS["hc_vault"]
    back = planted("s.yaml", sealed.data, "hc_vault", entry)
    with pytest.raises(SecretFileError, match="not age"):
        verify.verify_reencrypted("s.yaml", back, sealed, [BOB.identity])
