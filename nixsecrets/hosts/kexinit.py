"""The types of host key that an ssh server offers, before any key exchange.

Reads the identification string and the first packet (RFC 4253 sections 4.2, 6, 7.1).
Neither is authenticated; they serve to explain why a key could not be collected.
"""

import socket

from nixsecrets.keys.recipients import ssh_string

_GREETING = b"SSH-2.0-nixsecrets\r\n"
_MESSAGE_KEXINIT = 20
_LONGEST_PACKET = 35000  # bytes; RFC 4253 section 6.1
_LONGEST_GREETING = 50  # lines before the one that starts with SSH- (section 4.2)
_SIGNATURES = {"rsa-sha2-256": "ssh-rsa", "rsa-sha2-512": "ssh-rsa"}


def offered_types(connection: socket.socket) -> tuple[str, ...]:
    """Return the types of host key that the server at the other end has.

    Raises:
        ValueError: it is not an ssh server, or hangs up.
        OSError: the connection broke.
    """
    connection.sendall(_GREETING)
    with connection.makefile("rb") as stream:
        for _ in range(_LONGEST_GREETING):
            line = stream.readline(1024)
            if line.startswith(b"SSH-") or not line:
                break
        length = int.from_bytes(stream.read(4), "big")
        if not 2 < length <= _LONGEST_PACKET:
            raise ValueError("no ssh packet")
        packet = stream.read(length)
    return _host_key_types(packet[1 : length - packet[0]])


def _host_key_types(payload: bytes) -> tuple[str, ...]:
    """Return the key types in a KEXINIT message (its second name list).

    Names of RSA signature algorithms are returned as ssh-rsa.
    """
    if len(payload) < 17 or payload[0] != _MESSAGE_KEXINIT:
        raise ValueError("not the message that opens a key exchange")
    _kex_algorithms, rest = ssh_string(payload[17:])
    names, _ = ssh_string(rest)
    listed = names.decode("ascii", "replace").split(",")
    kinds = (_SIGNATURES.get(name, name) for name in listed)
    return tuple(dict.fromkeys(kind for kind in kinds if kind.isprintable()))
