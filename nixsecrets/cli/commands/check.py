"""`nixsecrets check`: report drift, without a private key."""

from pathlib import Path

import click

from nixsecrets.cli.declared import Source, declared_options
from nixsecrets.cli.options import format_option, json_option
from nixsecrets.cli.session import Session


@click.command("check")
@declared_options
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
      nixsecrets check --flake . --save declared.json
      nixsecrets check --declared declared.json     # elsewhere, without nix
      nixsecrets check --json | jq .problems
      nixsecrets check --format sarif > nixsecrets.sarif
    """
    session = Session.open(start)
    with session.surveying(compare=True) as begun:
        from nixsecrets.cli.judged import check  # while others look at the files
        from nixsecrets.cli.macs import Macs, wrong_macs
        from nixsecrets.plan.recall import comparing, recalling
        from nixsecrets.world.world import with_files

        repo, macs = session.repo, Macs()
        with recalling(repo) as recall, comparing(repo) as compare:
            world = with_files(session.mapped(begun), begun)
            older, types = compare(world)
            others = [*older, *wrong_macs(world, macs, begun)]
            macs.types.update(types)
            removals = recall(world)
        form = "json" if as_json else form
        return check(
            world, removals, others, macs, source, start, form=form, strict=strict
        )
