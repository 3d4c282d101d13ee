"""`nixsecrets scan`: compare the hosts' current keys with the map."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import click

from nixsecrets.cli import show, ui
from nixsecrets.cli.arguments import owner
from nixsecrets.cli.hostkey import KeyOptions, key_options
from nixsecrets.cli.options import json_option
from nixsecrets.cli.session import Session
from nixsecrets.hosts.collect import NoEd25519Error
from nixsecrets.hosts.connect import UnreachableError
from nixsecrets.hosts.scan import Found, Target, collect_all
from nixsecrets.keys.recipients import Recipient
from nixsecrets.map.model import Host, RecipientMap


class Status(StrEnum):
    """The result of comparing a host's key with the map."""

    SAME = "same"
    CHANGED = "changed"
    OTHER_TYPES = "other-types"
    UNREACHABLE = "unreachable"
    FAILED = "failed"


ALARMS = (Status.CHANGED, Status.OTHER_TYPES, Status.FAILED)


@dataclass(frozen=True, slots=True)
class Result:
    """One host: its key in the map (`old`) and the one it presents now (`new`).

    `offers` are the types of its host keys if it has no ed25519 key.
    """

    name: str
    address: str
    status: Status
    old: Recipient
    new: Recipient | None = None
    message: str | None = None
    offers: tuple[str, ...] = ()

    def as_json(self) -> dict[str, object]:
        """Return the host as `--json` shows it."""
        return {
            "name": self.name,
            "address": self.address,
            "status": self.status.value,
            "fingerprint": self.old.fingerprint,
            "found": self.new and self.new.fingerprint,
            "offers": list(self.offers),
            "message": self.message,
        }


@click.command("scan")
@click.argument("names", nargs=-1)
@key_options(collecting_only=True)
@json_option
@click.pass_obj
def command(
    start: Path, names: tuple[str, ...], keys: KeyOptions, *, as_json: bool
) -> int:
    """Compare the hosts' current keys with the map; change nothing.

    Queries all hosts at once and requires them to prove possession of their key.  Exits
    with 1 if a key changed or is no longer served; unreachable hosts are listed and do
    not fail the command.

    \b
    Examples:
      nixsecrets scan
      nixsecrets scan brunnen stein --timeout 2
      nixsecrets scan --json | jq '.hosts[] | select(.status == "changed")'
    """
    hosts = _chosen(Session.open(start).map(), names)
    results = sorted(_scan(hosts, keys), key=lambda result: result.name)
    if as_json:
        report = {"version": 1, "hosts": [result.as_json() for result in results]}
        ui.answer_text(json.dumps(report, indent=2))
    else:
        for line in _lines(results):
            ui.answer(line)
    return 1 if any(result.status in ALARMS for result in results) else 0


def _chosen(recipient_map: RecipientMap, names: Sequence[str]) -> list[Host]:
    wanted = [owner(recipient_map, name, "host") for name in names]
    return [host for host in recipient_map.hosts if not names or host in wanted]


def _scan(hosts: Sequence[Host], keys: KeyOptions) -> Iterator[Result]:
    old = {host.name: key for host in hosts if (key := host.ssh_key) is not None}
    for host in hosts:
        if host.name not in old:
            ui.warn(f"{host.name} has no ssh-ed25519 key in the map; not scanned")
    targets = [Target(h.name, h.address or h.name) for h in hosts if h.name in old]
    with ui.progress("scanning", len(targets)) as tick:
        for found in collect_all(targets, keys.manner):
            tick()
            yield _result(found, old[found.target.name])


def _result(found: Found, old: Recipient) -> Result:
    name, address, error = found.target.name, found.target.address, found.error
    message = error.message if error else None
    match error:
        case None:
            status = Status.SAME if found.key == old else Status.CHANGED
            return Result(name, address, status, old, found.key)
        case NoEd25519Error():
            status, offers = Status.OTHER_TYPES, error.offers
            return Result(name, address, status, old, message=message, offers=offers)
        case UnreachableError():
            return Result(name, address, Status.UNREACHABLE, old, message=message)
        case _:
            return Result(name, address, Status.FAILED, old, message=message)


def _lines(results: Sequence[Result]) -> Iterator[str]:
    width = max((len(result.name) for result in results), default=0)
    for result in results:
        head = f"  {result.name:<{width}}  {result.status:<11}  "
        match result.status:
            case Status.SAME:
                yield head + result.old.fingerprint
            case Status.CHANGED if result.new is not None:
                yield head + f"was {result.old.fingerprint}"
                yield " " * len(head) + f"now {result.new.fingerprint}"
                again = f"nixsecrets rotate-host {result.name}"
                yield " " * len(head) + f"find out why; if reinstalled: {again}"
            case _:
                yield head + (result.message or "")
    counts = (
        f"{sum(result.status is status for result in results)} {status}"
        for status in Status
        if any(result.status is status for result in results)
    )
    yield f"{show.counted(len(results), 'host')}: {', '.join(counts) or 'none'}"
