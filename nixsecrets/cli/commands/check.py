"""`nixsecrets check`: exit 1 on any drift, without any private key."""

from pathlib import Path

import click

from nixsecrets.cli.declared import Source, declared_options
from nixsecrets.cli.options import format_option, json_option
from nixsecrets.cli.session import Session


@click.command("check")
@declared_options
@click.option("--strict", is_flag=True, help="Fail on warnings and notes, too.")
@format_option
@json_option
@click.pass_obj
def command(
    start: Path, *, source: Source, strict: bool, form: str, as_json: bool
) -> int:
    """Exit 1 if anything differs from the map; for CI and for hooks.

    Needs git and nothing else: no private key, no sops, no nix, no network.  Where the
    git history is there, keys that were removed and can read files again are found, and
    secrets that are older versions of themselves.  Where an identity is at hand
    that needs no question, the MAC of sops files that differ from HEAD is verified, and
    the types of values in all sops files.  With
    --flake, nix evaluates what each configuration declares, and whether it could
    decrypt that is told before anybody deploys.

    \b
    Examples:
      nixsecrets check
      nixsecrets check --flake                      # every host of the flake here
      nixsecrets check --flake --host brunnen
      nixsecrets check --flake . --save declared.json
      nixsecrets check --declared declared.json     # elsewhere, without nix
      nixsecrets check --json | jq .problems
      nixsecrets check --format sarif > nixsecrets.sarif
    """
    session = Session.open(start)
    with session.surveying() as begun:
        from nixsecrets.cli.judged import check  # while others look at the files
        from nixsecrets.cli.macs import Macs, changing
        from nixsecrets.plan.recall import comparing, recalling
        from nixsecrets.world.world import with_files

        repo, macs = session.repo, Macs()
        with recalling(repo) as recall, comparing(repo) as compare:
            with changing(repo) as judge_macs:
                world = with_files(session.mapped(begun), begun)
                older, types = compare(world)
                others = [*older, *judge_macs(world, macs)]
                macs.types.update(types)
            removals = recall(world)
        form = "json" if as_json else form
        return check(
            world, removals, others, macs, source, start, form=form, strict=strict
        )
