"""A type that does not fit its value is found: without a key where that can be."""

import re
from pathlib import Path

import pytest

from nixsecrets.files.sops import datakey, metadata
from nixsecrets.files.sops.engine import types
from tests.files import sopsfiles
from tests.files.agekeys import reader
from tests.fleet import ProgramFailed, age_key

ALICE = reader(age_key())
LABELS = (ALICE.recipient.text,)
VALUES = (
    b"int: 5\nzero: 0\nnegative: -17\nlong: 9223372036854775807\nyes: true\nno: false\n"
    b"float: 1.5\nsmall: 0.000001\nlarge: 1e21\nnan: .nan\nwhole: 3.0\n"
    b"date: 2001-12-15T02:59:43Z\ntext: x\nempty: ''\nlist: [1, true, 2.5, x]\n"
)
TYPES = ("str", "int", "float", "bool", "bytes", "time")


@pytest.fixture(params=sopsfiles.SOPS)
def version(request: pytest.FixtureRequest) -> str:
    sopsfiles.SOPS[request.param]()
    return str(request.param)


def misfits(data: bytes) -> list[str]:
    file = metadata.parse("s.yaml", data)
    key = datakey.data_key(file, [ALICE.identity])
    return [one.leaf.path[0] for one in types.misfits(file, key)]


def test_what_sops_encrypts_fits(version: str, tmp_path: Path) -> None:
    sops = sopsfiles.SOPS[version]()
    data = sopsfiles.encrypt(sops, "s.yaml", VALUES, LABELS, tmp_path)
    assert set(TYPES) - {"bytes"} <= set(re.findall(r",type:(\w+)\]", data.decode()))
    assert misfits(data) == []
    assert list(types.retyped(metadata.SopsFormat.YAML, data, data)) == []


@pytest.mark.parametrize("to", TYPES)
def test_a_type_that_sops_refuses_is_one_that_does_not_fit(
    version: str, to: str, tmp_path: Path
) -> None:
    """Where sops still takes the file, the type fits, but it is another than before."""
    sops = sopsfiles.SOPS[version]()
    data = sopsfiles.encrypt(sops, "s.yaml", VALUES, LABELS, tmp_path)
    lines = data.decode().split("\n")
    for at, line in enumerate(lines[: lines.index("sops:")]):
        changed = re.sub(r",type:\w+\]", f",type:{to}]", line)
        if changed == line:
            continue
        other = "\n".join([*lines[:at], changed, *lines[at + 1 :]]).encode()
        name = line.partition(":")[0].strip(' "-')
        try:
            sopsfiles.decrypt(sops, "s.yaml", other, ALICE.private, tmp_path)
            refused = False
        except ProgramFailed:
            refused = True
        if to != "bytes":  # which sops takes from nobody but itself
            assert bool(misfits(other)) == refused, (name, to)
        kind = metadata.SopsFormat.YAML
        found = [one.leaf.line for one in types.retyped(kind, data, other)]
        assert found == [at + 1]
