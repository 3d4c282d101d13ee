"""A key that was taken out of use does not come back without a word."""

import re
from collections.abc import Callable

import pytest

from tests import fleet as kit
from tests.cli.conftest import changed
from tests.cli.test_terminal import ended, spawn
from tests.fleet import Fleet

SINCE = re.compile(r"(?<=retired since )\d{4}-\d\d-\d\d")
REASON = ("--reason", "laptop stolen")


def back_as_the_same_user(fleet: Fleet) -> tuple[str, ...]:
    fleet.ok("remove-user", "bob", "--yes", *REASON)
    return ("add-user", "bob", "--key", fleet.public("bob"), "--group", "dns")


def back_as_another_user(fleet: Fleet) -> tuple[str, ...]:
    fleet.ok("remove-user", "bob", "--yes", *REASON)
    return ("add-user", "carol", "--key", fleet.public("bob"), "--group", "dns")


def back_by_rotation(fleet: Fleet) -> tuple[str, ...]:
    new = kit.age_key().public
    fleet.ok("rotate-user", "bob", "--key", new, "--yes", *REASON)
    return ("rotate-user", "bob", "--key", fleet.public("bob"))


def back_as_a_host(fleet: Fleet) -> tuple[str, ...]:
    fleet.ok("remove-host", "stein", "--yes", *REASON)
    return ("add-host", "fels", "--key", fleet.public("stein"), "--group", "server")


def back_in_its_other_form(fleet: Fleet) -> tuple[str, ...]:
    fleet.ok("remove-host", "stein", "--yes", *REASON)
    private = (fleet.keys / "stein").read_bytes()
    converted = kit.age_public(kit.age_secret(private))
    return ("add-user", "carol", "--key", converted, "--group", "dns")


def back_by_rotation_of_a_host(fleet: Fleet) -> tuple[str, ...]:
    new = kit.ssh_key("a new stein").public
    fleet.ok("rotate-host", "stein", "--key", new, "--yes", *REASON)
    return ("rotate-host", "stein", "--key", fleet.public("stein"))


WAYS = [
    back_as_the_same_user,
    back_as_another_user,
    back_by_rotation,
    back_as_a_host,
    back_in_its_other_form,
    back_by_rotation_of_a_host,
]


@pytest.fixture
def staffed(ready: Fleet) -> Fleet:
    """With bob, who reads some of it."""
    ready.add_user("bob")
    ready.ok("add-user", "bob", "--key", ready.public("bob"), "--group", "dns", "--yes")
    return ready


@pytest.mark.parametrize("way", WAYS)
def test_a_retired_key_that_comes_back_needs_its_own_yes(
    staffed: Fleet, way: Callable[[Fleet], tuple[str, ...]]
) -> None:
    arguments = way(staffed)
    before = staffed.snapshot()
    for flags in (("--yes",), ("--yes", "--no-rekey")):
        done = staffed.run(*arguments, *flags)
        assert done.returncode == 1
        assert "retired since DAY (laptop stolen): " in SINCE.sub("DAY", done.stderr)
        assert "nixsecrets: hint: agree with --allow-retired\n" in done.stderr
        assert changed(staffed, before) == set()
    dry = staffed.run(*arguments, "--dry-run")
    assert (dry.returncode, "retired since" in dry.stderr) == (0, True)
    staffed.ok(*arguments, "--yes", "--allow-retired")
    assert changed(staffed, before) >= {"nixsecrets.toml", "secrets/dns.age"} or (
        "fels" in arguments
    )
    staffed.ok("check")
    assert "NS024  nixsecrets.toml" in staffed.run("lint").stdout


def test_a_person_sees_whose_key_it_was_and_is_asked(staffed: Fleet) -> None:
    arguments = back_as_another_user(staffed)
    before = staffed.snapshot()
    child = spawn(staffed, *arguments)
    child.expect_exact("; retired since ")  # beside the fingerprint of who gains
    child.expect_exact("carol would get a key of bob that is retired since ")
    child.expect_exact("(laptop stolen): X25519 age1")
    child.expect_exact("use it again? [y/N] ")
    child.sendline("n")
    assert ended(child)[1] == 1
    assert changed(staffed, before) == set()
    child = spawn(staffed, *arguments)
    child.expect_exact("use it again? [y/N] ")
    child.sendline("y")
    child.expect_exact("go on? [y/N] ")
    child.sendline("y")
    assert ended(child)[1] == 0
    assert staffed.age_opens("secrets/dns.age", "bob")


def test_a_key_that_is_in_use_all_the_same_is_not_asked_about(staffed: Fleet) -> None:
    back_as_another_user(staffed)
    path = staffed.root / "nixsecrets.toml"
    owner = f'\n[users.bob]\nkeys = ["{staffed.public("bob")}"]\n'
    path.write_text(path.read_text() + owner)
    new = kit.age_key().public
    keys = ("--key", staffed.public("bob"), "--key", new)
    done = staffed.run("rotate-user", "bob", *keys, "--yes")
    assert (done.returncode, "retired" in done.stderr) == (0, False), done.stderr


def test_rekey_says_who_gains_by_a_retired_key(staffed: Fleet) -> None:
    back_as_another_user(staffed)
    path = staffed.root / "nixsecrets.toml"
    owner = f'\n[users.bob]\nkeys = ["{staffed.public("bob")}"]\ngroups = ["dns"]\n'
    path.write_text(path.read_text() + owner)
    done = staffed.run("rekey", "--yes")
    assert "; retired since DAY (laptop stolen)) will be" in SINCE.sub(
        "DAY", done.stderr
    )
