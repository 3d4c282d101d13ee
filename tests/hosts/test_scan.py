"""Many hosts at once: a few connections per machine, slow ones hold nobody up."""

import contextlib
import socket
import threading
import time
from pathlib import Path

import pytest

from nixsecrets.errors import NixsecretsError
from nixsecrets.hosts.address import Address
from nixsecrets.hosts.connect import filled_in, jump_command
from nixsecrets.hosts.scan import PER_MACHINE, Manner, Target, collect_all
from nixsecrets.hosts.sshconfig import Endpoint, resolve
from nixsecrets.keys.recipients import Recipient, parse_recipient
from tests import gate
from tests.fleet import rsa_key, ssh_key, start_sshd
from tests.hosts.test_collect import server


def test_one_machine_gets_few_connections_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lock, now, most = threading.Lock(), [0], [0]

    def counted(where: Endpoint, **_: object) -> Recipient:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.05)
        with lock:
            now[0] -= 1
        return parse_recipient(ssh_key(str(where)).public)

    monkeypatch.setattr("nixsecrets.hosts.scan.collect", counted)
    same = [Target(f"h{n}", "127.0.0.1:2222") for n in range(5 * PER_MACHINE)]
    found = list(collect_all(same, Manner()))
    assert {f.target.name for f in found} == {t.name for t in same}
    assert 1 < most[0] <= PER_MACHINE
    most[0] = 0
    others = [Target(f"h{n}", f"127.0.0.1:{2222 + n}") for n in range(20)]
    list(collect_all(others, Manner()))
    assert most[0] > PER_MACHINE


def test_silent_hosts_hold_nobody_up(tmp_path: Path) -> None:
    key = ssh_key("quick")
    with contextlib.ExitStack() as stack:
        released = threading.Event()
        silent = [
            stack.enter_context(server(lambda _: released.wait(30))) for _ in range(20)
        ]
        port = stack.enter_context(start_sshd(tmp_path, key))
        targets = [Target(address, address) for address in silent]
        targets.append(Target("quick", f"127.0.0.1:{port}"))
        started = time.monotonic()
        found = list(collect_all(targets, Manner(timeout=2, retries=0)))
        took = time.monotonic() - started
        released.set()
    assert took < 20 * 2
    good = [f for f in found if f.key is not None]
    assert [f.target.name for f in good] == ["quick"]
    assert good[0].key == parse_recipient(key.public)
    assert found.index(good[0]) < len(found) - 1


def test_a_server_that_hangs_up_once_is_tried_again(tmp_path: Path) -> None:
    key = ssh_key("busy")
    turns: list[int] = []
    with start_sshd(tmp_path, key) as port:

        def serve(connection: socket.socket) -> None:
            turns.append(1)
            if len(turns) == 1:
                return  # as sshd does beyond MaxStartups
            with socket.create_connection(("127.0.0.1", port)) as far:
                other = threading.Thread(target=pipe, args=(far, connection))
                other.start()
                pipe(connection, far)
                other.join(5)

        with server(serve) as address:
            manner = Manner(timeout=5, retries=1)
            (found,) = collect_all([Target("busy", address)], manner)
    assert found.key == parse_recipient(key.public)
    assert len(turns) == 2


def pipe(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(4096):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def test_a_bug_in_a_thread_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("nixsecrets.hosts.scan.resolve", broken)
    with pytest.raises(ZeroDivisionError):
        list(collect_all([Target("a", "a")], Manner()))


def test_only_rsa_offers_are_named(tmp_path: Path) -> None:
    with start_sshd(tmp_path, rsa_key()) as port:
        target = Target("old", f"127.0.0.1:{port}")
        (found,) = collect_all([target], Manner(retries=0))
    assert "only ssh-rsa" in str(found.error)


CONFIG = """
Include more
Host brunnen
  HostName brunnen.example.org
  Port 2222
  User root
  HostKeyAlias spring
  ProxyJump me@one:22,two
Host plain
  ProxyJump none
"""


def test_ssh_config_is_what_openssh_makes_of_it(tmp_path: Path) -> None:
    config = tmp_path / "config"
    included = tmp_path / "more"
    text = CONFIG.replace("Include more", f"Include {included}")
    config.write_text(text + f"Host *\n  UserKnownHostsFile {tmp_path}/kh\n")
    included.write_text("Host inc\n  HostName fe80::7\n")
    brunnen = resolve("brunnen", config=config)
    assert brunnen.address == Address("brunnen.example.org", "root", 2222)
    assert brunnen.alias == "spring"
    assert brunnen.jump is not None
    assert brunnen.machine == brunnen.jump
    assert tmp_path / "kh" in brunnen.known_hosts
    asked = resolve("admin@brunnen:22", config=config)
    assert asked.address == Address("brunnen.example.org", "admin", 22)
    assert resolve("plain", config=config).jump is None
    assert resolve("inc", config=config).address.host == "fe80::7"


def test_a_broken_ssh_config_is_an_error_with_a_hint(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("Nonsense yes\n")
    with pytest.raises(NixsecretsError) as raised:
        resolve("brunnen", config=config)
    assert "ssh cannot resolve" in raised.value.message
    assert "correct ssh_config" in str(raised.value.hint)


def test_several_jump_hosts_are_passed_in_order(tmp_path: Path) -> None:
    where = Endpoint(Address("h"), Address("fe80::7", port=2222), config=tmp_path / "c")
    command = jump_command(where, "a@one:22,two,three:2022", 5)
    at = command.index("-J")
    assert command[at + 1] == "a@one:22,two"
    assert command[-4:] == ["-W", "[fe80::7]:2222", "--", "ssh://three:2022"]
    assert command[command.index("-F") + 1] == str(tmp_path / "c")


def test_the_tokens_of_a_proxy_command_are_filled_in() -> None:
    where = Endpoint(Address("h"), Address("h.lan", "root", 2222))
    assert filled_in(where, "nc -x %r %h %p %n 100%%") == "nc -x root h.lan 2222 h 100%"


@pytest.mark.parametrize("host", ["a;id", "a&b", "a|b", "a>b", "a(b"])
def test_no_name_reaches_the_shell_of_a_proxy_command(host: str) -> None:
    where = Endpoint(Address(host), Address(host, port=22))
    with pytest.raises(NixsecretsError, match="cannot go into a ProxyCommand"):
        filled_in(where, "nc %h %p")


def test_an_unknown_token_of_a_proxy_command_is_refused() -> None:
    where = Endpoint(Address("h"), Address("h", port=22))
    with pytest.raises(NixsecretsError, match="has the token %C"):
        filled_in(where, "nc %C")


def test_a_host_is_reached_by_its_ipv6_address(tmp_path: Path) -> None:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6) as probe:
            port = int(probe.getsockname()[1])
    except OSError:
        gate.absent("ipv6", "no loopback to listen on")
    key = ssh_key("six")
    options = [f"ListenAddress [::1]:{port}"]
    with start_sshd(tmp_path, key, options=options):
        targets = [Target("six", f"[::1]:{port}"), Target("user", f"root@[::1]:{port}")]
        found = list(collect_all(targets, Manner()))
    assert [f.key for f in found] == [parse_recipient(key.public)] * 2
