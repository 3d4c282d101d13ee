"""`nixsecrets init`: the fresh start of a fleet."""

import datetime
import getpass
import os
import re
from pathlib import Path

import click

from nixsecrets.apply import Tools, apply
from nixsecrets.cli import ui
from nixsecrets.cli.keyargs import keys_from_file
from nixsecrets.cli.road import git_add
from nixsecrets.cli.session import Session, keyring, unlock
from nixsecrets.diff import fresh_plan
from nixsecrets.errors import DeclinedError, IdentityError, NixsecretsError, quoted
from nixsecrets.keys.find import create_age_identity
from nixsecrets.keys.identities import Keyring
from nixsecrets.keys.identityfile import identity_file_text
from nixsecrets.keys.recipients import Kind, Recipient
from nixsecrets.policy.fresh import fresh_map
from nixsecrets.repo.files import write_durably
from nixsecrets.repo.tree import Repo
from nixsecrets.world import MAP_NAME, encrypted_files, fresh_world

SOPS_CONFIG = ".sops.yaml"
AGENIX_RULES = "secrets/secrets.nix"
ELSEWHERE = (
    SOPS_CONFIG,
    ".sops.yml",
    AGENIX_RULES,
    "secrets.nix",
    "secrets/.sops.yaml",
)
PREFERRED = (Kind.X25519, Kind.SSH_ED25519, Kind.SSH_RSA)


@click.command("init")
@click.option("--user", "name", metavar="NAME", help="Your name in the map.")
@click.option(
    "--key-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Your public key, instead of the one that is found.",
)
@click.option("--create-key", is_flag=True, help="Create an age key if there is none.")
@click.option("--git-add", "stage", is_flag=True, help="Stage the files written.")
@click.pass_obj
def command(
    start: Path,
    name: str | None,
    key_file: Path | None,
    *,
    create_key: bool,
    stage: bool,
) -> None:
    """Start a fleet in this folder.

    Writes nixsecrets.toml, .sops.yaml, secrets/secrets.nix, nixsecrets.lock and two
    lines of .gitattributes.  You, with the age or ssh key you have, become the first
    reader of everything.

    \b
    Examples:
      nixsecrets init
      nixsecrets init --user alice --key-file ~/.ssh/id_ed25519.pub
    """
    repo = Repo.at(start)
    _refuse_existing(repo)
    keys = keys_from_file(key_file) if key_file else _operator(create=create_key)
    user = name or _user_name()
    text = fresh_map(
        users={user: keys}, sops_config=SOPS_CONFIG, agenix_rules=AGENIX_RULES
    )
    world = fresh_world(repo, text)
    plan = fresh_plan(world)
    session = Session(repo)
    with session.exclusive():
        outcome = apply(plan, world, Tools(Keyring(), unlock))
    for step in outcome.done:
        ui.say(f"wrote {step.path}")
    ui.say(f"{user} reads every secret; next: nixsecrets add-host NAME --address …")
    git_add(session, outcome.done, stage=stage)


def _refuse_existing(repo: Repo) -> None:
    """Raise where there is something that a fresh start would overwrite or hide."""
    if (repo.root / MAP_NAME).exists():
        raise NixsecretsError(f"{MAP_NAME} is already here", "nixsecrets status")
    found = [n for n in ELSEWHERE if os.path.lexists(repo.root / n)]
    found += encrypted_files(repo)[:3]
    if found:
        names = ", ".join(quoted(n) for n in found)
        raise NixsecretsError(
            f"this repository has secrets already: {names}",
            "a fresh start would not know who may read them; nothing was written",
        )


def _user_name() -> str:
    try:
        name = re.sub(r"[^A-Za-z0-9._@-]", "", getpass.getuser()).lstrip("._@-")
    except (KeyError, OSError):
        name = ""
    return name or "admin"


def _operator(*, create: bool) -> tuple[Recipient, ...]:
    """Return the operator's public key: an age key before an ssh key."""
    ring = keyring(())
    keys = [i.recipients[0] for i in (*ring.identities, *ring.locked) if i.recipients]
    for kind in PREFERRED:
        for key in keys:
            if key.kind is kind:
                ui.say(f"your key: {key.kind} {key.fingerprint}")
                return (key,)
    return (_create_key(agreed=create),)


def _create_key(*, agreed: bool) -> Recipient:
    """Create an age key where sops looks for one, mode 0600; ask first."""
    base = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    path = base / "sops" / "age" / "keys.txt"
    if path.exists():
        raise IdentityError(
            f"no usable key in {path} or ~/.ssh", "give yours with --key-file"
        )
    if not agreed:
        ui.say("you have neither an age key nor an ssh key")
        try:
            ui.confirm(f"create an age key at {path}?", hint="agree with --create-key")
        except DeclinedError as error:
            hint = error.hint or "give a public key with --key-file"
            raise DeclinedError(error.message, hint) from None
    secret, recipient = create_age_identity()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    now = datetime.datetime.now(datetime.UTC)
    text = identity_file_text(secret, recipient.text, now)
    write_durably(str(path), text.encode())
    ui.say(f"created {path}; keep a copy in a safe place")
    return recipient
