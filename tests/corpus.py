"""What adoption makes of real configurations: `python -m tests.corpus` prints totals.

The samples lie outside of the project (`../shared/corpus`).  A name as argument
(`sops/008`) prints that one's map.
"""

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator

from nixsecrets.adopt.evaluate import Evaluated
from nixsecrets.adopt.hints import Hints
from nixsecrets.adopt.oldrules import Old, read_age, read_sops
from nixsecrets.adopt.planned import Tree
from nixsecrets.adopt.propose import Proposal, propose
from nixsecrets.adopt.yamlnames import names_in
from nixsecrets.errors import NixsecretsError
from nixsecrets.keys.forms import Backend
from tests.fleet import SHARED

CORPUS = SHARED / "corpus"
SOPS = sorted(path.stem for path in CORPUS.glob("sops/*.yaml"))
AGENIX = sorted(path.stem for path in CORPUS.glob("agenix/*.json"))
SAMPLES = [f"sops/{name}" for name in SOPS] + [f"agenix/{name}" for name in AGENIX]
ANONYMOUS = re.compile(r"key-[0-9a-zA-Z]{6}")


def sops_text(name: str) -> str:
    return (CORPUS / "sops" / f"{name}.yaml").read_text()


def sops_tree(name: str) -> Tree:
    """The repository's sops files, where the sample knows them."""
    table = CORPUS / "sops" / f"{name}.files.tsv"
    lines = table.read_text().splitlines()[1:] if table.exists() else []
    return {line.split("\t")[0]: Backend.SOPS for line in lines}


def adopt_sops(name: str) -> Proposal:
    text = sops_text(name)
    old = Old(read_sops(text, ".sops.yaml"), (), ".sops.yaml", None)
    hints = names_in(text, ".sops.yaml")
    return propose(old, sops_tree(name), hints, config_text=text)


def agenix_rules(name: str) -> dict[str, dict[str, list[str]]]:
    found: dict[str, dict[str, list[str]]] = json.loads(
        (CORPUS / "agenix" / f"{name}.json").read_text()
    )
    return found


def adopt_agenix(name: str) -> Proposal:
    found = [
        Evaluated(entry, tuple(value["publicKeys"]), bool(value.get("armor")))
        for entry, value in agenix_rules(name).items()
    ]
    age = read_age(found, "secrets.nix", {})
    tree: Tree = {entry.path: Backend.AGE for entry in age}
    return propose(Old((), age, None, "secrets.nix"), tree, Hints())


def adopted(sample: str) -> Proposal:
    """Return the proposal for a sample, `sops/008` or `agenix/004`."""
    kind, name = sample.split("/")
    return adopt_sops(name) if kind == "sops" else adopt_agenix(name)


def totals() -> Iterator[str]:
    """Yield the lines of the summary, and one for each sample."""
    for kind, names in (("sops", SOPS), ("agenix", AGENIX)):
        every: Counter[str] = Counter()
        refused: Counter[str] = Counter()
        for name in names:
            try:
                found = adopted(f"{kind}/{name}")
            except NixsecretsError as error:
                refused[error.message.splitlines()[-1].strip()[:70]] += 1
                yield f"{kind}/{name}  refused: {error.message.splitlines()[-1]}"
                continue
            counts = measured(found)
            every += counts
            every["wholly" if not found.foreign else "partly"] += 1
            every["with {host}"] += "{host}" in found.map_text
            yield f"{kind}/{name}  " + ", ".join(f"{n} {k}" for k, n in counts.items())
        yield f"{kind}: {len(names)} samples, {sum(refused.values())} refused"
        yield from (f"  {count} {what}" for what, count in every.items())
        yield from (f"  refused {n} x {why}" for why, n in refused.most_common())


def measured(found: Proposal) -> Counter[str]:
    """Return what of a proposal is counted."""
    names = [owner.name for owner in found.owners]
    return Counter(
        {
            "rules before": len(found.old.sops) + len(found.old.age),
            "rules after": len(found.rules) + len(found.foreign),
            "names": len(names),
            "anonymous": sum(bool(ANONYMOUS.match(name)) for name in names),
            "guessed": sum(owner.guessed for owner in found.owners),
            "groups": len(found.naming.groups),
        }
    )


def main() -> None:
    if len(sys.argv) > 1:
        sys.stdout.write(adopted(sys.argv[1]).map_text)
        return
    for line in totals():
        sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    main()
