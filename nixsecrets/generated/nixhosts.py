"""Host keys as a Nix value for NixOS' `programs.ssh.knownHosts`."""

from collections.abc import Iterable, Sequence

from nixsecrets.generated.secretsnix import nix_string
from nixsecrets.keys.recipients import Recipient

Entry = tuple[str, Sequence[str], Recipient]
"""A host's name, the names and addresses it is reached by, and its key."""


def nix_value(entries: Iterable[Entry]) -> str:
    """Return the attribute set name → { hostNames, publicKey } as Nix text."""
    lines = ["{"]
    for name, names, key in entries:
        listed = " ".join(nix_string(reached) for reached in names)
        lines += [
            f"  {nix_string(name)} = {{",
            f"    hostNames = [ {listed} ];",
            f"    publicKey = {nix_string(key.text)};",
            "  };",
        ]
    return "\n".join([*lines, "}"]) + "\n"
