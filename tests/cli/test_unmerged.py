"""What git could not merge: both sides are named, and no advice drops one of them."""

import os
import subprocess

import pytest

from tests.fleet import PROJECT, Fleet, program

FILE, AGE = "secrets/app.yaml", "secrets/wifi.age"
TWO = "one: base-one\nmiddle: same\ntwo: base-two\n"


def git(fleet: Fleet, *args: str) -> "subprocess.CompletedProcess[str]":
    """Run git, which stops at conflicts."""
    return subprocess.run(
        [program("git"), *args],
        cwd=fleet.root,
        env=fleet.env | {"GIT_EDITOR": "true"},
        check=False,
        capture_output=True,
        text=True,
    )


def put(fleet: Fleet, path: str, value: str) -> None:
    fleet.ok("set", path, "--yes", stdin=value)


@pytest.fixture
def forked(ready: Fleet) -> Fleet:
    """Each side changed another value of a sops file, and the one of an age file."""
    lines = "nixsecrets.lock merge=union\n*.age -text -merge\n"
    ready.write(".gitattributes", lines)
    put(ready, FILE, TWO)
    ready.commit("base")
    ready.git("checkout", "-q", "-b", "side")
    put(ready, FILE, TWO.replace("base-two", "their-two"))
    put(ready, AGE, "theirs")
    ready.commit("theirs")
    ready.git("checkout", "-q", "main")
    put(ready, FILE, TWO.replace("base-one", "our-one"))
    put(ready, AGE, "ours")
    return ready


def merge(fleet: Fleet) -> tuple[str, str]:
    fleet.commit("ours")
    git(fleet, "merge", "side")
    return "main (ours)", "side (theirs)"


def rebase(fleet: Fleet) -> tuple[str, str]:
    fleet.commit("ours")
    git(fleet, "rebase", "side")
    return "side (ours)", "main (theirs)"


def cherry_pick(fleet: Fleet) -> tuple[str, str]:
    fleet.commit("ours")
    git(fleet, "cherry-pick", "side")
    return "main (ours)", "side (theirs)"


def stash(fleet: Fleet) -> tuple[str, str]:
    fleet.git("stash", "-q")
    fleet.git("merge", "-q", "--ff-only", "side")
    git(fleet, "stash", "pop")
    return "main (ours)", "what was applied (a stash or a patch) (theirs)"


WAYS = [merge, rebase, cherry_pick, stash]


@pytest.mark.parametrize("way", WAYS)
def test_check_names_both_sides_and_what_it_advises_keeps_both_values(
    forked: Fleet, way: object
) -> None:
    assert callable(way)
    ours, theirs = way(forked)
    done = forked.run("check")
    message = f"git could not merge it: {ours} and {theirs} both changed it"
    assert f"NS018  {FILE}: {message}\n    nixsecrets resolve\n" in done.stdout
    assert f"NS018  {AGE}: {message}\n" in done.stdout
    assert "NS002" not in done.stdout
    for command in (("check",), ("status",), ("rekey", "--yes"), ("cat", AGE)):
        done = forked.run(*command)
        assert "checkout" not in done.stdout + done.stderr
        assert "restore" not in done.stdout + done.stderr
    sides = {forked.ok("cat", "--side", side, AGE) for side in ("ours", "theirs")}
    assert sides == {"ours", "theirs"}
    forked.env["EDITOR"] = both_kept(forked)
    follow(forked, [f"nixsecrets edit {path} --git-add" for path in (FILE, AGE)])
    assert forked.ok("cat", AGE) in {"ours\ntheirs\n", "theirs\nours\n"}
    value = forked.ok("cat", FILE)
    assert value == TWO.replace("base-two", "their-two").replace("base-one", "our-one")
    assert forked.git("ls-files", "-u") == ""
    assert forked.run("check").returncode == 0


def test_a_merge_that_was_committed_as_advised_is_in_order_in_every_clone(
    forked: Fleet,
) -> None:
    merge(forked)
    forked.env["EDITOR"] = both_kept(forked)
    follow(forked, [f"nixsecrets edit {path} --git-add" for path in (FILE, AGE)])
    forked.git("commit", "-qm", "merged")
    assert forked.git("status", "--porcelain") == ""
    done = forked.run("check")
    assert done.returncode == 0, done.stdout


def test_without_git_add_the_line_to_stage_a_merged_file_names_the_lock(
    forked: Fleet,
) -> None:
    merge(forked)
    forked.env["EDITOR"] = both_kept(forked)
    done = forked.run("edit", AGE)
    assert done.stderr.splitlines()[-1] == f"git add -- nixsecrets.lock {AGE}"


def both_kept(fleet: Fleet) -> str:
    """Return an editor that drops the marks and the base, and keeps both sides."""
    editor = fleet.home / "both"
    editor.write_text(
        "#!/bin/sh\n"
        "sed -i -e '/^|||||||/,/^=======/{/^=======/!d}' -e '/^<<<<<<< /d'"
        " -e '/^=======$/d' -e '/^>>>>>>> /d' \"$1\"\n"
    )
    editor.chmod(0o755)
    return str(editor)


def follow(fleet: Fleet, fixes: list[str]) -> None:
    """Run what was advised in a shell, as a person pastes it."""
    bin_folder = fleet.home / "bin"
    bin_folder.mkdir(exist_ok=True)
    script = bin_folder / "nixsecrets"
    python = PROJECT / ".venv/bin/python"
    script.write_text(f'#!/bin/sh\nexec {python} -m nixsecrets "$@"\n')
    script.chmod(0o755)
    path = os.pathsep.join([str(bin_folder), fleet.env["PATH"]])
    env = fleet.env | {"PATH": path, "PYTHONPATH": str(PROJECT)}
    for fix in fixes:
        done = subprocess.run(
            ["sh", "-c", fix],
            cwd=fleet.root,
            env=env,
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr


def test_marks_that_were_staged_are_a_finding_of_the_hook_and_its_advice_works(
    forked: Fleet,
) -> None:
    merge(forked)
    forked.git("add", "-A")
    for command in (("check",), ("hook", "run")):
        done = forked.run(*command)
        assert done.returncode == 1
        lines = done.stdout.splitlines()
        at = next(n for n, x in enumerate(lines) if x.startswith(f"NS018  {FILE}:"))
        assert "holds git's conflict markers" in lines[at]
        fix = lines[at + 1].strip()
        assert "checkout" not in done.stdout
    assert fix == "nixsecrets resolve"
    follow(forked, [f"{fix} --yes --theirs {AGE}"])
    value = forked.ok("cat", FILE)
    assert value == TWO.replace("base-two", "their-two").replace("base-one", "our-one")
    assert forked.run("hook", "run").returncode == 0


def test_a_secret_cut_short_in_a_merge_is_not_taken_from_the_last_commit(
    forked: Fleet,
) -> None:
    forked.commit("ours")
    git(forked, "merge", "--no-commit", "-s", "ours", "side")
    forked.write(AGE, forked.read(AGE)[:-30])
    forked.write("secrets/dns.yaml", forked.read("secrets/dns.yaml")[:-300])
    forked.git("add", "-A")
    for command in (("hook", "run"), ("check",)):
        done = forked.run(*command)
        assert "NS002" in done.stdout
        assert "checkout" not in done.stdout
    git(forked, "commit", "-q", "-m", "done", "--no-verify")
    done = forked.run("check")  # the last commit has no whole one to go back to
    assert "NS002" in done.stdout
    assert "checkout" not in done.stdout


def test_one_value_cannot_be_set_while_the_rest_is_not_merged(forked: Fleet) -> None:
    merge(forked)
    before = forked.snapshot()
    for command in (("set",), ("generate", "--yes")):
        done = forked.run(*command, FILE, "--key", "one", stdin="x")
        assert done.returncode == 1
        assert f"{FILE}: git could not merge it" in done.stderr
    assert forked.snapshot() == before


def test_a_whole_value_can_be_set_and_marks_are_not_saved(forked: Fleet) -> None:
    merge(forked)
    done = forked.run("set", AGE, "--yes", stdin="both")
    assert done.returncode == 0
    assert "is not merged yet; its readers will be: alice, brunnen\n" in done.stderr
    assert forked.age_decrypt(AGE, "brunnen") == b"both"
    forked.git("add", AGE)
    forked.env["EDITOR"] = "true"
    forked.run("set", FILE, "--yes", stdin="one: new\n")
    forked.git("add", FILE)
    assert forked.run("check").returncode == 0


def test_a_text_with_marks_is_not_saved(forked: Fleet) -> None:
    merge(forked)
    forked.env["EDITOR"] = "true"
    before = forked.read(AGE)
    done = forked.run("edit", AGE)
    assert done.returncode == 1
    assert "the conflict markers are still in the text" in done.stderr
    assert forked.read(AGE) == before


def test_a_file_that_one_side_deleted_is_named_so(forked: Fleet) -> None:
    forked.git("rm", "-q", "-f", AGE)
    forked.commit("gone")
    git(forked, "merge", "side")
    done = forked.run("check")
    assert (
        f"NS018  {AGE}: git could not merge it: side (theirs) changed it,"
        " main (ours) has it no more\n"
    ) in done.stdout


@pytest.mark.parametrize("path", ["secrets/secrets.nix", "nixsecrets.lock"])
def test_a_generated_file_with_marks_is_written_by_sync(
    ready: Fleet, path: str
) -> None:
    text = ready.read(path).decode()
    head, _, rest = text.partition("\n")
    ready.write(path, f"{head}\n<<<<<<< HEAD\n{rest}=======\n{rest}>>>>>>> side\n")
    done = ready.run("check")
    fix = f"nixsecrets sync --git-add && git add {path}"
    assert f"NS018  {path}:2: holds git's conflict markers\n    {fix}\n" in done.stdout
    follow(ready, [fix])
    assert ready.read(path).decode() == text
    assert ready.run("check").returncode == 0


def test_marks_in_the_configuration_are_a_finding_and_stop_no_command(
    ready: Fleet,
) -> None:
    text = ready.read(".sops.yaml").decode()
    mark = "<<<<<<< HEAD\n# a\n=======\n# b\n>>>>>>> side\n"
    ready.write(".sops.yaml", text + mark)
    done = ready.run("check")
    assert done.returncode == 1
    assert "error" not in done.stderr
    line = text.count("\n") + 1
    assert done.stdout == f"NS018  .sops.yaml:{line}: holds git's conflict markers\n"
    assert ready.run("rekey", "--yes").returncode == 0
    assert ready.read(".sops.yaml").decode() == text + mark


def test_marks_in_the_map_are_named(ready: Fleet) -> None:
    text = ready.read("nixsecrets.toml").decode()
    mark = "<<<<<<< HEAD\n# a\n=======\n# b\n>>>>>>> side\n"
    ready.write("nixsecrets.toml", text + mark)
    line = text.count("\n") + 1
    for command in ("check", "rekey"):
        assert ready.run(command).stderr == (
            f"nixsecrets: error: nixsecrets.toml:{line}: git's conflict markers are in"
            " it (NS018)\nnixsecrets: hint: nixsecrets resolve\nnixsecrets: hint:"
            " if that merge is committed already: nixsecrets resolve --last\n"
        )


def test_what_is_explained_of_damage_comes_after_the_merge(ready: Fleet) -> None:
    text = " ".join(ready.ok("explain", "NS002").split())
    assert text.index("NS018") < text.index("git checkout HEAD")


def test_a_side_of_what_is_merged_is_an_error(ready: Fleet) -> None:
    done = ready.run("cat", "--side", "ours", AGE)
    assert done.returncode == 1
    assert f"{AGE}: git has no conflict in it\n" in done.stderr
    assert ready.run("cat", "--side", "ours", AGE, "--key", "a").returncode == 2
