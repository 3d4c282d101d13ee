"""`nixsecrets init`: create a map, or adopt existing secrets."""

import datetime
import getpass
import os
import re
from pathlib import Path

import click

from nixsecrets.apply.apply import Tools, apply
from nixsecrets.cli import consent, ui
from nixsecrets.cli.adoption import Wish, adopt, found
from nixsecrets.cli.arguments import keys_from_file
from nixsecrets.cli.outcome import git_add
from nixsecrets.cli.session import Session, keyring, unlock
from nixsecrets.errors import DeclinedError, IdentityError, NixsecretsError, quoted
from nixsecrets.keys.find import create_age_identity
from nixsecrets.keys.identities import Keyring
from nixsecrets.keys.identityfile import identity_file_text
from nixsecrets.keys.recipients import Kind, Recipient
from nixsecrets.map.fresh import fresh_map
from nixsecrets.plan import approvals
from nixsecrets.plan.diff import fresh_plan
from nixsecrets.repo.files import write_durably
from nixsecrets.repo.tree import Repo
from nixsecrets.world.world import MAP_NAME, encrypted_files, fresh_world

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
    help="Your public key (default: detected).",
)
@click.option("--create-key", is_flag=True, help="Create an age key if there is none.")
@click.option(
    "--rules",
    type=click.Path(path_type=Path, exists=True),
    metavar="FILE",
    help="agenix rules to adopt (default: detected).",
)
@click.option(
    "--sops-config",
    type=click.Path(path_type=Path, exists=True),
    metavar="FILE",
    help=".sops.yaml to adopt (default: detected).",
)
@click.option("--sops-only", is_flag=True, help="Do not adopt agenix rules.")
@click.option(
    "--keep-rules", is_flag=True, help="Keep the old rules as secrets.nix.orig."
)
@click.option(
    "--dry-run", is_flag=True, help="Show the map and the comparison, write nothing."
)
@click.option("--yes", "-y", is_flag=True, help="Adopt without asking.")
@click.option(
    "--git-add", "stage", is_flag=True, help="Stage the written files (git add)."
)
@click.pass_obj
def command(
    start: Path,
    name: str | None,
    key_file: Path | None,
    rules: Path | None,
    sops_config: Path | None,
    *,
    create_key: bool,
    sops_only: bool,
    keep_rules: bool,
    dry_run: bool,
    yes: bool,
    stage: bool,
) -> None:
    """Create a map in this folder, or adopt its existing secrets.

    If there is a .sops.yaml or a file of agenix rules, creates the map from them,
    verifies that everyone can read the same files as before, and touches no secret.

    Otherwise writes nixsecrets.toml, .sops.yaml, secrets/secrets.nix, nixsecrets.lock
    and three lines of .gitattributes.  You become the first reader of everything, with
    the age or ssh key you have.

    \b
    Examples:
      nixsecrets init
      nixsecrets init --user alice --key-file ~/.ssh/id_ed25519.pub
      nixsecrets init --dry-run
      nixsecrets init --rules nix/secrets.nix --sops-config infra/.sops.yaml
    """
    repo = Repo.at(start)
    if (repo.root / MAP_NAME).exists():
        raise NixsecretsError(f"{MAP_NAME} is already here", "nixsecrets status")
    wish = Wish(rules, sops_config, sops_only, keep_rules, dry_run, yes, stage)
    if fleets := found(repo, wish):
        with Session(repo).writing(dry_run=dry_run):
            adopt(repo, fleets, wish)
        return
    _refuse_existing(repo)
    _start(repo, name, key_file, create_key=create_key, dry_run=dry_run, stage=stage)


def _start(
    repo: Repo,
    name: str | None,
    key_file: Path | None,
    *,
    create_key: bool,
    dry_run: bool,
    stage: bool,
) -> None:
    """Write a first map and what is generated from it."""
    keys = keys_from_file(key_file) if key_file else _operator(create=create_key)
    user = name or _user_name()
    text = fresh_map(
        users={user: keys}, sops_config=SOPS_CONFIG, agenix_rules=AGENIX_RULES
    )
    if dry_run:
        ui.answer_text(text)
        return
    world = fresh_world(repo, text)
    plan = fresh_plan(world)
    session = Session(repo)
    with session.exclusive():
        outcome = apply(plan, world, Tools(Keyring(), unlock))
    for step in outcome.done:
        ui.say(f"wrote {step.path}")
    readers = approvals.readers_of(world.map)
    consent.remember(repo, approvals.approving(readers, world.map, consent.today()))
    ui.say(f"{user} reads every secret; next: nixsecrets add-host NAME --address …")
    git_add(session, outcome.done, stage=stage)


def _refuse_existing(repo: Repo) -> None:
    """Raise where there is something that a fresh start would overwrite or hide."""
    there = [n for n in ELSEWHERE if os.path.lexists(repo.root / n)]
    there += encrypted_files(repo)[:3]
    if there:
        names = ", ".join(quoted(n) for n in there)
        raise NixsecretsError(
            f"this repository has secrets already: {names}",
            "name what says who may read them: --rules FILE, --sops-config FILE",
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
