"""`nixsecrets check`: report drift, without a private key."""

import os
from pathlib import Path

import click

from nixsecrets.cli import ui
from nixsecrets.cli.options import format_option, json_option, packed
from nixsecrets.cli.session import Session
from nixsecrets.flake.declarations import Source

_DECLARED = (
    click.option(
        "--flake",
        is_flag=False,
        flag_value=".",
        metavar="[REF]",
        help="Check the secrets declared by a flake (needs nix).",
    ),
    click.option(
        "--declared",
        "file",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="Check the declarations in a file written by --save (no nix).",
    ),
    click.option(
        "--host",
        "hosts",
        multiple=True,
        metavar="NAME",
        help="Check only this configuration (repeatable).",
    ),
    click.option(
        "--jobs",
        type=click.IntRange(1, 64),
        default=min(4, os.cpu_count() or 1),
        show_default="one per core, 4 at most",
        help="Number of parallel evaluations.",
    ),
    click.option(
        "--save",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="Write the flake's declarations to FILE.",
    ),
    click.option(
        "--secrets",
        type=click.Path(path_type=Path, file_okay=False),
        metavar="DIR",
        help="The folder of the map, if it is not in the flake's repository.",
    ),
)


@click.command("check")
@packed(_DECLARED, source=Source)
@click.option("--strict", is_flag=True, help="Also fail on warnings and notes.")
@format_option
@json_option
@click.pass_obj
def command(
    start: Path, *, source: Source, strict: bool, form: str, as_json: bool
) -> int:
    """Report drift between map and repository; for CI and hooks.

    Exits with 1 on errors.  Needs only git: no private key, sops, nix or network.

    With git history, also finds removed keys that can read files again, and secrets
    that are older versions of themselves.  If an identity is available without a
    prompt, also verifies the MAC of sops files that differ from HEAD and the types of
    values in sops files.  With --flake, evaluates what each configuration declares
    (needs nix) and reports secrets that the machine could not decrypt.

    \b
    Examples:
      nixsecrets check
      nixsecrets check --flake                      # every host of this flake
      nixsecrets check --flake --host brunnen
      nixsecrets check --flake . --secrets ../secrets
      nixsecrets check --flake . --save declared.json
      nixsecrets check --declared declared.json     # elsewhere, without nix
      nixsecrets check --json | jq .problems
      nixsecrets check --format sarif > nixsecrets.sarif
    """
    source.check()
    session = Session.open(start / (source.secrets or ""))
    with session.surveying(compare="sops") as begun:
        from nixsecrets.cli.report import check  # during the survey, as all below
        from nixsecrets.plan.recall import comparing, recalling
        from nixsecrets.values.macs import Macs, wrong_macs

        repo, macs = session.repo, Macs()
        with recalling(repo) as recall, comparing(repo) as compare:
            world = session.world_of(begun)
            with ui.waiting("searching the git history"):
                older, types = compare(world)
            with ui.waiting("verifying MACs and types"):
                others = [*older, *wrong_macs(world, macs, begun)]
            macs.types.update(types)
            with ui.waiting("searching the git history"):
                removals = recall(world)
        form = "json" if as_json else form
        return check(
            world, removals, others, macs, source, start, form=form, strict=strict
        )
