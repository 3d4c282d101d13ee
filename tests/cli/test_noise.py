"""A reader hidden as noise: reported where it shows, gone after every change."""

import json
import os
from collections.abc import Callable

import pytest

from nixsecrets.files.age import header as age_header
from nixsecrets.files.age import operations
from nixsecrets.files.age.header import Stanza
from nixsecrets.files.age.payload import seal_chunk
from nixsecrets.files.age.wrap import header_mac, wrap
from nixsecrets.files.sops import datakey, metadata
from nixsecrets.files.sops import grant as sops_grant
from nixsecrets.keys.identities import Identity, parse_identities
from nixsecrets.keys.recipients import parse_recipient
from tests import fleet as kit
from tests.files.agekeys import encode_header
from tests.fleet import Fleet

Hide = Callable[[Stanza], Stanza]
AGE, SOPS = "secrets/wifi.age", "secrets/app.yaml"


def openly(stanza: Stanza) -> Stanza:
    """Give a real stanza a type that age programs pass over."""
    return Stanza("X25519-grease", stanza.args, stanza.body)


def well(stanza: Stanza) -> Stanza:
    """Put share and wrapped key where rage puts random bytes."""
    share = age_header.decode_base64(stanza.args[0].encode())
    return Stanza("aZ#-grease", ("x",), share + stanza.body)


def with_hidden(fleet: Fleet, data: bytes, hide: Hide) -> bytes:
    """Return an age file with one more reader that is marked as noise."""
    file = age_header.parse(data)
    key = operations.file_key(file, identities(fleet))
    eve = parse_recipient(kit.age_key().public)
    hidden = hide(age_header.decode(wrap(key, eve).encoded))
    header = encode_header([*file.stanzas, hidden])
    mac = header_mac(key, header)
    return age_header.encode(header, mac, file.payload, armored=file.armored)


def identities(fleet: Fleet) -> list[Identity]:
    return list(parse_identities((fleet.keys / "alice").read_bytes(), "a").identities)


def hide_in_age(fleet: Fleet, hide: Hide) -> str:
    fleet.write(AGE, with_hidden(fleet, fleet.read(AGE), hide))
    fleet.run("accept", AGE, "--yes")
    return AGE


def hide_in_sops(fleet: Fleet, hide: Hide) -> str:
    """Hide a reader in the entry of brunnen, under a file key that eve made."""
    file = metadata.parse(SOPS, fleet.read(SOPS))
    key = datakey.data_key(file, identities(fleet))
    block = file.blocks[0]
    labels = [entry.recipient for entry in file.entries]
    brunnen = parse_recipient(fleet.public("brunnen")).converted()
    at, file_key = labels.index(brunnen), os.urandom(16)
    eve = parse_recipient(kit.age_key().public)
    stanzas = [
        age_header.decode(wrap(file_key, brunnen).encoded),
        hide(age_header.decode(wrap(file_key, eve).encoded)),
    ]
    header = encode_header(stanzas)
    mac = header_mac(file_key, header)
    enc = age_header.encode(
        header, mac, seal_chunk(file_key, key), armored=True
    ).decode()
    text = file.text
    for start, end, new in sorted(block.replace(at, brunnen.text, enc), reverse=True):
        text = text[:start] + new + text[end:]
    fleet.write(SOPS, text)
    return SOPS


def noise(fleet: Fleet, path: str) -> int:
    """Count the stanzas that are marked as noise."""
    data = fleet.read(path)
    if path == AGE:
        return sum(stanza.grease for stanza in age_header.parse(data).stanzas)
    encs = [entry.enc.encode() for entry in metadata.parse(path, data).entries]
    return sum(s.grease for enc in encs for s in age_header.parse(enc).stanzas)


def found(fleet: Fleet) -> set[str]:
    problems = json.loads(fleet.run("check", "--json").stdout)["problems"]
    return {one["path"] for one in problems if one["code"] == "NS015"}


def grant(fleet: Fleet) -> tuple[str, ...]:
    new = fleet.add_host("neu")
    return ("add-host", "neu", "--key", new.public, "--group", "server", "--yes")


@pytest.mark.parametrize("plant", [hide_in_age, hide_in_sops])
def test_noise_of_another_shape_is_a_finding_and_rekey_drops_it(
    ready: Fleet, plant: Callable[[Fleet, Hide], str]
) -> None:
    path = plant(ready, openly)
    assert noise(ready, path) == 1
    assert found(ready) == {path}
    assert f"    nixsecrets rekey {path}" in ready.run("check").stdout
    ready.git("add", "-A")
    assert "NS015" in ready.run("hook", "run").stdout + ready.run("hook", "run").stderr
    ready.ok("rekey", path, "--yes", "--allow-revoke")
    assert noise(ready, path) == 0
    assert found(ready) == set()


@pytest.mark.parametrize("hide", [openly, well])
@pytest.mark.parametrize("plant", [hide_in_age, hide_in_sops])
def test_none_survives_a_grant(
    ready: Fleet, plant: Callable[[Fleet, Hide], str], hide: Hide
) -> None:
    path = plant(ready, hide)
    before = ready.ok("cat", path)
    ready.ok(*grant(ready), "--allow-revoke")
    assert noise(ready, path) == 0
    assert ready.ok("cat", path) == before
    ready.operate_as("neu")
    assert ready.ok("cat", path) == before
    ready.operate_as("brunnen")
    assert ready.ok("cat", path) == before


def test_none_survives_a_grant_where_its_entry_is_one_of_two_for_a_key(
    ready: Fleet,
) -> None:
    path = hide_in_sops(ready, well)
    file = metadata.parse(path, ready.read(path))
    key = datakey.data_key(file, identities(ready))
    again = sops_grant.wrapped(key, parse_recipient(ready.public("brunnen")))
    edits = file.blocks[0].append([sops_grant.pair(again)])
    ready.write(path, sops_grant.edited(file, edits))
    ready.ok(*grant(ready), "--allow-revoke")
    assert noise(ready, path) == 0


@pytest.mark.parametrize("hide", [openly, well])
@pytest.mark.parametrize("plant", [hide_in_age, hide_in_sops])
def test_none_survives_new_content(
    ready: Fleet, plant: Callable[[Fleet, Hide], str], hide: Hide
) -> None:
    path = plant(ready, hide)
    ready.ok("set", path, "--allow-revoke", stdin="app: new\n")
    assert noise(ready, path) == 0
    assert "new" in ready.ok("cat", path)
    ready.operate_as("brunnen")
    assert "new" in ready.ok("cat", path)


def test_none_survives_the_change_of_one_value(ready: Fleet) -> None:
    path = hide_in_sops(ready, well)
    ready.ok("set", path, "--key", "app", stdin="new\n")
    assert noise(ready, path) == 0
    ready.operate_as("brunnen")
    assert ready.ok("cat", path, "--key", "app").strip() == "new"


def test_one_stanza_as_rage_writes_it_is_no_finding(ready: Fleet) -> None:
    hide_in_age(ready, well)
    assert found(ready) == set()
