"""add-host, scan and rotate-host against real servers: which keys are trusted."""

import contextlib
import getpass
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests import fleet as kit
from tests.cli.conftest import changed
from tests.fleet import Fleet, SshKey
from tests.hosts.test_collect import Impostor, serve_as, server

TODAY = r"20\d\d-\d\d-\d\d"


@dataclass
class Net:
    """Real sshds on loopback, and the ssh_config and known_hosts of the operator."""

    base: Path
    stack: contextlib.ExitStack
    lines: list[str] = field(default_factory=list)

    @property
    def known_hosts(self) -> Path:
        return self.base / "known_hosts"

    @property
    def config(self) -> Path:
        """The ssh_config: with settings that would make ssh careless."""
        common = [
            "Host *",
            f"UserKnownHostsFile {self.known_hosts}",
            "GlobalKnownHostsFile none",
            f"IdentityFile {self.base / 'me'}",
            f"User {getpass.getuser()}",
            "StrictHostKeyChecking no",
            "NoHostAuthenticationForLocalhost yes",
        ]
        path = self.base / "ssh_config"
        path.write_text("\n".join([*self.lines, *common, ""]))
        return path

    def start(self, name: str, *keys: SshKey, told: str = "") -> int:
        """Run a server called `name`, which prints `told` at login."""
        kit.ssh_key("operator").write(self.base / "me")
        allowed = self.base / "me.pub"
        options = [f"AuthorizedKeysFile {allowed}", "PermitRootLogin yes"]
        if told:
            answer = self.base / f"{name}.told"
            answer.write_text(told + "\n")
            options.append(f"ForceCommand cat {answer}")
        folder = self.base / name
        port = self.stack.enter_context(kit.start_sshd(folder, *keys, options=options))
        self.at(name, f"HostName 127.0.0.1\nPort {port}")
        return port

    def at(self, name: str, settings: str) -> None:
        """Enter the address of `name` in ssh_config."""
        self.lines.append(f"Host {name}\n{settings}")

    def know(self, port: int, key: SshKey) -> None:
        """Enter a key in known_hosts."""
        with self.known_hosts.open("a") as file:
            file.write(f"[127.0.0.1]:{port} {key.public}\n")


@pytest.fixture
def net(tmp_path: Path) -> Iterator[Net]:
    base = tmp_path / "net"
    base.mkdir()
    with contextlib.ExitStack() as stack:
        yield Net(base, stack)


def add(fleet: Fleet, net: Net, *more: str, name: str = "neu") -> "Done":
    before = fleet.snapshot()
    done = fleet.run("add-host", name, "--ssh-config", net.config, "--yes", *more)
    return Done(done.returncode, done.stderr, changed(fleet, before), fleet)


@dataclass
class Done:
    code: int
    stderr: str
    changed: set[str]
    fleet: Fleet

    @property
    def verified(self) -> str:
        """How the key was verified, according to the map."""
        text = self.fleet.read("nixsecrets.toml").decode()
        (found,) = re.findall(rf'verified = "(\S+) {TODAY}"', text)
        return str(found)

    @property
    def refused(self) -> bool:
        return self.code == 1 and not self.changed


KEY, OTHER = kit.ssh_key("neu"), kit.ssh_key("an older neu")


def test_a_fingerprint_that_fits_needs_no_question(ready: Fleet, net: Net) -> None:
    net.start("neu", KEY)
    done = add(ready, net, "--fingerprint", KEY.fingerprint, "--group", "server")
    assert (done.code, done.verified) == (0, "fingerprint")
    ready.hosts["neu"] = KEY
    KEY.write(ready.keys / "neu")
    assert ready.age_opens("secrets/wifi.age", "neu")


def test_a_wrong_fingerprint_is_refused(ready: Fleet, net: Net) -> None:
    net.start("neu", KEY)
    done = add(ready, net, "--fingerprint", OTHER.fingerprint)
    assert done.refused
    assert done.stderr == (
        f"nixsecrets: error: neu shows another key: {KEY.fingerprint}, "
        f"not {OTHER.fingerprint}\n"
        "nixsecrets: hint: nothing was changed; find out which machine answered\n"
    )


def test_known_hosts_vouches_for_a_key(ready: Fleet, net: Net) -> None:
    net.know(net.start("neu", KEY), KEY)
    done = add(ready, net)
    assert (done.code, done.verified) == (0, "known_hosts")


def test_hashed_known_hosts_and_an_alias_vouch_for_a_key(
    ready: Fleet, net: Net
) -> None:
    net.start("neu", KEY)
    net.lines[-1] += "\nHostKeyAlias the-new-one"
    net.known_hosts.write_text(f"the-new-one {KEY.public}\n")
    keygen = kit.program("ssh-keygen")
    kit.run_program(keygen, "-H", "-f", str(net.known_hosts), env=ready.env)
    net.known_hosts.write_text("broken\n" + net.known_hosts.read_text())
    assert add(ready, net).verified == "known_hosts"


def test_another_key_in_known_hosts_is_an_alarm(ready: Fleet, net: Net) -> None:
    net.know(net.start("neu", KEY), OTHER)
    done = add(ready, net, "--trust-on-first-use")
    assert done.refused
    assert f"neu shows {KEY.fingerprint}, but" in done.stderr
    assert f"known_hosts:1 has {OTHER.fingerprint}" in done.stderr


def test_a_revoked_key_is_refused_whatever_else_holds(ready: Fleet, net: Net) -> None:
    net.start("neu", KEY)
    net.known_hosts.write_text(f"@revoked * {KEY.public}\n")
    done = add(ready, net, "--fingerprint", KEY.fingerprint)
    assert done.refused
    assert "revokes" in done.stderr


def test_a_login_to_a_server_known_by_another_key_vouches(
    ready: Fleet, net: Net
) -> None:
    rsa = kit.rsa_key()
    net.know(net.start("neu", rsa, KEY, told=KEY.public), rsa)
    done = add(ready, net, "--login")
    assert (done.code, done.verified) == (0, "login")


def test_a_login_to_an_unknown_server_vouches_for_nothing(
    ready: Fleet, net: Net
) -> None:
    net.start("neu", kit.rsa_key(), KEY, told=KEY.public)
    done = add(ready, net, "--login")
    assert done.refused
    assert "Host key verification failed" in done.stderr
    assert "--login needs a server in known_hosts" in done.stderr


def test_a_host_file_that_is_not_the_key_shown_is_an_alarm(
    ready: Fleet, net: Net
) -> None:
    rsa = kit.rsa_key()
    net.know(net.start("neu", rsa, KEY, told=OTHER.public), rsa)
    done = add(ready, net, "--login")
    assert done.refused
    assert f"neu shows {KEY.fingerprint}, but its /etc/ssh/" in done.stderr


def test_without_a_terminal_an_unknown_key_is_refused_with_the_way_out(
    ready: Fleet, net: Net
) -> None:
    net.start("neu", KEY)
    done = add(ready, net)
    assert done.refused
    assert done.stderr == (
        f"neu shows ssh-ed25519 {KEY.fingerprint}\n"
        "nixsecrets: error: nothing was changed: cannot prompt to compare the"
        " fingerprint\n"
        "nixsecrets: hint: give --fingerprint, or --trust-on-first-use\n"
    )
    assert add(ready, net, "--trust-on-first-use").verified == "first-use"


def test_a_key_that_is_given_is_recorded_as_given(ready: Fleet, net: Net) -> None:
    assert add(ready, net, "--key", KEY.public).verified == "given"


def test_a_fake_server_with_somebody_elses_public_key_is_caught(
    ready: Fleet, net: Net, tmp_path: Path
) -> None:
    own = kit.ssh_key("impostor").write(tmp_path / "own")
    with server(serve_as(Impostor(KEY, own))) as address:
        port = address.rpartition(":")[2]
        net.at("neu", f"HostName 127.0.0.1\nPort {port}")
        net.know(int(port), KEY)
        done = add(ready, net, "--fingerprint", KEY.fingerprint)
    assert done.refused
    assert done.stderr == (
        f'nixsecrets: error: "127.0.0.1:{port}" presents a host key without '
        "proving possession of it\n"
        "nixsecrets: hint: do not use this key; find out which machine answers at "
        "that address\n"
    )


def test_a_host_behind_a_jump_host_is_reached(ready: Fleet, net: Net) -> None:
    jump = kit.ssh_key("jump")
    net.know(net.start("jump", jump), jump)
    port = net.start("neu", KEY)
    net.lines[-1] += "\nProxyJump jump"
    net.know(port, KEY)
    assert add(ready, net).verified == "known_hosts"
    log = (net.base / "jump" / "log").read_text()
    assert "Accepted publickey" in log


def test_a_host_behind_a_proxy_command_is_reached(ready: Fleet, net: Net) -> None:
    jump = kit.ssh_key("jump")
    net.know(net.start("jump", jump), jump)
    net.know(net.start("neu", KEY), KEY)
    config = net.base / "ssh_config"
    net.lines[-1] += f"\nProxyCommand ssh -F {config} -W [%h]:%p jump"
    assert add(ready, net).verified == "known_hosts"


def test_a_jump_host_that_refuses_is_reported(ready: Fleet, net: Net) -> None:
    net.at("neu", f"HostName 127.0.0.1\nProxyJump 127.0.0.1:{kit.free_port()}")
    done = add(ready, net, "--retries", "0")
    assert done.refused
    assert "through [127.0.0.1]:" in done.stderr
    assert "Connection refused" in done.stderr


def test_a_server_with_only_rsa_is_explained(ready: Fleet, net: Net) -> None:
    net.start("neu", kit.rsa_key())
    done = add(ready, net)
    assert done.refused
    assert "has no ed25519 host key, only ssh-rsa" in done.stderr
    assert "convert only ed25519 keys" in done.stderr
    assert "services.openssh.hostKeys" in done.stderr


@pytest.mark.parametrize(
    "name",
    ["-oProxyCommand=x", "a;b", "$(id)", "a b", "ä", "a/b", '"'],
)
def test_names_that_could_be_something_else_are_refused(
    ready: Fleet, net: Net, name: str
) -> None:
    before = ready.snapshot()
    flags = ("--trust-on-first-use", "--timeout", "1", "--retries", "0", "--yes")
    done = ready.run("add-host", *flags, "--ssh-config", net.config, "--", name)
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
    assert changed(ready, before) == set()


def test_add_host_on_a_known_name_compares_and_changes_nothing(
    ready: Fleet, net: Net
) -> None:
    net.start("brunnen", ready.hosts["brunnen"])
    done = add(ready, net, name="brunnen")
    assert (done.code, done.changed) == (0, set())
    assert "nothing to do" in done.stderr


def test_add_host_on_a_known_name_with_another_key_is_an_alarm(
    ready: Fleet, net: Net
) -> None:
    net.start("brunnen", KEY)
    done = add(ready, net, "--fingerprint", KEY.fingerprint, name="brunnen")
    assert done.refused
    assert done.stderr == (
        "nixsecrets: error: brunnen is in the map with another key; nothing was "
        "changed\n"
        f"  in the map:  {ready.hosts['brunnen'].fingerprint}\n"
        f"  shown now:   {KEY.fingerprint}\n"
        "nixsecrets: hint: find out why; if the host was reinstalled: "
        "nixsecrets rotate-host brunnen\n"
    )


def test_scan_reports_the_result_for_each_host(ready: Fleet, net: Net) -> None:
    net.start("brunnen", ready.hosts["brunnen"])
    net.start("schere", KEY)
    net.start("stein", kit.rsa_key())
    ready.ok("add-host", "weg", "--key", OTHER.public, "--yes")
    net.at("weg", f"HostName 127.0.0.1\nPort {kit.free_port()}")
    before = ready.snapshot()
    done = ready.run("scan", "--ssh-config", net.config)
    assert done.returncode == 1
    old = ready.hosts["schere"].fingerprint
    assert f"  brunnen  same         {ready.hosts['brunnen'].fingerprint}\n" in (
        done.stdout
    )
    assert f"  schere   changed      was {old}\n" in done.stdout
    assert f"now {KEY.fingerprint}\n" in done.stdout
    assert "nixsecrets rotate-host schere\n" in done.stdout
    assert re.search(r"  stein    other-types  .*, only ssh-rsa\n", done.stdout)
    assert re.search(r"  weg      unreachable  nothing listens", done.stdout)
    assert done.stdout.endswith(
        "4 hosts: 1 same, 1 changed, 1 other-types, 1 unreachable\n"
    )
    report = json.loads(ready.run("scan", "--json", "--ssh-config", net.config).stdout)
    assert {h["name"]: h["status"] for h in report["hosts"]} == {
        "brunnen": "same",
        "schere": "changed",
        "stein": "other-types",
        "weg": "unreachable",
    }
    assert changed(ready, before) == set()


def test_scan_of_hosts_that_are_right_or_away_is_no_failure(
    ready: Fleet, net: Net
) -> None:
    net.start("brunnen", ready.hosts["brunnen"])
    net.at("stein", f"HostName 127.0.0.1\nPort {kit.free_port()}")
    flags = ("--ssh-config", net.config, "--retries", "0")
    assert ready.run("scan", "brunnen", "stein", *flags).returncode == 0
    unknown = ready.run("scan", "nobody", *flags)
    assert unknown.returncode == 2
    assert "the map has no host 'nobody'" in unknown.stderr


def test_rotate_host_replaces_the_key_in_every_file_and_nothing_else(
    ready: Fleet, net: Net
) -> None:
    port = net.start("brunnen", KEY)
    net.know(port, ready.hosts["brunnen"])  # the old key: it was reinstalled
    before = ready.snapshot()
    old = ready.hosts["brunnen"]
    flags = ("--ssh-config", net.config, "--yes")
    refused = ready.run("rotate-host", "brunnen", *flags)
    assert refused.returncode == 1
    assert "cannot prompt to compare" in refused.stderr
    ready.ok("rotate-host", "brunnen", *flags, "--fingerprint", KEY.fingerprint)
    assert changed(ready, before) == {
        "nixsecrets.toml",
        "nixsecrets.lock",
        ".sops.yaml",
        "secrets/secrets.nix",
        "secrets/wifi.age",
        "secrets/app.yaml",
        "secrets/hosts/brunnen/tls.json",
    }
    KEY.write(ready.keys / "fresh")
    assert ready.age_decrypt("secrets/wifi.age", "fresh") == b"wifi-canary"
    assert not ready.age_opens("secrets/wifi.age", "brunnen")
    text = ready.read("nixsecrets.toml").decode()
    retired = text[text.index("[[retired]]") :]
    assert old.public.split()[1] in retired
    assert 'name = "brunnen"' in retired
    assert re.search(rf'date = "{TODAY}"\nreason = "rotated"', retired)
    assert re.search(rf'verified = "fingerprint {TODAY}"', text)
    assert old.public.split()[1] not in ready.read("secrets/secrets.nix").decode()
    ready.ok("check")
    again = ready.run(
        "rotate-host", "brunnen", *flags, "--fingerprint", KEY.fingerprint
    )
    assert (again.returncode, "nothing to do" in again.stderr) == (0, True)


def test_discover_adds_every_folder_that_the_map_does_not_know(
    ready: Fleet, net: Net
) -> None:
    keys = {name: kit.ssh_key(f"found {name}") for name in ("eins", "zwei")}
    for name, key in keys.items():
        net.know(net.start(name, key), key)
    net.at("weg", f"HostName 127.0.0.1\nPort {kit.free_port()}")
    for name in ("eins", "zwei", "weg", "brunnen", "_common", "server"):
        ready.write(f"hosts/{name}/default.nix", "{ }\n")
    flags = ("--discover", "--ssh-config", net.config, "--yes", "--retries", "0")
    done = ready.run("add-host", *flags, "--group", "dns")
    assert done.returncode == 1
    assert f"  eins  {keys['eins'].fingerprint}  in known_hosts\n" in done.stderr
    assert "  weg   skipped: nothing listens" in done.stderr
    assert "1 host skipped" in done.stderr
    for name, key in keys.items():
        key.write(ready.keys / name)
        assert ready.age_decrypt("secrets/dns.age", name) == b"dns-canary"


def test_discover_asks_once_and_not_without_a_terminal(ready: Fleet, net: Net) -> None:
    net.start("eins", KEY)
    ready.write("hosts/eins/default.nix", "{ }\n")
    before = ready.snapshot()
    flags = ("--discover", "--ssh-config", net.config, "--yes")
    done = ready.run("add-host", *flags)
    assert done.returncode == 1
    assert f"  eins  {KEY.fingerprint}  not verified\n" in done.stderr
    assert "--trust-on-first-use" in done.stderr
    assert changed(ready, before) == set()
    ready.ok("add-host", *flags, "--trust-on-first-use")
    assert ready.run("add-host", *flags).stderr == (
        "every host found is already in the map; nothing to do\n"
    )


def test_a_generated_key_becomes_a_secret_for_always_only(ready: Fleet) -> None:
    before = ready.snapshot()
    ready.ok("add-host", "neu", "--generate", "--group", "server", "--yes")
    path = "secrets/host-keys/neu.age"
    assert path in changed(ready, before)
    private = ready.age_decrypt(path, "alice")
    file = ready.keys / "generated"
    file.touch(mode=0o600)
    file.write_bytes(private)
    assert ready.age_decrypt("secrets/wifi.age", "generated") == b"wifi-canary"
    assert not ready.age_opens(path, "brunnen")
    assert not ready.age_opens(path, "generated")
    text = ready.read("nixsecrets.toml").decode()
    assert text.index('"secrets/host-keys/*.age"') < text.index('"secrets/dns.*"')
    assert re.search(rf'verified = "generated {TODAY}"', text)
    ready.ok("check")
    ready.ok("rotate-host", "neu", "--generate", "--yes")
    assert ready.age_decrypt(path, "alice") != private
    assert not ready.age_opens("secrets/wifi.age", "generated")
    ready.ok("check")


def test_a_rule_that_would_give_private_keys_away_stops_it(ready: Fleet) -> None:
    ready.age_encrypt("secrets/host-keys/old.age", "x", "alice", "brunnen")
    before = ready.snapshot()
    done = ready.run("add-host", "neu", "--generate", "--yes")
    assert done.returncode == 1
    assert "the rule for secrets/** decides who reads" in done.stderr
    assert changed(ready, before) == set()


CONTRADICTIONS: dict[str, Callable[[SshKey], tuple[str, ...]]] = {
    "two sources": lambda key: ("--key", key.public, "--generate"),
    "belief for a key that is given": lambda key: ("--key", key.public, "--login"),
    "a private key that would not be kept": lambda _: ("--generate", "--no-rekey"),
    "a text that is no fingerprint": lambda _: ("--fingerprint", "MD5:aa"),
}


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_options_that_contradict_each_other_are_usage_errors(
    ready: Fleet, case: str
) -> None:
    before = ready.snapshot()
    done = ready.run("add-host", "neu", *CONTRADICTIONS[case](KEY), "--yes")
    assert done.returncode == 2, done.stderr
    assert changed(ready, before) == set()
