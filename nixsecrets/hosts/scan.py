"""Collects the keys of many hosts in parallel.

Uses threads, because a collection mostly waits.  They are daemons, so that Ctrl-C does
not wait for silent hosts.
"""

import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nixsecrets.errors import NixsecretsError
from nixsecrets.hosts.collect import collect
from nixsecrets.hosts.sshconfig import Endpoint, resolve
from nixsecrets.keys.recipients import Recipient

WORKERS = 32
PER_MACHINE = 4
"""Connections to one machine at a time: sshd drops more than ten (MaxStartups)."""


@dataclass(frozen=True, slots=True)
class Target:
    """A host by its name in the map, and the address to ask."""

    name: str
    address: str


@dataclass(frozen=True, slots=True)
class Found:
    """The result for one host: its key, or why it could not be collected."""

    target: Target
    endpoint: Endpoint | None
    key: Recipient | None = None
    error: NixsecretsError | None = None


@dataclass(frozen=True, slots=True)
class Manner:
    """How to collect: timeout in seconds, number of retries, ssh_config file."""

    timeout: float = 5.0
    retries: int = 1
    config: Path | None = None


def collect_all(targets: Sequence[Target], manner: Manner) -> Iterator[Found]:
    """Yield the result for each target as it arrives.

    An exception other than NixsecretsError in a thread is raised here.
    """
    todo: queue.SimpleQueue[Target] = queue.SimpleQueue()
    done: queue.SimpleQueue[Found | BaseException] = queue.SimpleQueue()
    for target in targets:
        todo.put(target)
    gates = _Gates()

    def work() -> None:
        while True:
            try:
                target = todo.get_nowait()
            except queue.Empty:
                return
            try:
                done.put(_found(target, manner, gates))
            except BaseException as error:  # noqa: BLE001 - raised again below
                done.put(error)

    for _ in range(min(WORKERS, len(targets))):
        threading.Thread(target=work, daemon=True).start()
    for _ in targets:
        found = done.get()
        if isinstance(found, BaseException):
            raise found
        yield found


class _Gates:
    """A semaphore for each machine, which admits a few connections at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._gates: dict[str, threading.Semaphore] = {}

    def of(self, machine: str) -> threading.Semaphore:
        """Return the semaphore of a machine, the same one for every thread."""
        with self._lock:
            gate = threading.Semaphore(PER_MACHINE)
            return self._gates.setdefault(machine, gate)


def _found(target: Target, manner: Manner, gates: _Gates) -> Found:
    endpoint = None
    try:
        endpoint = resolve(target.address, config=manner.config)
        with gates.of(endpoint.machine):
            key = collect(endpoint, timeout=manner.timeout, retries=manner.retries)
    except NixsecretsError as error:
        return Found(target, endpoint, error=error)
    return Found(target, endpoint, key)
