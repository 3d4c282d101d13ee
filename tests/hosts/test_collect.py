"""Collecting host keys from real servers, and from servers that lie or stay silent."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import paramiko
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from nixsecrets.errors import NixsecretsError
from nixsecrets.hosts.address import parse_address
from nixsecrets.hosts.collect import collect as collect_from
from nixsecrets.hosts.sshconfig import direct
from nixsecrets.keys.recipients import Kind, Recipient, parse_recipient
from tests.fleet import (
    SshKey,
    clean_env,
    free_port,
    program,
    rsa_key,
    run_program,
    start_sshd,
)
from tests.fleet import ssh_key as make_key


def collect(address: str, *, timeout: float = 5.0) -> Recipient:
    """Collect from an address that no ssh_config has a say in."""
    return collect_from(direct(parse_address(address, port=0)), timeout=timeout)


@contextmanager
def server(serve: Callable[[socket.socket], object]) -> Iterator[str]:
    """Accept loopback connections and hand each to `serve`; yield the address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                # The other end may hang up at any moment.
                with connection, suppress(OSError):
                    serve(connection)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(timeout=10)


def failure(address: str, *, timeout: float = 5.0) -> NixsecretsError:
    """The error of a collection that must fail."""
    with pytest.raises(NixsecretsError) as raised:
        collect(address, timeout=timeout)
    assert raised.value.hint
    return raised.value


def test_the_key_a_real_server_holds_is_returned(tmp_path: Path) -> None:
    key = make_key("brunnen")
    with start_sshd(tmp_path, rsa_key(), key) as port:
        for address in (f"127.0.0.1:{port}", f"root@127.0.0.1:{port}"):
            assert collect(address) == parse_recipient(key.public)
        assert collect(f"127.0.0.1:{port}").kind is Kind.SSH_ED25519


def test_the_fingerprint_is_the_one_ssh_keygen_prints(tmp_path: Path) -> None:
    key = make_key("schere")
    path = key.write(tmp_path / "key")
    printed = run_program(
        program("ssh-keygen"), "-lf", str(path), env=clean_env(tmp_path)
    )
    with start_sshd(tmp_path / "sshd", key) as port:
        assert collect(f"127.0.0.1:{port}").fingerprint == printed.decode().split()[1]


def test_a_server_without_ed25519_key_gets_the_nixos_option_as_hint(
    tmp_path: Path,
) -> None:
    with start_sshd(tmp_path, rsa_key()) as port:
        error = failure(f"127.0.0.1:{port}")
    assert error.message == f'"127.0.0.1:{port}" has no ed25519 host key, only ssh-rsa'
    assert "services.openssh.hostKeys" in str(error.hint)


def test_a_port_where_nothing_listens_is_named() -> None:
    port = free_port()
    message = failure(f"127.0.0.1:{port}").message
    assert message == f'nothing listens at "127.0.0.1:{port}"'


def test_an_unknown_name_is_named() -> None:
    message = failure("no-such-host.invalid").message
    assert message == 'no address is known for "no-such-host.invalid"'


@pytest.mark.parametrize("name", ["a" * 64, "a..b", "." * 300])
def test_a_name_no_resolver_accepts_is_an_error_with_a_hint(name: str) -> None:
    assert "no address is known" in failure(name).message


def test_a_silent_server_ends_at_the_timeout() -> None:
    released = threading.Event()
    with server(lambda _: released.wait(10)) as address:
        error = failure(address, timeout=0.3)
        released.set()
    assert "did not finish the key exchange in time" in error.message


def test_a_server_silent_after_its_greeting_ends_at_the_timeout() -> None:
    released = threading.Event()

    def greet_only(connection: socket.socket) -> None:
        connection.sendall(b"SSH-2.0-mute\r\n")
        released.wait(10)

    with server(greet_only) as address:
        error = failure(address, timeout=0.5)
        released.set()
    assert "did not finish the key exchange in time" in error.message


@pytest.mark.parametrize(
    "greeting", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\xff" * 4000, b"\n" * 300]
)
def test_a_server_of_another_kind_is_said_to_be_no_ssh_server(greeting: bytes) -> None:
    def serve(connection: socket.socket) -> None:
        connection.sendall(greeting)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(100)

    with server(serve) as address:
        assert "does not respond like an ssh server" in failure(address).message


@pytest.mark.parametrize(
    "garbage",
    [b"", b"\x00" * 64, b"\x00\x00\x00\x0c\x0a\x14" + b"\x00" * 10, b"\xff" * 64],
)
def test_garbage_after_the_greeting_is_an_error_with_a_hint(garbage: bytes) -> None:
    def serve(connection: socket.socket) -> None:
        connection.sendall(b"SSH-2.0-garbage\r\n" + garbage)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(4096):
            pass

    with server(serve) as address:
        failure(address, timeout=2)


class Impostor(paramiko.Ed25519Key):  # type: ignore[misc] # paramiko is untyped
    """Shows a victim's public key and signs with a private key of its own."""

    def __init__(self, victim: SshKey, own: Path) -> None:
        super().__init__(filename=str(own))
        self.victim = paramiko.PKey.from_type_string(
            "ssh-ed25519", parse_recipient(victim.public).key
        )

    def asbytes(self) -> bytes:
        return bytes(self.victim.asbytes())


def serve_as(key: paramiko.PKey) -> Callable[[socket.socket], None]:
    """What a server with this host key does with a connection."""

    def serve(connection: socket.socket) -> None:
        transport = paramiko.Transport(connection)
        transport.add_server_key(key)
        transport.start_server(event=threading.Event())
        transport.join(10)

    return serve


def test_a_server_that_does_not_hold_the_key_it_shows_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    own = make_key("impostor").write(tmp_path / "own")
    with server(serve_as(Impostor(make_key("victim"), own))) as address:
        error = failure(address)
    assert (
        error.message
        == f'"{address}" presents a host key without proving possession of it'
    )
    assert capfd.readouterr() == ("", "")


def test_a_failed_exchange_writes_nothing_to_the_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with start_sshd(tmp_path, rsa_key()) as port:
        failure(f"127.0.0.1:{port}")
    assert capfd.readouterr() == ("", "")


def test_a_server_with_only_an_ecdsa_key_has_no_ed25519_key(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization as form

    private = ec.generate_private_key(ec.SECP256R1())
    text = private.private_bytes(
        form.Encoding.PEM, form.PrivateFormat.OpenSSH, form.NoEncryption()
    ).decode()
    public = private.public_key().public_bytes(
        form.Encoding.OpenSSH, form.PublicFormat.OpenSSH
    )
    with start_sshd(tmp_path, SshKey(text, public.decode())) as port:
        assert "no ed25519 host key" in failure(f"127.0.0.1:{port}").message


def test_many_collections_in_a_row_leave_no_thread_behind(tmp_path: Path) -> None:
    before = threading.active_count()
    with start_sshd(tmp_path, make_key("busy")) as port:
        for _ in range(5):
            collect(f"127.0.0.1:{port}")
    deadline = time.monotonic() + 5  # a closed transport notices within 0.1 s
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before


def test_a_new_key_of_the_server_is_seen_at_once(tmp_path: Path) -> None:
    def fresh() -> SshKey:
        from cryptography.hazmat.primitives import serialization as form

        private = ed25519.Ed25519PrivateKey.generate()
        text = private.private_bytes(
            form.Encoding.PEM, form.PrivateFormat.OpenSSH, form.NoEncryption()
        )
        public = private.public_key().public_bytes(
            form.Encoding.OpenSSH, form.PublicFormat.OpenSSH
        )
        return SshKey(text.decode(), public.decode())

    for number in range(2):
        key = fresh()
        with start_sshd(tmp_path / str(number), key) as port:
            assert collect(f"127.0.0.1:{port}") == parse_recipient(key.public)
