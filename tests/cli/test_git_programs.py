"""No program that a repository's git configuration names is run by a reading command.

`KEYS` lists every key of git's that names a program, each with the plain git command
that runs it: the positive control.  It was made from `git help --config` and the text
of git-config(1) (2.39, and the release notes up to 2.54): every key that holds a
command line, the path of an executable, a helper, a folder of hooks, or a URL that may
be `ext::COMMAND`.  `test_every_key_of_git_that_may_name_a_program_is_judged` compares
it with the git that is installed, so that a key of a newer git must be judged first.
"""

import ast
import os
import pty
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from nixsecrets.repo import gitrun
from nixsecrets.repo.git import Git
from tests.cli.conftest import copied
from tests.fleet import PROJECT, Fleet, git_repo, program

HOOKS = (
    *("applypatch-msg", "commit-msg", "fsmonitor-watchman", "post-applypatch"),
    *("post-checkout", "post-commit", "post-index-change", "post-merge"),
    *("post-rewrite", "pre-applypatch", "pre-auto-gc", "pre-commit", "pre-push"),
    *("pre-merge-commit", "pre-rebase", "prepare-commit-msg", "push-to-checkout"),
    *("reference-transaction", "sendemail-validate"),
)
READING = (
    ("ls",),
    ("ls", "--json"),
    ("ls", "--host", "brunnen"),
    ("why", "secrets/wifi.age"),
    ("why", "secrets/app.yaml"),
    ("check",),
    ("check", "--format", "sarif"),
    ("status",),
    ("status", "--json"),
    ("lint",),
    ("hosts",),
    ("known-hosts",),
    ("exposed",),
    ("rekey", "--dry-run"),
    ("textconv", "secrets/wifi.age"),
    ("cat", "secrets/app.yaml"),
    ("hook", "run"),
    ("hook", "run", "--all"),
    ("hook", "run", "--from", "HEAD~1"),
    ("hook", "run", "secrets/wifi.age"),
    ("hook", "status"),
)


@dataclass(frozen=True)
class Key:
    """A key that names a program, and the plain git command that runs it.

    `more` is configuration that the control needs besides.  A `control` of None is one
    that no repository can trigger by itself here; `why` says so.
    """

    name: str
    control: tuple[str, ...] | None = None
    more: tuple[tuple[str, str], ...] = ()
    value: str = "{program}"
    why: str = ""
    attribute: str = "filter=evil diff=evil merge=evil"
    terminal: bool = False


_SSH = (("protocol.ssh.allow", "always"),)
KEYS = (
    Key("alias.hostile", ("hostile",), value="!{program}"),
    Key(
        "browser.evil.cmd",
        ("web--browse", "--tool=evil", "http://localhost"),
    ),
    Key("browser.evil.path", why="run by the same git-web--browse, for known tools"),
    Key("core.alternateRefsCommand", ("rev-list", "--alternate-refs")),
    Key("core.askPass", ("credential", "fill")),
    Key("core.editor", ("commit", "--amend")),
    Key("core.fsmonitor", ("status",)),
    Key("core.gitProxy", ("ls-remote", "git://localhost/x")),
    Key("core.hooksPath", ("commit", "--allow-empty", "-m", "x"), value="{hooks}"),
    Key("core.pager", ("--paginate", "log"), terminal=True),
    Key("core.sshCommand", ("ls-remote", "ssh://localhost/x")),
    Key("credential.helper", ("credential", "fill")),
    Key("credential.http://localhost.helper", ("credential", "fill")),
    Key("diff.evil.command", ("diff", "HEAD")),
    Key("diff.evil.textconv", ("diff", "HEAD")),
    Key("diff.external", ("diff", "HEAD")),
    Key("difftool.evil.cmd", ("difftool", "-y", "--tool=evil", "HEAD")),
    Key("difftool.vimdiff.path", ("difftool", "-y", "--tool=vimdiff", "HEAD")),
    Key("filter.evil.clean", ("diff", "HEAD")),
    Key("filter.evil.process", ("diff", "HEAD")),
    Key("filter.evil.smudge", ("checkout", "--", ".")),
    Key("filter.a=b.clean", ("diff", "HEAD"), attribute="filter=a=b"),
    Key("gc.recentObjectsHook", why="git 2.42; read by gc and repack alone"),
    Key("gpg.program", ("log",), (("log.showSignature", "true"),)),
    Key("gpg.ssh.program", why="as gpg.program, for another kind of signature"),
    Key("gpg.x509.program", why="as gpg.program, for another kind of signature"),
    Key(
        "gpg.ssh.defaultKeyCommand",
        ("commit", "-S", "--allow-empty", "-m", "x"),
        (("gpg.format", "ssh"),),
    ),
    Key("guitool.evil.cmd", why="git gui"),
    Key("help.browser", why="git help --web: the name of a browser.<tool>"),
    Key("hook.evil.command", why="git 2.54; hooks by configuration"),
    Key("imap.tunnel", why="git imap-send"),
    Key("instaweb.browser", why="git instaweb"),
    Key("instaweb.httpd", why="git instaweb"),
    Key(
        "interactive.diffFilter",
        ("add", "-p"),
        (("add.interactive.useBuiltin", "true"), ("color.ui", "always")),
        terminal=True,
    ),
    Key("man.evil.cmd", ("help", "log"), (("man.viewer", "evil"),)),
    Key("man.man.path", ("help", "log"), (("man.viewer", "man"),)),
    Key("merge.evil.driver", ("merge", "side", "-m", "x")),
    Key("mergetool.evil.cmd", why="git mergetool, for an unmerged file"),
    Key("mergetool.evil.path", why="git mergetool, for an unmerged file"),
    Key("pager.log", ("log",), terminal=True),
    Key("receive.procReceiveRefs", why="names refs; the program is a hook"),
    Key("remote.evil.receivepack", ("push", "evil", "main")),
    Key("remote.evil.uploadpack", ("ls-remote", "evil")),
    Key("remote.evil.vcs", why="a name: git-remote-NAME has to be on PATH"),
    Key("sendemail.ccCmd", why="git send-email"),
    Key("sendemail.headerCmd", why="git send-email"),
    Key("sendemail.sendmailCmd", why="git send-email"),
    Key("sendemail.smtpServer", why="git send-email"),
    Key("sendemail.toCmd", why="git send-email"),
    Key("sequence.editor", ("rebase", "-i", "--autostash", "HEAD~1")),
    Key("submodule.evil.update", why="git submodule update, for a submodule"),
    Key("tar.evil.command", ("archive", "--format=evil", "HEAD")),
    Key(
        "trailer.evil.cmd",
        ("interpret-trailers", "--trailer", "evil: x"),
        (("trailer.evil.key", "evil"),),
    ),
    Key(
        "trailer.evil.command",
        ("interpret-trailers", "--trailer", "evil: x"),
        (("trailer.evil.key", "evil"),),
    ),
    Key("uploadpack.packObjectsHook", why="git takes it from a person's files alone"),
    Key(
        "url.ext::{program} .insteadOf",
        ("-c", "protocol.ext.allow=always", "ls-remote", "short:x"),
        value="short:",
    ),
    Key("web.browser", ("web--browse", "http://localhost"), value="evil"),
)
# Keys of `git help --config` that the pattern below finds and that name no program.
DATA = re.compile(
    r"""advice\.|clean\.|color\.|column\.|commitGraph\.|completion\.|fetch\.|fsck\.
    |pack\.|repack\.|rebase\.|rerere\.|transfer\.|uploadpackfilter\.|notes\.
    |receive\.(fsck|shallow|unpack|update)|status\.|submodule\.(?!<name>\.update)
    |clone\.filter|commit\.cleanup|core\.(fsmonitorHookVersion|logAll|multiPack|packed)
    |core\.quotePath|credential\.use|diff\.<driver>\.(binary|cache|word|xfunc)
    |diff\.(gui)?tool|difftool\.(prompt|trust|guiDefault)|fastimport\.|fsmonitor\.
    |gc\.(auto|big|cruft|packRefs|repackFilter)|gitcvs\.|guitool\.<name>\.(?!cmd)
    |help\.html|http\.|include|instaweb\.modulePath|maintenance\.|merge\.<driver>\.[nr]
    |merge\.(gui)?tool|mergetool\.(<tool>\.(hide|trust)|hide|keep|prompt|write|meld)
    |mergetool\.vimdiff\.layout|remote\.<name>\.(partial|proxy|skip)|remote\.pushDef
    |sendemail\.(alias|smtpssl)|uploadpack\.(allow|hide|keep)|core\.(attr|exclud)
    |push\.|pull\.|trace2\.|versionsort\.|http|bundle\.|promisor\.|remotes\.
    |index\.|commit\.template|init\.templateDir|core\.(worktree|untracked|ignoreStat)
    |attr\.|log\.|format\.|gitweb\.|safe\.|user\.|url\.<base>\.pushInsteadOf
    |mailmap\.|apply\.|blame\.|diff\.(?!<driver>|external)|core\.hideDotFiles|man\.viewer
    """,
    re.VERBOSE,
)
SUSPICIOUS = re.compile(
    r"""cmd|command|program|helper|hook|executable|filter|driver|pager|editor|textconv
    |external|proxy|askpass|browser|tool|pack\b|alias\.|update|vcs|clean|smudge|process
    |fsmonitor|tunnel|insteadof|httpd|smtpserver\b|viewer|shell
    """,
    re.VERBOSE | re.IGNORECASE,
)


def _general(name: str) -> str:
    """Return a key of `KEYS` as `git help --config` spells it, less what differs."""
    section, _, rest = name.partition(".")
    variable = rest.rpartition(".")[2]
    return f"{section}.{variable}".lower()


def test_every_key_of_git_that_may_name_a_program_is_judged() -> None:
    listed = subprocess.run(
        [program("git"), "help", "--config"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    judged = {_general(key.name) for key in KEYS}
    judged |= {"alias.*", "pager.<cmd>"}
    left = [
        key
        for key in listed
        if SUSPICIOUS.search(key)
        and not DATA.match(key)
        and _general(key.removesuffix("*")) not in judged
        and key not in judged
    ]
    assert left == []


def _ran(folder: Path) -> list[str]:
    """Return the names of the programs that were run."""
    return sorted(place.name for place in folder.iterdir())


# --- the repository -----------------------------------------------------------------


def _script(fleet: Fleet, key: str) -> Path:
    """Make the program of one key: it leaves a file, and passes its input on."""
    base = fleet.root.parent
    (base / "run").mkdir(exist_ok=True)
    (base / "programs").mkdir(exist_ok=True)
    name = re.sub(r"[^A-Za-z0-9]", "-", key)
    place = base / "programs" / name
    place.write_text(f"#!/bin/sh\n: > {base}/run/{name}\n")
    place.chmod(0o755)
    return place


def _hooks(fleet: Fleet, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for hook in HOOKS:
        shutil.copy(_script(fleet, f"hook {hook}"), folder / hook)


def _configure(fleet: Fleet, key: Key) -> None:
    place, base = _script(fleet, key.name), fleet.root.parent
    name, value = (
        text.replace("{program}", str(place)).replace("{hooks}", f"{base}/hooks")
        for text in (key.name, key.value)
    )
    fleet.git("config", name, value)


def _prepared(template: Fleet, target: Path) -> Fleet:
    """Copy the fleet: attributes for everything, a signed commit, a stale index."""
    fleet = copied(template, target)
    base = fleet.root.parent
    _hooks(fleet, base / "hooks")
    (fleet.root / "README.md").write_text("a text\n")
    fleet.git("add", "-A")
    fleet.git("commit", "-qm", "a text")
    fleet.git("branch", "side", "HEAD~1")
    fleet.git("checkout", "-q", "side")
    (fleet.root / "README.md").write_text("another text\n")
    fleet.git("add", "-A")
    fleet.git("commit", "-qm", "the side")
    fleet.git("checkout", "-q", "main")
    raw = fleet.git("cat-file", "commit", "HEAD")
    head, _, rest = raw.partition("\n\n")
    signature = (
        "gpgsig -----BEGIN PGP SIGNATURE-----\n \n AAAA\n -----END PGP SIGNATURE-----"
    )
    (base / "commit").write_text(f"{head}\n{signature}\n\n{rest}")
    signed = fleet.git("hash-object", "-t", "commit", "-w", str(base / "commit"))
    fleet.git("reset", "-q", "--soft", signed.strip())
    other = git_repo(base / "other", fleet.env)
    subprocess.run(
        [program("git"), "fetch", "-q", str(fleet.root), "main:refs/heads/other"],
        cwd=other,
        env=fleet.env,
        check=True,
    )
    alternates = fleet.root / ".git/objects/info/alternates"
    alternates.write_text(f"{other}/.git/objects\n")
    for remote in ("evil", "other"):
        fleet.git("config", f"remote.{remote}.url", str(other))
    attributes = "* filter=evil diff=evil merge=evil\n"
    (fleet.root / ".git/info/attributes").write_text(attributes)
    for place in fleet.root.rglob("*"):
        if place.is_file() and ".git" not in place.relative_to(fleet.root).parts:
            os.utime(place, (1, 1))  # git has to read it again
    (fleet.root / "README.md").write_text("a changed text\n")
    return fleet


def _embed(fleet: Fleet) -> None:
    """Add a repository in a folder, also as a submodule, and a bare one."""
    for name in ("embedded", "linked"):
        inner = git_repo(fleet.root / name, fleet.env)
        (inner / "file.age").write_text("a file\n")
        for arguments in (("add", "."), ("commit", "-qm", "inner")):
            subprocess.run(
                [program("git"), *arguments], cwd=inner, env=fleet.env, check=True
            )
        _hooks(fleet, inner / ".git/hooks")
        (inner / ".git/info/attributes").write_text("* filter=evil\n")
        for key in ("core.fsmonitor", "filter.evil.clean"):
            place = _script(fleet, f"{name} {key}")
            subprocess.run(
                [program("git"), "config", key, str(place)], cwd=inner, check=True
            )
        os.utime(inner / "file.age", (1, 1))
    oid = subprocess.run(
        [program("git"), "rev-parse", "HEAD"],
        cwd=fleet.root / "linked",
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    cacheinfo = f"160000,{oid},linked"
    fleet.git("update-index", "--add", "--cacheinfo", cacheinfo)


@pytest.fixture(scope="module")
def hostile(template: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    """A repository whose configuration names a program wherever it can."""
    fleet = _prepared(template, tmp_path_factory.mktemp("hostile") / "fleet")
    _embed(fleet)
    for key in KEYS:
        _configure(fleet, key)
        for name, value in key.more:
            fleet.git("config", name, value)
    _hooks(fleet, fleet.root / ".git/hooks")
    shutil.rmtree(fleet.root.parent / "run")
    (fleet.root.parent / "run").mkdir()
    return fleet


@pytest.mark.parametrize("arguments", READING, ids=" ".join)
def test_a_reading_command_runs_no_program_of_the_repository(
    hostile: Fleet, arguments: tuple[str, ...]
) -> None:
    done = hostile.run(*arguments)
    assert done.returncode in {0, 1}, done.stderr
    assert _ran(hostile.root.parent / "run") == []


@pytest.mark.parametrize(
    "key", [key for key in KEYS if key.control], ids=lambda key: key.name
)
def test_plain_git_runs_the_program_of_each_key(
    template: Fleet, tmp_path: Path, key: Key
) -> None:
    fleet = _prepared(template, tmp_path / "fleet")
    if key.name == "core.askPass":
        fleet.git("config", "credential.helper", "")
    if key.name == "web.browser":
        fleet.git("config", "browser.evil.cmd", str(_script(fleet, key.name)))
    _configure(fleet, key)
    for name, value in key.more:
        fleet.git("config", name, value)
    base = fleet.root.parent
    assert key.control is not None
    attributes = f"* {key.attribute}\n"
    (fleet.root / ".git/info/attributes").write_text(attributes)
    command = [program("git"), *key.control]
    if key.terminal:
        _on_a_terminal(command, fleet)
    else:
        subprocess.run(
            command,
            cwd=fleet.root,
            env={**fleet.env, "GIT_TERMINAL_PROMPT": "0"},
            input=b"protocol=http\nhost=localhost\n\n",
            capture_output=True,
            timeout=60,
            check=False,
        )
    assert _ran(base / "run") != []


def _on_a_terminal(command: list[str], fleet: Fleet) -> None:
    master, slave = pty.openpty()
    child = subprocess.Popen(
        command,
        cwd=fleet.root,
        env={**fleet.env, "TERM": "xterm"},
        stdin=subprocess.DEVNULL,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    os.close(slave)
    with pytest.raises(OSError, match="Input/output"):
        while os.read(master, 4096):
            pass
    os.close(master)
    child.wait(60)


def test_plain_git_runs_the_filters_of_an_embedded_repository(
    template: Fleet, tmp_path: Path
) -> None:
    fleet = _prepared(template, tmp_path / "fleet")
    _embed(fleet)
    fleet.git("status")
    assert any("linked" in name for name in _ran(fleet.root.parent / "run"))


# --- other ways ---------------------------------------------------------------------


def test_an_object_that_is_missing_is_not_fetched_from_a_promised_remote(
    template: Fleet, tmp_path: Path
) -> None:
    fleet = _prepared(template, tmp_path / "fleet")
    other = fleet.root.parent / "other"
    place = _script(fleet, "upload")
    for name, value in (
        ("core.repositoryFormatVersion", "1"),
        ("extensions.partialClone", "evil"),
        ("remote.evil.promisor", "true"),
        ("remote.evil.url", str(other)),
        ("remote.evil.uploadpack", str(place)),
    ):
        fleet.git("config", name, value)
    (fleet.root / ".git/objects/info/alternates").unlink()
    oid = fleet.git("rev-parse", "HEAD:secrets/wifi.age").strip()
    (fleet.root / ".git/objects" / oid[:2] / oid[2:]).unlink()
    control = subprocess.run(
        [program("git"), "cat-file", "-p", oid],
        cwd=fleet.root,
        env=fleet.env,
        capture_output=True,
        check=False,
    )
    run = fleet.root.parent / "run"
    assert control.returncode != 0
    assert _ran(run) == ["upload"]
    (run / "upload").unlink()
    for arguments in (("hook", "run", "--all"), ("exposed",), ("ls",), ("check",)):
        fleet.run(*arguments)
        assert _ran(run) == []


def test_a_bare_repository_inside_of_the_tree_is_not_used(
    template: Fleet, tmp_path: Path
) -> None:
    fleet = copied(template, tmp_path / "fleet")
    inner = fleet.root / "secrets" / "bare"
    subprocess.run([program("git"), "init", "-q", "--bare", str(inner)], check=True)
    place = _script(fleet, "bare")
    for name, value in (
        ("core.bare", "false"),
        ("core.worktree", str(inner)),
        ("core.fsmonitor", str(place)),
    ):
        subprocess.run(
            [program("git"), "--git-dir", inner, "config", name, value], check=True
        )
    (inner / "nixsecrets.toml").write_bytes(
        (fleet.root / "nixsecrets.toml").read_bytes()
    )
    done = fleet.run("-C", str(inner), "ls")
    assert done.returncode == 1
    assert "bare repository" in done.stderr
    assert _ran(fleet.root.parent / "run") == []


def test_a_configuration_that_never_ends_is_given_up(
    template: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = copied(template, tmp_path / "fleet")
    os.mkfifo(fleet.root / ".git/endless")
    with (fleet.root / ".git/config").open("a") as file:
        file.write("[include]\n\tpath = endless\n")
    monkeypatch.setattr(gitrun, "_ANSWER_SECONDS", 0.5)
    with pytest.raises(Exception, match="git does not answer"):
        Git.find(fleet.root)


# --- commands that write ------------------------------------------------------------


@pytest.fixture
def filtered(ready: Fleet) -> Fleet:
    """A repository in which every age file goes through a filter when it is added."""
    (ready.root / ".git/info/attributes").write_text("*.age filter=evil\n")
    ready.env["GIT_CONFIG_GLOBAL"] = str(ready.home / "gitconfig")
    _hooks(ready, ready.root / ".git/hooks")
    return ready


def _set(fleet: Fleet, path: str) -> "subprocess.CompletedProcess[str]":
    return fleet.run("set", path, "--git-add", "--yes", stdin="a: value")


def test_adding_to_git_does_not_run_a_filter_of_the_repository_and_says_so(
    filtered: Fleet,
) -> None:
    place = _script(filtered, "filter")
    filtered.git("config", "filter.evil.clean", str(place))
    filtered.git("config", "filter.evil.required", "true")
    (filtered.root.parent / "run/filter").unlink(missing_ok=True)
    done = _set(filtered, "secrets/new.age")
    assert done.returncode == 1
    assert done.stderr.endswith(
        'nixsecrets: error: "secrets/new.age" was not added to git: .git/config of this'
        " repository names a program for it (filter.evil)\n"
        "nixsecrets: hint: if you trust that program: git add FILE\n"
    )
    assert (filtered.root / "secrets/new.age").is_file()
    done = _set(filtered, "secrets/new.yaml")
    assert done.returncode == 0, done.stderr
    assert "secrets/new.yaml" in filtered.git("diff", "--cached", "--name-only")
    assert _ran(filtered.root.parent / "run") == []


def test_adding_to_git_runs_a_filter_of_the_person(filtered: Fleet) -> None:
    place = _script(filtered, "filter")
    place.write_text(place.read_text() + "exec cat\n")
    filtered.git("config", "--global", "filter.evil.clean", str(place))
    done = _set(filtered, "secrets/new.age")
    assert done.returncode == 0, done.stderr
    assert _ran(filtered.root.parent / "run") == ["filter"]


def test_adding_to_git_converts_line_ends_as_the_repository_says(ready: Fleet) -> None:
    ready.git("config", "core.autocrlf", "true")
    lock = ready.root / "nixsecrets.toml"
    lock.write_bytes(lock.read_bytes().replace(b"\n", b"\r\n"))
    found = Git.find(ready.root)
    assert found is not None
    found.add(ready.root, ["nixsecrets.toml"])
    assert ready.git("diff", "--cached", "--name-only") == ""


def test_a_file_that_git_checked_out_with_other_line_ends_keeps_its_date(
    ready: Fleet,
) -> None:
    place = ready.root / "secrets/app.yaml"
    before = ready.ok("ls", "secrets/app.yaml")
    place.write_bytes(place.read_bytes().replace(b"\n", b"\r\n"))
    assert ready.ok("ls", "secrets/app.yaml") == before
    place.write_bytes(place.read_bytes() + b"\r\n")
    assert "uncommitted" in ready.run("ls", "secrets/app.yaml").stdout


# --- by construction ----------------------------------------------------------------


def test_only_one_function_starts_git() -> None:
    found = {
        f"{path.relative_to(PROJECT)}:{_function(tree, node)}"
        for path in (PROJECT / "nixsecrets").rglob("*.py")
        for tree in (ast.parse(path.read_text(encoding="utf-8")),)
        for node in ast.walk(tree)
        if isinstance(node, ast.List | ast.Tuple)
        and node.elts
        and isinstance(node.elts[0], ast.Constant)
        and node.elts[0].value == "git"
    }
    assert found == {"nixsecrets/repo/gitrun.py:command_line"}
    source = (PROJECT / "nixsecrets/repo/gitrun.py").read_text(encoding="utf-8")
    tree = ast.parse(source)
    starts = [
        _function(tree, node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in _STARTING
    ]
    assert starts == ["_start"]


_STARTING = {"Child", "subprocess.Popen", "subprocess.run", "subprocess.check_output"}


def test_only_git_is_a_child_without_subprocess() -> None:
    sources = {
        str(path.relative_to(PROJECT)): path.read_text(encoding="utf-8")
        for path in (PROJECT / "nixsecrets").rglob("*.py")
    }
    spawning = [path for path, text in sources.items() if "posix_spawn" in text]
    assert spawning == ["nixsecrets/repo/child.py"]
    users = {path for path, text in sources.items() if "import Child" in text}
    assert users == {"nixsecrets/repo/gitrun.py"}


def _function(tree: ast.Module, node: ast.AST) -> str:
    return next(
        one.name
        for one in ast.walk(tree)
        if isinstance(one, ast.FunctionDef) and node in ast.walk(one)
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("diff", "HEAD"),
        ("status",),
        ("diff-files",),
        ("blame", "--contents", "-", "--", "x"),
        ("diff-index", "HEAD"),
        ("cat-file", "--textconv", "HEAD:x"),
        ("hash-object", "--path=x", "--stdin"),
        ("ls-files", "--modified"),
        ("checkout", "--", "."),
        ("--no-pager", "grep", "x"),
    ],
    ids=" ".join,
)
def test_a_subcommand_that_may_start_something_is_refused(
    arguments: tuple[str, ...],
) -> None:
    with pytest.raises(ValueError, match="may start a program"):
        gitrun.command_line(arguments)
