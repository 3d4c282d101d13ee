"""`nixsecrets init`: create a map, or adopt existing secrets."""

import datetime
import getpass
import os
import posixpath
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from nixsecrets.adopt.sources import Fleet, discovered
from nixsecrets.adopt.summary import Prepared, prepare_all, summary
from nixsecrets.adopt.switch import Adoption
from nixsecrets.apply.apply import Tools, apply
from nixsecrets.cli import consent, show, ui
from nixsecrets.cli.arguments import keys_from_file
from nixsecrets.cli.outcome import git_add
from nixsecrets.cli.session import Session, keyring, unlock
from nixsecrets.errors import (
    DeclinedError,
    IdentityError,
    NixsecretsError,
    UsageError,
    path_text,
    quoted,
)
from nixsecrets.findings.lint.drift import with_content
from nixsecrets.keys.identities import Keyring, X25519Identity
from nixsecrets.keys.identityfile import identity_file_text
from nixsecrets.keys.recipients import Kind, Recipient
from nixsecrets.map.fresh import fresh_map
from nixsecrets.plan import approvals
from nixsecrets.plan.diff import fresh_plan
from nixsecrets.plan.model import Plan, Step
from nixsecrets.repo.files import write_durably
from nixsecrets.repo.worktree import Repo
from nixsecrets.world.world import MAP_NAME, World, encrypted_files, fresh_world

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
@click.option(
    "--impure",
    is_flag=True,
    help="Evaluate agenix rules as agenix does, without a sandbox.",
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
    impure: bool,
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
    with ui.waiting("looking for rules of agenix and sops"):
        fleets = _fleets(repo, rules, sops_config, sops_only=sops_only)
    if fleets:
        if impure and not yes:
            ui.confirm(
                "evaluate agenix rules without a sandbox, with network and all that"
                " you can read?",
                hint="agree in advance with --yes",
            )
        with Session(repo).writing(dry_run=dry_run):
            with ui.waiting("comparing access under the old rules and the map"):
                ready, left = prepare_all(
                    repo,
                    fleets,
                    os.environ,
                    keep_rules=keep_rules,
                    all_or_none=rules is not None or sops_config is not None,
                    impure=impure,
                )
            for one in left:
                ui.warn(one.message, one.hint)
            _adopt(ready, dry_run=dry_run, yes=yes, stage=stage)
        return
    _refuse_existing(repo)
    _start(repo, name, key_file, create_key=create_key, dry_run=dry_run, stage=stage)


def _fleets(
    repo: Repo, rules: Path | None, config: Path | None, *, sops_only: bool
) -> list[Fleet]:
    """Return the folders to adopt: those of the options, else all that are found."""
    if rules is None and config is None:
        fleets = discovered(repo)
    else:
        named = (config, rules)
        fleets = [Fleet("", *(None if p is None else _below(repo, p) for p in named))]
    if sops_only:
        fleets = [Fleet(one.folder, one.config) for one in fleets if one.config]
    return fleets


def _below(repo: Repo, path: Path) -> str:
    place = path.resolve()
    if not place.is_relative_to(repo.root) or not place.is_file():
        raise UsageError(
            f"{path}: no file below {repo.root}", "run this in a folder above it"
        )
    return place.relative_to(repo.root).as_posix()


def _adopt(ready: Sequence[Prepared], *, dry_run: bool, yes: bool, stage: bool) -> None:
    """Show what adopting each folder would write, ask, and write it."""
    write_line = ui.answer if dry_run else ui.say
    for one in ready:
        for line in (*summary(one, with_map=dry_run), *_drift(one.adoption)):
            write_line(line)
        _warn_of_ignored(one.adoption.world.repo, one.adoption.plan)
    if dry_run:
        return
    if not yes:
        ui.confirm("write this?", hint="agree in advance with --yes")
    for one in ready:
        world, folder = one.adoption.world, one.fleet.folder
        steps = _write(one.adoption.plan, world, folder)
        git_add(Session(world.repo), steps, stage=stage, below=folder)


def _warn_of_ignored(repo: Repo, plan: Plan) -> None:
    """Name the files that git would ignore: a flake does not see them."""
    git = repo.git
    paths = [step.path for step in plan.steps]
    hidden = [p for p in paths if git and git.ignores(repo.root / p)]
    if hidden:
        ui.warn(
            f"git ignores {', '.join(map(path_text, hidden))}",
            f"let .gitignore except it: !{MAP_NAME}",
        )


def _drift(switch: Adoption) -> Iterator[str]:
    plan = with_content(switch.findings, switch.world)
    lines = [*show.drift_lines(plan), *show.problem_lines(plan.problems)]
    if lines:
        yield "existing drift (nixsecrets status shows it too):"
        yield from lines


def _write(plan: Plan, world: World, folder: str = "") -> tuple[Step, ...]:
    """Write a new map with its generated files, and approve its keys in this clone.

    `folder` is the map's folder relative to the working directory.
    """
    outcome = apply(plan, world, Tools(Keyring(), unlock))
    for step in outcome.done:
        ui.say(f"wrote {posixpath.join(folder, step.path)}")
    readers = approvals.readers_of(world.map)
    agreed = approvals.approval_edit(readers, world.map, consent.today())
    consent.remember(world.repo, agreed)
    return outcome.done


def _start(
    repo: Repo,
    name: str | None,
    key_file: Path | None,
    *,
    create_key: bool,
    dry_run: bool,
    stage: bool,
) -> None:
    """Write a new map whose only reader is the operator, with its generated files."""
    keys = keys_from_file(key_file) if key_file else _operator(create=create_key)
    user = name or _user_name()
    text = fresh_map(
        users={user: keys}, sops_config=SOPS_CONFIG, agenix_rules=AGENIX_RULES
    )
    if dry_run:
        ui.answer_text(text)
        return
    world = fresh_world(repo, text)
    _warn_of_ignored(repo, fresh_plan(world))
    with Session(repo).exclusive():
        steps = _write(fresh_plan(world), world)
    ui.say(f"{user} reads every secret; next: nixsecrets add-host NAME --address …")
    git_add(Session(repo), steps, stage=stage)


def _refuse_existing(repo: Repo) -> None:
    """Raise NixsecretsError if a new map would overwrite or hide existing files."""
    there = [name for name in ELSEWHERE if _in_use(repo, name)]
    there += encrypted_files(repo)[:3]
    if there:
        names = ", ".join(quoted(n) for n in there)
        raise NixsecretsError(
            f"this repository has secrets already: {names}",
            "name their configuration: --rules FILE, --sops-config FILE",
        )


def _in_use(repo: Repo, name: str) -> bool:
    """Return whether a configuration is there, which a new map would hide or replace.

    A `secrets.nix` beside the map is mostly a NixOS module.
    """
    place = repo.root / name
    if name == "secrets.nix" and place.is_file():
        return b"publicKeys" in repo.read(name)
    return os.path.lexists(place)


def _user_name() -> str:
    try:
        name = re.sub(r"[^A-Za-z0-9._@-]", "", getpass.getuser()).lstrip("._@-")
    except (KeyError, OSError):
        name = ""
    return name or "admin"


def _operator(*, create: bool) -> tuple[Recipient, ...]:
    """Return the operator's public key, preferably an age key; `create` makes one."""
    ring = keyring(())
    keys = [i.recipients[0] for i in (*ring.identities, *ring.locked) if i.recipients]
    for kind in PREFERRED:
        for key in keys:
            if key.kind is kind:
                ui.say(f"your key: {key.kind} {key.fingerprint}")
                return (key,)
    return (_create_key(agreed=create),)


def _create_key(*, agreed: bool) -> Recipient:
    """Create an age key in sops' keys.txt (mode 0600), after asking; return it.

    Raises:
        IdentityError: keys.txt exists without a usable key.
        DeclinedError: the answer was no, or there is no terminal.
    """
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
    identity = X25519Identity.generate(str(path))
    recipient = identity.recipients[0]
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    now = datetime.datetime.now(datetime.UTC)
    text = identity_file_text(identity.secret_text(), recipient.text, now)
    write_durably(str(path), text.encode())
    ui.say(f"created {path}; keep a copy in a safe place")
    return recipient
