"""Many hosts at once: collect each one's key, a few at a time from one machine.

Threads, since a collection mostly waits.  They end with the program: Ctrl-C does not
wait for silent hosts.  What a result means for the map is not decided here.
"""

import queue
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nixsecrets.errors import NixsecretsError
from nixsecrets.hosts.collect import collect
from nixsecrets.hosts.sshconfig import Endpoint, resolve
from nixsecrets.keys.recipients import Recipient

WORKERS = 32
PER_MACHINE = 4
"""sshd drops bursts of unauthenticated connections from the tenth on (MaxStartups)."""


@dataclass(frozen=True, slots=True)
class Target:
    """A host by its name in the map, and the address to ask."""

    name: str
    address: str


@dataclass(frozen=True, slots=True)
class Found:
    """What a host showed: its key, or why there is none."""

    target: Target
    endpoint: Endpoint | None
    key: Recipient | None = None
    error: NixsecretsError | None = None


@dataclass(frozen=True, slots=True)
class Manner:
    """How to collect: seconds to wait, times to try again, ssh_config to use."""

    timeout: float = 5.0
    retries: int = 1
    config: Path | None = None


def collect_all(targets: Sequence[Target], manner: Manner) -> Iterator[Found]:
    """Yield what each target showed, as soon as it is known.

    An exception that is no NixsecretsError is raised here, not lost in its thread.
    """
    todo: queue.SimpleQueue[Target] = queue.SimpleQueue()
    done: queue.SimpleQueue[Found | BaseException] = queue.SimpleQueue()
    for target in targets:
        todo.put(target)
    gates: dict[str, threading.Semaphore] = defaultdict(
        lambda: threading.Semaphore(PER_MACHINE)
    )

    def work() -> None:
        while True:
            try:
                target = todo.get_nowait()
            except queue.Empty:
                return
            try:
                done.put(_found(target, manner, gates.__getitem__))
            except BaseException as error:  # noqa: BLE001 - raised again below
                done.put(error)

    for _ in range(min(WORKERS, len(targets))):
        threading.Thread(target=work, daemon=True).start()
    for _ in targets:
        found = done.get()
        if isinstance(found, BaseException):
            raise found
        yield found


def _found(
    target: Target, manner: Manner, gate: Callable[[str], threading.Semaphore]
) -> Found:
    endpoint = None
    try:
        endpoint = resolve(target.address, config=manner.config)
        with gate(endpoint.machine):
            key = collect(endpoint, timeout=manner.timeout, retries=manner.retries)
    except NixsecretsError as error:
        return Found(target, endpoint, error=error)
    return Found(target, endpoint, key)
