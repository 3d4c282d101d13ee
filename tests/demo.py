"""`make demo`: the whole job on a throw-away fleet, with real keys and a real server.

Makes a folder below the temporary one, runs the real commands in it, and ends with
every machine decrypting exactly its own secrets.  Nothing outside the folder is read
or written.  Uses OpenSSH's `sshd` and `age` where they are installed; where not, an
SSH server in this process and the age library.
"""

import contextlib
import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests import fleet as kit
from tests.fleet import Fleet, SshKey, age_secret

MACHINES = ("brunnen", "schere", "stein", "macbook", "wsl")
RULES = """
[[secrets]]
path = "secrets/powerdns.yaml"
readers = ["dns"]

[[secrets]]
path = "secrets/hosts/{host}/**"
readers = ["{host}"]

[[secrets]]
path = "secrets/home/{user}.age"
readers = ["{user}"]

[[secrets]]
path = "secrets/wifi.age"
readers = ["laptops", "itw"]

[[secrets]]
path = "secrets/*"
readers = ["server"]
"""
SECRETS = {
    "secrets/powerdns.yaml": "powerdns:\n  api-key: dns-canary\n",
    "secrets/wifi.age": "wifi-canary\n",
    "secrets/backup.age": "backup-canary\n",
    "secrets/monitoring.env": "TOKEN=monitoring-canary\n",
    "secrets/hosts/brunnen/tls.json": '{"key": "tls-canary"}\n',
    "secrets/hosts/itw/app.ini": "[app]\npassword = itw-canary\n",
    "secrets/home/lena.age": "mail-canary\n",
}


class Show:
    """Runs commands as a person would type them, and prints both."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet

    def title(self, text: str) -> None:
        print(f"\n── {text} ".ljust(78, "─"))

    def run(self, *args: str, env: dict[str, str] | None = None, code: int = 0) -> None:
        shown = " ".join(shlex.quote(a) if " " in a else a for a in args)
        print(f"\n$ nixsecrets {shown}")
        done = self.fleet.run(*args, env=env)
        for text in (done.stdout, done.stderr):
            print("".join(f"  {line}\n" for line in text.splitlines()), end="")
        if done.returncode != code:
            sys.exit(f"demo: exit code {done.returncode}, expected {code}")


def main() -> None:
    """Run the demo; exit 1 if anything is not as it should be."""
    with tempfile.TemporaryDirectory(prefix="nixsecrets-demo-") as folder:
        base = Path(folder)
        fleet = kit.make_fleet(base, users=())
        show = Show(fleet)
        with contextlib.ExitStack() as stack:
            begin(show)
            join(show, base, stack)
            write_secrets(show)
            look(show)
            change(show, base, stack)
        ok = matrix(fleet)
    sys.exit(0 if ok else "demo: somebody reads what they should not, or cannot")


def begin(show: Show) -> None:
    """Start the fleet, and let a second person in."""
    show.title("a new fleet: alice starts it, with a new age key")
    show.run("init", "--user", "alice", "--create-key")
    identity = show.fleet.home / ".config/sops/age/keys.txt"
    show.fleet.keys.mkdir()
    shutil.copy(identity, show.fleet.keys / "alice")
    lena = kit.ssh_key("user lena", comment="lena@home-manager")
    show.fleet.users["lena"] = lena
    public = lena.write(show.fleet.keys / "lena").with_name("lena.pub")
    show.run("add-user", "lena", "--key-file", str(public))


def join(show: Show, base: Path, stack: contextlib.ExitStack) -> None:
    """Collect the machines' keys, one way each."""
    show.title("machines join: keys come from a real SSH server, a file, the clipboard")
    groups = {"brunnen": "server", "schere": "dns", "stein": "dns"}
    groups |= {"macbook": "laptops", "wsl": "laptops"}
    for name in MACHINES:
        key = show.fleet.add_host(name)
        if name == "macbook":
            source = ["--key-file", str(show.fleet.keys / "macbook.pub")]
        else:
            port = stack.enter_context(ssh_server(base / f"sshd-{name}", key))
            address = f"127.0.0.1:{port}"
            source = ["--address", address, "--fingerprint", key.fingerprint]
        show.run("add-host", name, *source, "--group", groups[name])
    itw = show.fleet.add_host("itw")
    show.run("add-host", "itw", "--key", itw.public)


def write_secrets(show: Show) -> None:
    """Say who reads what; then write the secrets in an editor."""
    show.title("the map says who reads what (edited by hand), the secrets follow")
    path = show.fleet.root / "nixsecrets.toml"
    text = path.read_text()
    head, _, _ = text.partition("[[secrets]]")
    path.write_text(head.rstrip() + "\n" + RULES)
    print(RULES.rstrip())
    show.run("sync")
    for name, content in SECRETS.items():
        editor = show.fleet.home / "editor"
        editor.write_text(f"#!/bin/sh\ncat > \"$1\" <<'END'\n{content}END\n")
        editor.chmod(0o700)
        show.run("edit", name, env={"EDITOR": str(editor)})
    show.fleet.commit("secrets")


def look(show: Show) -> None:
    """Ask what there is."""
    show.title("how things stand")
    show.run("status")
    show.run("check")
    show.run("approve", "--list")
    show.run("why", "secrets/powerdns.yaml")


def change(show: Show, base: Path, stack: contextlib.ExitStack) -> None:
    """A machine joins, another leaves, drift is found, a stranger's file taken over."""
    show.title("a machine joins a group: it is given what the group reads")
    key = show.fleet.add_host("papier")
    port = stack.enter_context(ssh_server(base / "sshd-papier", key))
    where = ["--address", f"127.0.0.1:{port}", "--fingerprint", key.fingerprint]
    show.run("add-host", "papier", *where, "--group", "dns", "--dry-run")
    show.run("add-host", "papier", *where, "--group", "dns", "--yes")
    show.title("a machine is removed: everything it could read is re-encrypted")
    show.run("remove-host", "schere", "--reason", "sold", "--yes")
    show.title("somebody edited the map by hand: drift is found and repaired")
    path = show.fleet.root / "nixsecrets.toml"
    path.write_text(
        path.read_text().replace(
            'readers = ["laptops", "itw"]', 'readers = ["laptops"]'
        )
    )
    show.run("check", code=1)
    show.run("rekey", "--yes", "--allow-revoke")
    show.title("a file made by stock age: its recipients are unknown, alice vouches")
    alice = next(
        line.split(": ")[1]
        for line in (show.fleet.keys / "alice").read_text().splitlines()
        if "public key" in line
    )
    foreign_age(show.fleet, "secrets/legacy.age", [alice, show.fleet.public("brunnen")])
    show.run("status")
    show.run("accept", "secrets/legacy.age", "--yes")
    show.run("sync")
    show.run("check")
    show.fleet.commit("changes")


def matrix(fleet: Fleet) -> bool:
    """Let every key try every secret with the tools that machines use; print it."""
    wanted = {
        "secrets/powerdns.yaml": {"alice", "stein", "papier"},
        "secrets/wifi.age": {"alice", "macbook", "wsl"},
        "secrets/backup.age": {"alice", "brunnen"},
        "secrets/legacy.age": {"alice", "brunnen"},
        "secrets/monitoring.env": {"alice", "brunnen"},
        "secrets/hosts/brunnen/tls.json": {"alice", "brunnen"},
        "secrets/hosts/itw/app.ini": {"alice", "itw"},
        "secrets/home/lena.age": {"alice", "lena"},
    }
    names = ["alice", "lena", *MACHINES, "itw", "papier"]
    print(
        "\n── who decrypts what, with age (agenix) and sops (sops-nix) ".ljust(79, "─")
    )
    print("".ljust(32) + "".join(name[:8].ljust(9) for name in names))
    right = True
    for path, readers in wanted.items():
        opened = {name for name in names if opens(fleet, path, name)}
        row = "".join(("yes" if n in opened else "·").ljust(9) for n in names)
        print(path.ljust(32) + row + ("" if opened == readers else "  WRONG"))
        right &= opened == readers
    return right


def opens(fleet: Fleet, path: str, name: str) -> bool:
    """Whether a machine's (or person's) own tool opens the file with its own key."""
    identity = fleet.keys / name
    if path.endswith(".age"):
        return age_opens(identity, fleet.root / path)
    return fleet.sops_opens(path, age_form(identity))


def age_form(identity: Path) -> str:
    """Return the identity as sops-nix hands it to sops: an age secret key."""
    return age_secret(identity.read_bytes())


def age_opens(identity: Path, path: Path) -> bool:
    """Decrypt as agenix does: the age program, the key file as it is."""
    if shutil.which("age"):
        command = ["age", "-d", "-i", str(identity), str(path)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    from nixsecrets.errors import NixsecretsError
    from nixsecrets.files.age import operations
    from nixsecrets.keys.identities import parse_identities

    ring = parse_identities(identity.read_bytes(), str(identity))
    try:
        operations.decrypt(path.read_bytes(), ring.identities)
    except NixsecretsError:
        return False
    return True


def foreign_age(fleet: Fleet, path: str, recipients: Sequence[str]) -> None:
    """Encrypt with another tool than nixsecrets."""
    import pyrage

    kinds = (pyrage.x25519.Recipient, pyrage.ssh.Recipient)
    keys = [kinds[text.startswith("ssh-")].from_str(text) for text in recipients]
    fleet.write(path, pyrage.encrypt(b"legacy-canary\n", keys))


@contextlib.contextmanager
def ssh_server(folder: Path, key: SshKey) -> Iterator[int]:
    """Serve a host key on loopback: by sshd, else by a server in this process."""
    if shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin"):
        with kit.start_sshd(folder, key) as port:
            yield port
        return
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_serve, args=(listener, key), daemon=True).start()
        yield listener.getsockname()[1]


def _serve(listener: socket.socket, key: SshKey) -> None:
    import io

    import paramiko

    private = paramiko.Ed25519Key.from_private_key(io.StringIO(key.private))
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listener.accept()
            transport = paramiko.Transport(connection)
            transport.add_server_key(private)
            transport.start_server(server=paramiko.ServerInterface())


if __name__ == "__main__":
    main()
