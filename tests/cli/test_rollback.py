"""A secret that was put back to an older version is noticed without any key."""

import pytest

from tests.cli.conftest import write_secret
from tests.fleet import Fleet


def changed_twice(fleet: Fleet, path: str) -> list[bytes]:
    """Commit two more versions of a secret; return all three, the oldest first."""
    versions = [fleet.read(path)]
    for number in (2, 3):
        text = f"number {number}" if path.endswith("age") else f"dns: {number}\n"
        write_secret(fleet, path, text)
        fleet.commit(f"version {number}")
        versions.append(fleet.read(path))
    return versions


def found(fleet: Fleet) -> list[str]:
    done = fleet.run("check")
    assert done.returncode == 0, done.stdout  # a warning
    return [line for line in done.stdout.splitlines() if "NS028" in line]


@pytest.mark.parametrize("committed", [True, False])
@pytest.mark.parametrize("path", ["secrets/dns.yaml", "secrets/wifi.age"])
def test_an_older_version_is_named_with_the_commit_that_replaced_it(
    ready: Fleet, path: str, committed: bool
) -> None:
    oldest, *_ = changed_twice(ready, path)
    assert found(ready) == []
    replaced = ready.git("rev-parse", "--short=10", "HEAD~").strip()
    ready.git("checkout", "-q", "HEAD~2", "--", path, "nixsecrets.lock")
    assert ready.read(path) == oldest
    if committed:
        ready.commit("nothing to see")
    (line,) = found(ready)
    assert path in line
    assert f"is byte for byte the version that {replaced} of 2" in line
    assert "NS028" in ready.run("status").stdout
    assert ready.run("check", "--strict").returncode == 1
    write_secret(ready, path, "dns: 4\n")
    ready.commit("a new value")
    assert found(ready) == []


@pytest.mark.parametrize("how", ["deleted between", "by a merge", "with line ends"])
def test_it_is_found_however_it_came(ready: Fleet, how: str) -> None:
    path = "secrets/dns.yaml"
    oldest, *_ = changed_twice(ready, path)
    if how == "deleted between":
        (ready.root / path).unlink()
        ready.commit("deleted")
        ready.write(path, oldest)
    elif how == "by a merge":
        ready.git("checkout", "-q", "-b", "side")
        ready.write(path, oldest)
        ready.commit("on the side")
        ready.git("checkout", "-q", "main")
        ready.commit("on main")
        ready.git("merge", "-q", "--no-edit", "side")
    else:
        ready.write(path, oldest.replace(b"\n", b"\r\n"))
    assert found(ready)


def test_a_date_that_goes_backwards_is_noticed(ready: Fleet) -> None:
    import re
    import time

    path = "secrets/dns.yaml"
    time.sleep(1.1)
    oldest, *_ = changed_twice(ready, path)
    ready.write(path, oldest + b"\n")  # looks like another file
    ready.commit("older")
    then = re.search(rb'lastmodified: "(.*)"', oldest)
    assert then is not None
    (line,) = found(ready)
    assert f"is dated {then[1].decode()}, but" in line


def test_what_moves_away_and_back_is_no_rollback(ready: Fleet) -> None:
    for source, target in (("wifi", "wlan"), ("wlan", "wifi")):
        ready.ok("mv", f"secrets/{source}.age", f"secrets/{target}.age", "--yes")
        ready.commit("moved")
    assert found(ready) == []
