"""Collects a host's key and determines why it can be trusted.

A key that nothing vouches for has no rung: a person has to decide.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nixsecrets.errors import NixsecretsError, UsageError, quoted
from nixsecrets.hosts import knownhosts, trust
from nixsecrets.hosts.collect import collect
from nixsecrets.hosts.login import KEY_PATH, key_over_login
from nixsecrets.hosts.scan import Found, Manner, Target, collect_all
from nixsecrets.hosts.sshconfig import Endpoint, resolve
from nixsecrets.hosts.trust import KeyAlarmError, Rung
from nixsecrets.keys.recipients import Recipient


@dataclass(frozen=True, slots=True)
class Collected:
    """A collected key, and the rung on which it is trusted without asking, if any.

    `stale` is the `FILE:LINE` where known_hosts has another key for the host, and the
    name there; None if it has none.
    """

    key: Recipient
    rung: Rung | None
    stale: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A host that may be added: its key, or why it has none that can be trusted."""

    name: str
    found: Collected | None = None
    error: NixsecretsError | None = None


def shown(address: str, manner: Manner) -> Recipient:
    """Return the key that a host presents now, not verified.

    Raises:
        NixsecretsError: it cannot be collected.
    """
    where = resolve(address, config=manner.config)
    return collect(where, timeout=manner.timeout, retries=manner.retries)


def collected(
    name: str,
    address: str,
    manner: Manner,
    *,
    fingerprint: str | None = None,
    login: bool = False,
    replaces: Recipient | None = None,
) -> Collected:
    """Collect a host's key and compare it with fingerprint, known_hosts and key file.

    With `login`, the host's key file is read if nothing else vouches for the key.
    `replaces` is the key that the new one will replace: known_hosts may still have it.

    Raises:
        KeyAlarmError: one of them contradicts the key.
        NixsecretsError: it cannot be collected.
    """
    wanted = fingerprint and trust.parse_fingerprint(fingerprint)
    where = resolve(address, config=manner.config)
    key = collect(where, timeout=manner.timeout, retries=manner.retries)
    found = _compared(name, key, where, fingerprint=wanted, replaces=replaces)
    if found.rung is None and login:
        return Collected(key, _logged_in(name, key, where, manner.timeout))
    return found


def _compared(
    name: str,
    key: Recipient,
    where: Endpoint,
    *,
    fingerprint: str | None = None,
    replaces: Recipient | None = None,
) -> Collected:
    known = knownhosts.standing(where, key)
    rung = trust.climb(name, key, known, fingerprint=fingerprint, replaces=replaces)
    stale = None
    if rung is Rung.FINGERPRINT and known.others:
        stale = known.others[0][0], knownhosts.lookup_names(where)[0]
    return Collected(key, rung, stale)


def _logged_in(name: str, key: Recipient, where: Endpoint, timeout: float) -> Rung:
    """Compare the collected key with the host's key file, read over ssh.

    Raises:
        KeyAlarmError: the file has another key.
    """
    file = key_over_login(where, timeout=timeout)
    if file != key:
        raise KeyAlarmError(
            f"{name} shows {key.fingerprint}, but its {KEY_PATH} is {file.fingerprint}",
            "nothing was changed; restart sshd there, or find out which machine "
            "answered",
        )
    return Rung.LOGIN


def candidates(names: Sequence[str], manner: Manner) -> Iterator[Candidate]:
    """Collect the keys of hosts at the addresses `names`; yield each as it arrives."""
    for found in collect_all([Target(name, name) for name in names], manner):
        yield _candidate(found)


def _candidate(found: Found) -> Candidate:
    name = found.target.name
    if found.key is None or found.endpoint is None:
        return Candidate(name, error=found.error)
    try:
        return Candidate(name, _compared(name, found.key, found.endpoint))
    except KeyAlarmError as error:
        return Candidate(name, error=error)


def names_of_folders(folder: Path) -> list[str]:
    """Return the names of the folders in `folder` that start with neither `.` nor `_`.

    Raises:
        UsageError: it cannot be listed.
    """
    try:
        names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    except OSError as error:
        why = (error.strerror or "cannot be read").lower()
        raise UsageError(f"{quoted(str(folder))}: {why}", "pass --hosts-dir") from None
    return [name for name in names if not name.startswith((".", "_"))]
