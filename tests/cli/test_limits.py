"""What is too large is refused by name, before it is parsed, and is never a bug."""

import resource
from collections.abc import Callable

import pytest

from tests import fleet as kit
from tests.fleet import Fleet, measured

MEGABYTES_60 = 60_000_000


def before(fleet: Fleet, path: str, text: str) -> None:
    fleet.write(path, text.encode() + fleet.read(path))


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (".sops.yaml", "#" + "x" * MEGABYTES_60 + "\n"),
        (".sops.yaml", "# x\n" * (MEGABYTES_60 // 4)),
        ("nixsecrets.toml", "#" + "x" * MEGABYTES_60 + "\n"),
        ("nixsecrets.lock", "\n" * 40_000_000),
        ("secrets/secrets.nix", "# x\n" * (MEGABYTES_60 // 4)),
    ],
)
def test_a_public_file_is_refused_by_name(ready: Fleet, path: str, text: str) -> None:
    before(ready, path, text)
    for command in ("check", "status", "ls", "lint"):
        code, shown, seconds = measured(ready, command)
        assert (code, seconds < 5) == (1, True)
        assert shown.startswith(f"nixsecrets: error: {path} has more than "), shown
        assert "nixsecrets: hint: nixsecrets explain NS062\n" in shown
    key = "--key"
    code, shown, seconds = measured(
        ready, "add-host", "late", key, ready.public("stein")
    )
    assert (code, f"{path} has more than " in shown, seconds < 5) == (1, True, True)


def test_a_configuration_that_nests_deep_is_refused_by_name(ready: Fleet) -> None:
    before(ready, ".sops.yaml", "x: " + "[" * 5000 + "]" * 5000 + "\n")
    for command in ("check", "status", "lint"):
        code, shown, seconds = measured(ready, command)
        assert (code, seconds < 5) == (1, True)
        assert "error: .sops.yaml has more than 500 brackets within brackets" in shown


@pytest.mark.parametrize(
    "text", ["#" + "x" * MEGABYTES_60, "a: " + "[" * 5000 + "]" * 5000]
)
def test_a_configuration_of_others_stops_nothing(ready: Fleet, text: str) -> None:
    ready.write("sub/.sops.yaml", f"{text}\ncreation_rules: []\n")
    ready.git("add", "-A")
    assert measured(ready, "check")[0] == 0
    code, shown, seconds = measured(ready, "lint")
    assert (code, "NS062  sub/.sops.yaml: has more than " in shown) == (1, True), shown
    assert seconds < 5


def many_stanzas(fleet: Fleet, path: str) -> None:
    data = fleet.read(path)
    start, end = data.index(b"-> "), data.index(b"\n---") + 1
    one = data[start : data.index(b"\n-> ", start) + 1]
    fleet.write(path, data[:end] + one * 100_000 + data[end:])


def many_entries(fleet: Fleet, path: str) -> None:
    data = fleet.read(path)
    start, end = data.index(b"        - "), data.index(b"    lastmodified")
    one = data[start : data.index(b"        - ", start + 9)]
    fleet.write(path, data[:end] + one * 100_000 + data[end:])


def deep(fleet: Fleet, path: str) -> None:
    before(fleet, path, "x: " + "[" * 5000 + "]" * 5000 + "\n")


@pytest.mark.parametrize(
    ("path", "spoil"),
    [
        ("secrets/wifi.age", many_stanzas),
        ("secrets/app.yaml", many_entries),
        ("secrets/app.yaml", deep),
    ],
)
def test_a_secret_is_refused_by_name_and_the_rest_goes_on(
    ready: Fleet, path: str, spoil: Callable[[Fleet, str], None]
) -> None:
    spoil(ready, path)
    ready.git("add", "-A")
    for words in [("check",), ("hook", "run")]:
        code, shown, seconds = measured(ready, *words)
        assert (code, seconds < 15) == (1, True)
        line = next(line for line in shown.splitlines() if line.startswith("NS062"))
        assert line.startswith(f"NS062  {path}: ")
        assert "has more than " in line
    for command in ("status", "ls", "lint"):
        assert measured(ready, command)[2] < 10
    kept = ready.read(path)
    words = ("remove-host", "brunnen", "--yes", "--allow-revoke", "--keep-going")
    code, shown, _ = measured(ready, *words)
    if spoil is not deep:  # whom it is for can be read, and sops reads the values
        assert (code, f"skipped {path}" in shown) == (1, True), shown
        assert ready.read(path) == kept


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("nixsecrets.toml", "x = " + "[" * 100_000 + "]" * 100_000 + "\n"),
        ("nixsecrets.toml", "x = " + "{a=" * 50_000 + "1" + "}" * 50_000 + "\n"),
        ("secrets/app.yaml", "".join(" " * n + "a:\n" for n in range(1500))),
        (".sops.yaml", "".join(" " * n + "a:\n" for n in range(1500))),
    ],
)
def test_what_nests_deep_is_an_error_of_its_own(
    ready: Fleet, path: str, text: str
) -> None:
    before(ready, path, text)
    ready.git("add", "-A")
    for words in [("check",), ("hook", "run"), ("lint",)]:
        _, _, seconds = measured(ready, *words)  # which is never a bug
        assert seconds < 20


def test_deep_json_is_an_error_of_its_own(ready: Fleet) -> None:
    sops = '"sops":{"mac":"ENC[AES256_GCM,data:","version":"3.11.0"}'
    ready.write(
        "secrets/x.json", '{"a":' + "[" * 100_000 + "]" * 100_000 + f",{sops}}}"
    )
    before(ready, "nixsecrets.lock", '{"file":' + "[" * 100_000 + "\n")
    ready.git("add", "-A")
    for words in [("check",), ("hook", "run"), ("lint",)]:
        measured(ready, *words)


def test_aliases_of_aliases_take_no_time(ready: Fleet) -> None:
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x]"]
    for n in range(1, 12):
        nine = ",".join([f"*a{n - 1}"] * 9)
        lines.append(f"a{n}: &a{n} [{nine}]")
    bomb = "\n".join(lines) + "\n"
    before(ready, "secrets/app.yaml", bomb)
    before(ready, ".sops.yaml", bomb)
    ready.git("add", "-A")
    for words in [("check",), ("hook", "run"), ("lint",)]:
        measured(ready, *words)  # ends, and is never a bug


def test_sops_does_not_take_all_memory_for_aliases_of_aliases(ready: Fleet) -> None:
    """sops writes YAML anchors out: these would be 10^11 values."""
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    before(ready, "secrets/app.yaml", "\n".join(lines) + "\n")
    done = kit.as_child(ready, "cat", "secrets/app.yaml")
    assert (done.returncode, "sops decrypt failed" in done.stderr) == (1, True)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert children.ru_maxrss < 2 << 20, "kilobytes"


def test_a_map_whose_keys_have_thousands_of_parts_is_refused_at_once(
    ready: Fleet,
) -> None:
    good = ready.read("nixsecrets.toml")
    bad = good + b"[x]\n" + b"a." * 60_000 + b"b = 1\n"
    (ready.root / "nixsecrets.toml").write_bytes(bad)
    _, shown, first = measured(ready, "check")
    assert "nixsecrets.toml has a key of more than 100 parts" in shown
    for number in range(3):
        change = b"# %d ssh-ed25519\n" % number
        (ready.root / "nixsecrets.toml").write_bytes(bad + change)
        ready.commit("hostile")
    (ready.root / "nixsecrets.toml").write_bytes(good)
    code, _, second = measured(ready, "check")
    assert (code, 0 < first + second < 20) == (0, True)
