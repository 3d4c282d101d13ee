"""Recipients of sops files that are no age keys: reported, not contacted, dropped."""

import hashlib
import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from nixsecrets.cli.main import COMMANDS
from tests import fleet as kit
from tests.cli.conftest import changed, set_editor
from tests.files.foreignentries import entries, planted
from tests.fleet import Fleet, program, reference_program, run_program, sops_path

CONTENT = {
    "secrets/app.yaml": "app: canary\n",
    "secrets/app.json": '{"app": "canary"}\n',
    "secrets/app.env": "APP=canary\n",
    "secrets/app.ini": "[app]\nkey = canary\n",
    "secrets/app.bin": "canary\n",
    "secrets/many.yaml": "a: canary\n---\nb: canary\n",
    # one more for each kind whose address is not in the file
    "secrets/kms.yaml": "a: canary\n",
    "secrets/gcp_kms.yaml": "a: canary\n",
    "secrets/azure_kv.yaml": "a: canary\n",
    "secrets/hckms.yaml": "a: canary\n",
    "secrets/pgp.yaml": "a: canary\n",
}
KEY = "hc_vault"


class Listener:
    """A loopback port that notes who calls, and answers nothing."""

    def __init__(self) -> None:
        self.calls: list[bytes] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                line, _ = self._server.accept()
            except OSError:
                return
            with closing(line):
                line.settimeout(2)
                try:
                    self.calls.append(line.recv(4096))
                except OSError:
                    self.calls.append(b"")

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()


@pytest.fixture
def listener() -> Iterator[Listener]:
    listening = Listener()
    yield listening
    listening.close()


def credentials(address: str) -> Mapping[str, str]:
    """Return what a person who uses all these services has in the environment."""
    return {
        "VAULT_TOKEN": "hvs.token",
        "VAULT_ADDR": address,
        "AWS_ACCESS_KEY_ID": "AKIA",
        "AWS_SECRET_ACCESS_KEY": "key",
        "AWS_ENDPOINT_URL": address,
        "AWS_REGION": "eu-west-1",
        "SOPS_GCP_KMS_ENDPOINT": address,
        "GOOGLE_OAUTH_ACCESS_TOKEN": "token",
        "AZURE_TENANT_ID": "t",
        "AZURE_CLIENT_ID": "c",
        "AZURE_CLIENT_SECRET": "s",
        "AZURE_AUTHORITY_HOST": address,
        "HUAWEICLOUD_SDK_AK": "ak",
        "HUAWEICLOUD_SDK_SK": "sk",
        "HTTP_PROXY": address,
        "HTTPS_PROXY": address,
        "NO_PROXY": "",
    }


@pytest.fixture(params=["3.11", "3.13"])
def pushed(ready: Fleet, listener: Listener, request: pytest.FixtureRequest) -> Fleet:
    """A fleet into whose sops files somebody pushed readers of every kind."""
    if request.param == "3.13":
        folder = ready.home / "bin"
        folder.mkdir()
        (folder / "sops").symlink_to(reference_program("sops"))
        ready.env["PATH"] = f"{folder}:{ready.env['PATH']}"
    kinds = entries(listener.address)
    readers = [ready.public("alice"), converted(ready, "brunnen")]
    for path, content in CONTENT.items():
        ready.sops_encrypt(path, content, readers)
        field = Path(path).stem if Path(path).stem in kinds else KEY
        ready.write(path, planted(path, ready.read(path), field, kinds[field][0]))
    ready.commit("pushed")
    return ready


def converted(fleet: Fleet, name: str) -> str:
    return kit.age_public(secret_of(fleet, name))


def secret_of(fleet: Fleet, name: str) -> str:
    return kit.age_secret((fleet.keys / name).read_bytes())


def found(fleet: Fleet, *command: str) -> set[str]:
    """Return the files with a reader whom the map does not name, by `check`."""
    said = json.loads(fleet.run(*command).stdout)
    return {one["path"] for one in said["problems"] if one["code"] == "NS014"}


def test_stock_sops_calls_the_address_in_a_file(
    pushed: Fleet, listener: Listener
) -> None:
    """The premise: were it not so, the tests below would show nothing."""
    secret = {"SOPS_AGE_KEY": secret_of(pushed, "alice"), "VAULT_TOKEN": "t"}
    file = shutil.copy(pushed.root / "secrets/app.yaml", pushed.home / "app.yaml")
    with pytest.raises(kit.ProgramFailed):
        env = pushed.env | secret | {"VAULT_MAX_RETRIES": "0"}
        run_program(sops_path(), "rotate", "-i", str(file), env=env, cwd=pushed.home)
    assert any(call.startswith(b"PUT /v1/sops/encrypt/k") for call in listener.calls)


class Run(NamedTuple):
    """One run of a command: its name and arguments, its input, how it ends."""

    arguments: tuple[str, ...]
    stdin: str = "value"
    code: int = 0

    @property
    def command(self) -> str:
        named = (word for word in self.arguments if word in COMMANDS)
        return next(named)


def runs(fleet: Fleet, port: int, shown: kit.SshKey) -> list[Run]:
    """Return runs of every command, for one repository, in an order that works.

    Each meets files with readers of every kind, until one drops them. `shown` is the
    key of an sshd at `port`.
    """
    one, yes = "secrets/app.yaml", ("--yes", "--allow-revoke")
    key, other = kit.ssh_key("neu").public, kit.ssh_key("reinstalled").public
    bob, bobs = kit.age_key().public, kit.age_key().public
    extra = str(fleet.home / "extra")
    at = (f"127.0.0.1:{port}", "--fingerprint", shown.fingerprint)
    return [
        *(
            Run((name,))
            for name in ("ls", "hosts", "known-hosts", "git-setup", "status")
        ),
        *(Run((name,), code=1) for name in ("check", "lint")),
        *(Run(("hook", name)) for name in ("install", "status", "uninstall")),
        Run(("hook", "run", "--all"), code=1),
        Run(("exposed",)),
        Run(("explain", "NS014")),
        Run(("completion", "bash")),
        Run(("rekey", "--dry-run")),
        Run(("approve", "--revoke", "brunnen")),
        Run(("approve", "--yes")),
        Run(("sync", "--yes")),
        *(Run((name, one)) for name in ("why", "textconv")),
        *(Run(("cat", path)) for path in CONTENT),
        Run(("-C", str(fleet.home / "adopted"), "init", "--user", "alice", "--yes")),
        Run(("accept", "secrets/old.age", "--yes")),
        Run(("resolve", "--last"), code=1),
        Run(("merge-driver", *(3 * [one]), one)),
        Run(("recover", "--finish")),
        Run(("edit", one)),
        *(Run(("set", path), content) for path, content in CONTENT.items()),
        Run(("set", one, "--key", "app")),
        Run(("generate", one, "--key", "app", "--yes")),
        Run(("generate", "secrets/fresh.yaml", "--key", "a", "--yes")),
        Run(("mv", "secrets/hckms.yaml", "secrets/moved.yaml", *yes)),
        Run(("add-host", "neu", "--key", key, "--group", "server", "--yes")),
        Run(("add-host", "at", "--address", *at, "--yes")),
        Run(("scan", "at")),
        Run(("add-host", "made", "--generate", "--group", "server", "--yes")),
        Run(("provision", "made", "--output", extra)),
        Run(("rename-host", "brunnen", "quelle", "--yes")),
        Run(("check",), code=1),
        Run(("add-user", "bob", "--key", bob, "--group", "server", *yes)),
        Run(("rotate-host", "neu", "--key", other, *yes)),
        Run(("rotate-user", "bob", "--key", bobs, *yes)),
        Run(("remove-user", "bob", *yes)),
        Run(("remove-host", "quelle", *yes, "--own-files", "delete")),
        Run(("rekey", *yes)),
        Run(("exposed",), code=1),
        Run(("rm", "secrets/pgp.yaml", "--yes")),
    ]


def prepared(fleet: Fleet) -> None:
    """Leave work to commands: a repository to adopt, a file to accept."""
    fleet.age_encrypt("secrets/old.age", "old", "alice", "brunnen")
    fleet.env["EDITOR"] = set_editor(fleet, "app: edited\n")
    fleet.git("add", "-A")
    adopted = fleet.home / "adopted"
    shutil.copytree(fleet.root, adopted)
    for name in ("nixsecrets.toml", "nixsecrets.lock", "secrets/secrets.nix"):
        (adopted / name).unlink()
    for file in adopted.glob("secrets/*.age"):
        file.unlink()
    rule = f"  - path_regex: ^secrets/\n    age: {fleet.public('alice')}\n"
    (adopted / ".sops.yaml").write_text(f"creation_rules:\n{rule}")


def interrupted(fleet: Fleet) -> None:
    """Leave a run to finish, which puts a file with such a reader in place."""
    path, staged = "secrets/rescued.yaml", ".nixsecrets-" + "0" * 32
    entry, _ = entries("http://127.0.0.1:9")["kms"]
    readers = [fleet.public("alice"), converted(fleet, "brunnen")]
    place = fleet.sops_encrypt(path, "a: canary\n", readers)
    data = planted(path, place.read_bytes(), "kms", entry)
    place.unlink()
    lines: list[dict[str, object]] = [
        {"nixsecrets-journal": 1, "entries": 1},
        {
            **{"path": path, "before": None, "after": hashlib.sha256(data).hexdigest()},
            **{"staged": staged, "beside": None},
        },
    ]
    folder = fleet.root / ".git/nixsecrets"
    (folder / staged).write_bytes(data)
    (folder / "journal").write_text("".join(f"{json.dumps(one)}\n" for one in lines))


@pytest.mark.parametrize(
    ("pushed", "with_credentials"),
    [("3.11", True), ("3.13", False)],
    indirect=["pushed"],
)
def test_no_command_contacts_anybody(
    pushed: Fleet, listener: Listener, tmp_path: Path, *, with_credentials: bool
) -> None:
    # for the kinds whose servers' names are fixed: what calls them, calls this one
    pushed.env |= {"HTTP_PROXY": listener.address, "HTTPS_PROXY": listener.address}
    if with_credentials:
        pushed.env |= credentials(listener.address)
    prepared(pushed)
    shown = kit.ssh_key("shown")
    with kit.start_sshd(tmp_path / "sshd", shown) as port:
        every = runs(pushed, port, shown)
        assert {run.command for run in every} == set(COMMANDS), "one has no row"
        for run in every:
            if run.command == "recover":
                interrupted(pushed)
            done = pushed.run(*run.arguments, stdin=run.stdin)
            assert done.returncode == run.code, (run.arguments, done.stderr)
            assert listener.calls == [], run.arguments
    pushed.git("diff", "HEAD")
    assert listener.calls == []
    assert found(pushed, "check", "--json") == set()


def test_every_report_names_them_without_a_key(
    pushed: Fleet, listener: Listener
) -> None:
    kinds = entries(listener.address)
    del pushed.env["NIXSECRETS_IDENTITY"]
    assert found(pushed, "check", "--json") == set(CONTENT)
    assert found(pushed, "status", "--json") == set(CONTENT)
    vault = kinds[KEY][1]
    check = pushed.run("check")
    assert check.returncode == 1
    assert (
        f"NS014  secrets/app.yaml: can be read by {vault}, which the map does not name"
        in check.stdout
    )
    assert "nixsecrets rekey" in check.stdout
    status = pushed.ok("status")
    for _, shown in kinds.values():
        assert f"still readable by {shown}" in status
        assert shown in pushed.ok("ls")
    assert f"  {vault}  (not in the map" in pushed.run("why", "secrets/app.env").stdout


def test_the_hook_stops_a_commit_that_adds_one(ready: Fleet) -> None:
    entry, shown = entries("http://127.0.0.1:9")[KEY]
    path = "secrets/app.yaml"
    ready.write(path, planted(path, ready.read(path), KEY, entry))
    ready.git("add", "-A")
    done = ready.run("hook", "run")
    assert done.returncode == 1
    assert "NS014" in done.stdout + done.stderr
    assert shown in done.stdout + done.stderr


def test_a_removal_goes_through_and_drops_them(
    pushed: Fleet, listener: Listener
) -> None:
    before = pushed.snapshot()
    remove = ("remove-host", "brunnen", "--own-files", "delete", "--yes")
    refused = pushed.run(*remove)
    assert refused.returncode == 1
    assert "--allow-revoke" in refused.stderr
    assert changed(pushed, before) == set()
    shown = [text for _, text in entries(listener.address).values()]
    assert all(f"-{text}" in refused.stderr for text in shown)
    assert all(f"{text} will lose" in refused.stderr for text in shown)
    done = pushed.run(*remove, "--allow-revoke")
    assert done.returncode == 0, done.stderr
    for path in CONTENT:
        assert not pushed.sops_opens(path, secret_of(pushed, "brunnen"))
        assert b"canary" in pushed.sops_decrypt(path, secret_of(pushed, "alice"))
        assert listener.address.encode() not in pushed.read(path)
    assert f"known to {', '.join(['brunnen', entries(listener.address)[KEY][1]])}" in (
        done.stderr
    )
    assert found(pushed, "check", "--json") == set()
    assert listener.calls == []


def test_a_grant_and_new_content_leave_them_and_the_finding(pushed: Fleet) -> None:
    new = pushed.add_host("neu")
    pushed.ok("add-host", "neu", "--key", new.public, "--group", "server", "--yes")
    assert found(pushed, "check", "--json") == set(CONTENT)
    for path, content in CONTENT.items():
        pushed.ok("set", path, stdin=content.replace("canary", "newer"))
        assert b"newer" in pushed.sops_decrypt(path, secret_of(pushed, "neu"))
    assert found(pushed, "check", "--json") == set(CONTENT)


def test_rekey_drops_them_with_consent(pushed: Fleet) -> None:
    refused = pushed.run("rekey", "--yes")
    assert refused.returncode == 1
    assert "--allow-revoke" in refused.stderr
    assert pushed.run("rekey", "--yes", "--allow-revoke").returncode == 0
    assert found(pushed, "check", "--json") == set()
    before = pushed.snapshot()
    pushed.ok("rekey", "--yes")
    assert changed(pushed, before) == set()


def test_a_colleague_who_added_a_pgp_key_loses_access_with_the_next_removal(
    ready: Fleet,
) -> None:
    gnupg = ready.home / "g"
    gnupg.mkdir(mode=0o700)
    env = ready.env | {"GNUPGHOME": str(gnupg)}
    key = ["--batch", "--passphrase", "", "--quick-gen-key", "c@example.org"]
    run_program(program("gpg"), *key, env=env)
    listing = run_program(program("gpg"), "-k", "--with-colons", env=env).decode()
    fpr = listing.split("fpr:::::::::")[1].split(":")[0]
    path, alice = "secrets/app.yaml", secret_of(ready, "alice")
    file = str(ready.root / path)
    theirs = env | {"SOPS_AGE_KEY": alice}
    run_program(sops_path(), "rotate", "-i", "--add-pgp", fpr, file, env=theirs)
    run_program(sops_path(), "decrypt", file, env=env)
    ready.commit("colleague")
    remove = ("remove-host", "brunnen", "--yes", "--own-files", "delete")
    assert f"-pgp:{fpr}" in ready.run(*remove).stderr
    assert ready.run(*remove, "--allow-revoke").returncode == 0
    with pytest.raises(kit.ProgramFailed):
        run_program(sops_path(), "decrypt", file, env=env)
    assert ready.sops_opens(path, alice)
    run_program(program("gpgconf"), "--kill", "all", env=env)


def test_an_entry_in_a_key_group_is_reported_and_not_contacted(
    ready: Fleet, listener: Listener
) -> None:
    path = "secrets/split.yaml"
    address, shown = listener.address, entries(listener.address)[KEY][1]
    folder = ready.home / "split"
    folder.mkdir()
    groups = [{"age": [ready.public(name)]} for name in ("alice", "brunnen")]
    config = json.dumps({"creation_rules": [{"key_groups": groups}]})
    (folder / ".sops.yaml").write_text(config)
    (folder / "split.yaml").write_text("a: b\n")
    data = run_program(sops_path(), "encrypt", "split.yaml", env=ready.env, cwd=folder)
    entry = "\n".join(
        f"              {line}"
        for line in ("enc: AQICAHgjunkjunk", "engine_path: sops", "key_name: k")
    )
    vault = f"hc_vault:\n            - vault_address: {address}\n{entry}\n"
    assert b"hc_vault: []\n" in data
    ready.write(path, data.decode().replace("hc_vault: []\n", vault, 1))
    ready.commit("split")
    check = ready.run("check")
    assert f"{path}: can be read by {shown}" in check.stdout
    assert f"nixsecrets why {path}" in check.stdout
    assert shown in ready.ok("why", path)
    remove = ("remove-host", "brunnen", "--yes", "--own-files", "delete")
    for command in (
        *(("cat", path), ("set", path), ("rekey", path, "--yes", "--allow-revoke")),
        (*remove, "--allow-revoke"),
    ):
        assert ready.run(*command, stdin="a: c\n").returncode in (0, 1)
    assert listener.calls == []


def test_an_address_with_escapes_does_not_reach_the_terminal(ready: Fleet) -> None:
    entry, _ = entries("http://127.0.0.1:9")[KEY]
    path = "secrets/app.yaml"
    hostile = {**entry, "vault_address": "http://\x1b]0;owned\x07\u202e" + "x" * 5000}
    ready.write(path, planted(path, ready.read(path), KEY, hostile))
    for command in (
        ("check",),
        ("status",),
        ("ls",),
        ("why", path),
        ("rekey", "--yes"),
    ):
        said = ready.run(*command)
        text = said.stdout + said.stderr
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert max(map(len, text.splitlines())) < 2000


@pytest.mark.parametrize("pushed", ["3.11"], indirect=True)
def test_a_merge_contacts_nobody_and_drops_them_with_consent(
    pushed: Fleet, listener: Listener
) -> None:
    pushed.env |= credentials(listener.address)
    path = "secrets/app.yaml"
    pushed.git("checkout", "-q", "-b", "side")
    pushed.ok("set", path, "--key", "theirs", "--yes", stdin="b")
    pushed.commit("theirs")
    pushed.git("checkout", "-q", "main")
    pushed.ok("set", path, "--key", "ours", "--yes", stdin="a")
    pushed.commit("ours")
    merging = [program("git"), "merge", "-q", "side"]
    subprocess.run(merging, cwd=pushed.root, env=pushed.env, check=False)
    done = pushed.run("resolve", "--yes")
    assert done.returncode == 1
    assert "--allow-revoke" in done.stderr
    assert pushed.ok("resolve", "--yes", "--allow-revoke") == ""
    assert pushed.ok("cat", path) == "app: canary\nours: a\ntheirs: b\n"
    assert KEY.encode() not in pushed.read(path)
    assert listener.calls == []
