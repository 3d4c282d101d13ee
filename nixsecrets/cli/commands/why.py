"""`nixsecrets why`: explain one file."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nixsecrets.cli import ui
from nixsecrets.cli.options import identity_option
from nixsecrets.cli.session import Session, keyring
from nixsecrets.errors import IdentityError, SecretFileError, path_text
from nixsecrets.files.state import (
    Actual,
    Damaged,
    Exact,
    NotSecret,
    Recorded,
    State,
    Stated,
    Unknown,
)
from nixsecrets.keys.forms import Backend
from nixsecrets.keys.recipients import Recipient
from nixsecrets.map.model import Desired
from nixsecrets.world.world import MAP_NAME, Found, World

if TYPE_CHECKING:  # identities take 20 ms; they load while git looks for the file
    from nixsecrets.keys.identities import Identity, Keyring, Locked


@click.command("why")
@click.argument("path", type=click.Path(path_type=Path))
@identity_option
@click.pass_obj
def command(start: Path, path: Path, identity: tuple[Path, ...]) -> None:
    """Explain one file: its rule, desired and actual recipients, and which of your
    identities opens it.

    \b
    Examples:
      nixsecrets why secrets/powerdns.yaml
    """
    session, name, tracked = Session.at(start, path)
    world = session.world(only=name, tracked=tracked)
    found = world.files.get(name)
    for line in explain(world, name, found, keyring(identity)):
        ui.answer(line)


def explain(
    world: World, name: str, found: Found | None, ring: "Keyring"
) -> Iterator[str]:
    """Yield the explanation, line by line."""
    want = world.desired(name)
    conflict = world.conflicts.get(name)
    what = conflict.message if conflict is not None else _what(found)
    yield f"{path_text(name)}: {what}"
    yield from _rule(want, found)
    if isinstance(found, Actual):
        yield f"actual recipients ({how_sure(found.state)}):"
        yield from _found(world, found, want)
        yield from _mine(world, found, ring)


def _what(found: Found | None) -> str:
    match found:
        case None:
            return "no such secret yet"
        case NotSecret():
            return "not encrypted"
        case Damaged():
            return f"corrupt: {found.reason}"
        case Actual():
            return "an age file" if found.backend is Backend.AGE else "a sops file"


def _rule(want: Desired | None, found: Found | None) -> Iterator[str]:
    if want is None:
        yield "no rule of the map matches it"
        return
    yield f"rule: {want.rule.pattern} ({MAP_NAME}:{want.rule.line})"
    if want.unclaimed is not None:
        yield f"{want.unclaimed} is not in the map: only `always` may read it"
    yield "desired recipients:"
    known = isinstance(found, Actual) and not isinstance(found.state, Unknown)
    actual = set(found.recipients) if isinstance(found, Actual) and known else None
    for reader in want.readers:
        missing = actual is not None and reader.recipient not in actual
        note = "  (not an actual recipient: nixsecrets rekey)" if missing else ""
        yield f"  {reader.name}  {reader.recipient.shown}{note}"


def how_sure(state: State) -> str:
    """Return how certain a file's recipients are, for a heading."""
    match state:
        case Exact():
            return "from the tags of its stanzas"
        case Recorded():
            return f"from the lock: {state.how}"
        case Stated():
            return "from the file's metadata"
        case Unknown():
            return f"unknown: {state.reason}"


def _found(world: World, found: Actual, want: Desired | None) -> Iterator[str]:
    if isinstance(found.state, Unknown):
        for stanza in found.state.seen:
            yield f"  {stanza}"
        yield from _others(found)
        return
    wanted = {r.recipient.key_id: r.recipient for r in want.readers} if want else {}
    for recipient in found.recipients:
        note = _note(recipient, wanted.get(recipient.key_id))
        yield f"  {world.book.label(recipient)}  {recipient.shown}{note}"
    yield from _others(found)


def _others(found: Actual) -> Iterator[str]:
    """Yield the recipients that are not age keys."""
    for other in found.others:
        yield f"  {other}  (not in the map; nixsecrets rekey drops it)"


def _note(recipient: Recipient, wanted: Recipient | None) -> str:
    if wanted is None:
        return "  (not desired)"
    return "" if wanted == recipient else "  (wrong form)"


def _verdict(
    world: World, found: Actual, one: "Identity | Locked", *, named: bool
) -> str:
    """Return whether an identity opens a file, tried if that needs no prompt."""
    from nixsecrets.keys.identities import Locked, PluginIdentity  # as above

    if isinstance(one, Locked | PluginIdentity):
        if named:
            return "should open it (not tried)"
        known = found.recipients and one.recipients
        return "does not open it" if known else "may open it (not tried)"
    if found.backend is Backend.SOPS:
        return _sops_verdict(world, found, one)
    # what opens a file takes 30 ms, and differs by its backend
    from nixsecrets.files.age import verify
    from nixsecrets.files.decrypt import Bench
    from nixsecrets.values.read import plaintext_to

    try:
        bench = Bench((one,), Path())
        plaintext_to(world, found, bench, verify.Digest())  # decrypts, keeps nothing
    except IdentityError:
        return "does not open it"
    except SecretFileError as error:
        return f"is a reader, but {error.message}"
    return "opens it"


def _sops_verdict(world: World, found: Actual, one: "Identity") -> str:
    from nixsecrets.files.sops.integrity import WRONG_MAC, Mac
    from nixsecrets.values.macs import verified

    shown = verified(found.path, world.repo.read(found.path), (one,))
    if shown.types:
        return f"has its data key, but {shown.types[0].message}"
    match shown.mac:
        case Mac.FITS:
            return "opens it"
        case Mac.WRONG:
            return f"has its data key, but {WRONG_MAC}"
        case Mac.UNSURE | Mac.SPLIT:
            return "may open it (not tried: only sops can parse its format)"
        case Mac.UNREAD:
            return "does not open it"


def _mine(world: World, found: Actual, ring: "Keyring") -> Iterator[str]:
    """Yield which of the operator's identities open the file."""
    readers = {recipient.key_id for recipient in found.recipients}
    yield "your identities:"
    for identity in (*ring.identities, *ring.locked):
        keys = {recipient.key_id for recipient in identity.recipients}
        verdict = _verdict(world, found, identity, named=bool(keys & readers))
        yield f"  {identity.source}: {verdict}{_stock(found, identity.recipients)}"
    for broken in ring.broken:
        yield f"  {broken.source}: {broken.reason}"


def _stock(found: Actual, keys: tuple[Recipient, ...]) -> str:
    """Return a note if stock sops cannot use an ssh key that we can, else ""."""
    if found.backend is not Backend.SOPS or not keys or keys[0].kind != "ssh-ed25519":
        return ""
    if keys[0] in found.recipients or keys[0].converted() not in found.recipients:
        return ""
    return " (stock sops needs its converted form in keys.txt: ssh-to-age -private-key)"
