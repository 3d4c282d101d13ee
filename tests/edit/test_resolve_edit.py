"""`resolve --edit`: both versions of a secret as one text in the editor."""

from pathlib import Path

import pytest

from tests.cli.conftest import copied, template
from tests.fleet import Fleet
from tests.merge.branches import (
    AGE,
    DB,
    DB_TEXT,
    LINES,
    Parted,
    edited,
    in_order,
    key,
    larger_fleet,
    parted,
    put,
    resolve,
    several,
)

__all__ = ["template"]


@pytest.fixture(scope="session")
def larger(template: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    """More files: each format of sops, several values in one."""
    return larger_fleet(template, tmp_path_factory.mktemp("larger") / "fleet")


@pytest.fixture
def clash(larger: Fleet, tmp_path: Path) -> Parted:
    """A merge in which both sides changed an age file, and a value of a sops file."""
    base = copied(larger, tmp_path / "fleet")
    found = parted(
        base,
        several(
            put(AGE, LINES.replace("one", "1")),
            key(DB, "db/password", "ours"),
            edited('dns = ["schere", "stein"]', 'dns = ["stein"]'),
        ),
        several(put(AGE, LINES.replace("one", "I")), key(DB, "db/password", "theirs")),
    )
    assert found.stopped
    return found


def editor(fleet: Fleet, script: str) -> None:
    """Let the editor be a shell script that gets the file as `$1`."""
    program = fleet.home / "editor"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    fleet.env["EDITOR"] = str(program)


def seen(fleet: Fleet) -> str:
    return (fleet.home / "seen").read_text()


BOTH = (
    "sed -i -e '/^|||||||/,/^=======/{/^=======/!d}' -e '/^<<<<<<< /d'"
    " -e '/^=======$/d' -e '/^>>>>>>> /d' \"$1\""
)


def test_an_age_file_is_merged_in_the_editor(clash: Parted) -> None:
    fleet = clash.fleet
    editor(fleet, f'cp "$1" {fleet.home}/seen; pwd > /dev/null\n{BOTH}')
    done = resolve(clash, "--edit", AGE, "--theirs", f"{DB}#db/password")
    assert done.returncode == 0, done.stderr
    assert seen(fleet) == (
        "<<<<<<< main\nline 1\n||||||| before\nline one\n"
        "=======\nline I\n>>>>>>> side\n" + LINES.partition("\n")[2]
    )
    assert fleet.ok("cat", AGE) == "line 1\nline I\n" + LINES.partition("\n")[2]
    in_order(fleet)


def test_a_sops_file_is_merged_in_the_editor_for_the_readers_of_the_merge(
    clash: Parted,
) -> None:
    fleet = clash.fleet
    editor(
        fleet,
        f'cp "$1" {fleet.home}/seen\n{BOTH}\n'
        "sed -i -e '/password: theirs/d' -e 's/ours/mine/' \"$1\"",
    )
    done = resolve(clash, "--edit", DB, "--ours", AGE)
    assert done.returncode == 0, done.stderr
    assert "||||||| before\n    password: one\n=======\n" in seen(fleet)
    assert fleet.ok("cat", DB) == DB_TEXT.replace("password: one", "password: mine")
    in_order(fleet)


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ("true", "the conflict markers are still in the text"),
        (': > "$1"', "the text is empty"),
        ("printf 'a: [\\n' > \"$1\"", ""),
        ("exit 3", "the editor"),
    ],
    ids=["as it was", "emptied", "no YAML", "a failing editor"],
)
def test_a_text_that_cannot_be_saved_changes_nothing(
    clash: Parted, script: str, error: str
) -> None:
    fleet = clash.fleet
    editor(fleet, script)
    before, index = fleet.snapshot(), fleet.git("ls-files", "-s")
    done = resolve(clash, "--edit", DB)
    assert done.returncode == 1
    assert error in done.stderr
    assert (fleet.snapshot(), fleet.git("ls-files", "-s")) == (before, index)
    kept = f"your draft is kept, encrypted to you: nixsecrets resolve --edit {DB}\n"
    assert (kept in done.stderr) == ("printf" in script)


def test_a_draft_that_was_kept_goes_on_where_it_was_left(clash: Parted) -> None:
    fleet = clash.fleet
    editor(fleet, "printf 'a: [\\n' > \"$1\"")
    assert resolve(clash, "--edit", DB).returncode == 1
    editor(fleet, f'cp "$1" {fleet.home}/seen; printf "a: b\\n" > "$1"')
    done = resolve(clash, "--edit", DB, "--ours", AGE)
    assert done.returncode == 0, done.stderr
    assert f"{DB}: continuing with your draft\n" in done.stderr
    assert seen(fleet) == "a: [\n"
    assert fleet.ok("cat", DB) == "a: b\n"
    assert "no draft" in fleet.run("edit", "--resume", DB).stderr


def test_what_is_no_text_is_refused_with_the_way_out(
    larger: Fleet, tmp_path: Path
) -> None:
    base = copied(larger, tmp_path / "fleet")

    def binary(data: bytes) -> object:
        def act(fleet: Fleet) -> None:
            (fleet.home / "data").write_bytes(data)
            fleet.ok("set", AGE, "--yes", "--from-file", str(fleet.home / "data"))

        return act

    ours, theirs = binary(b"\0one"), binary(b"\0two")
    assert callable(ours)
    assert callable(theirs)
    found = parted(base, ours, theirs)
    editor(base, "true")
    done = resolve(found, "--edit", AGE)
    assert done.returncode == 1
    assert done.stderr == (
        f"nixsecrets: error: {AGE}: both versions cannot be shown together: they are no"
        f" text\nnixsecrets: hint: nixsecrets resolve --ours {AGE}\n"
        f"nixsecrets: hint: nixsecrets resolve --theirs {AGE}\n"
    )


@pytest.mark.parametrize(
    "name", ["nixsecrets.toml", "nixsecrets.lock", "nothing", "secrets/app.yaml"]
)
def test_only_a_secret_that_is_merged_is_edited(clash: Parted, name: str) -> None:
    editor(clash.fleet, "true")
    done = resolve(clash, "--edit", name)
    assert done.returncode == 1
    assert done.stderr.endswith(
        f"nixsecrets: error: {name} is no secret that both sides changed\n"
        "nixsecrets: hint: nixsecrets resolve lists what is left to you\n"
    )


def test_plaintext_is_only_in_the_memory_folder(clash: Parted) -> None:
    fleet = clash.fleet
    editor(
        fleet,
        f'dirname "$1" > {fleet.home}/where\n'
        f'stat -f -c %T "$1" > {fleet.home}/seen\n{BOTH}',
    )
    done = resolve(clash, "--edit", AGE)
    assert done.returncode == 1  # the other conflict is left
    assert seen(fleet).strip() in {"tmpfs", "ramfs"}
    assert not Path((fleet.home / "where").read_text().strip()).exists()
    for path in fleet.root.rglob("*"):
        if path.is_file():
            assert b"line I" not in path.read_bytes(), path
