"""Readers that are not age keys, added to real sops files."""

import json
from collections.abc import Mapping

from nixsecrets.files.kind import SopsFormat, format_for

Entry = Mapping[str, str]

FPR = "85D77543B3D624B63CEA9E6DBC17301B491B3F21"
_MESSAGE = "-----BEGIN PGP MESSAGE-----\n\nhQEMA0==\n-----END PGP MESSAGE-----\n"
_SINCE = {"created_at": "2026-11-20T10:52:10Z"}
_BLOB = "AQICAHgjunkjunkjunkjunkjunkjunk="


def entries(address: str) -> dict[str, tuple[Entry, str]]:
    """Return an entry and its key in the map, by metadata field.

    Those that carry an address of their own lead to `address` (http://host:port).
    """
    arn = "arn:aws:kms:eu-west-1:111122223333:key/a"
    resource = "projects/p/locations/global/keyRings/r/cryptoKeys/k"
    vault = {"vault_address": address, "engine_path": "sops", "key_name": "k"}
    azure = {"vault_url": address, "name": "k", "version": "1"}
    return {
        "pgp": ({**_SINCE, "enc": _MESSAGE, "fp": FPR}, f"pgp:{FPR}"),
        "kms": ({"arn": arn, **_SINCE, "enc": _BLOB}, f"awskms:{arn}"),
        "gcp_kms": (
            {"resource_id": resource, **_SINCE, "enc": _BLOB},
            f"gcpkms:{resource}",
        ),
        "azure_kv": (
            {**azure, **_SINCE, "enc": _BLOB},
            f"azurekv:{address}/keys/k/1",
        ),
        "hc_vault": (
            {**vault, **_SINCE, "enc": f"vault:v1:{_BLOB}"},
            f"vault:{address}/v1/sops/keys/k",
        ),
        "hckms": (
            {"key_id": "eu-west-101:k", **_SINCE, "enc": _BLOB},
            "hckms:eu-west-101:k",
        ),
    }


def planted(path: str, data: bytes, field: str, entry: Entry) -> bytes:
    """Return a sops file with one more reader, in every document."""
    text = data.decode()
    kind = format_for(path)
    if kind is SopsFormat.YAML:
        lines = "".join(f"          {k}: {json.dumps(v)}\n" for k, v in entry.items())
        block = f"sops:\n    {field}:\n        - {lines.lstrip()}"
        text = text.replace("sops:\n", block)
    elif kind in {SopsFormat.JSON, SopsFormat.BINARY}:
        member = f'"sops": {{\n\t\t{json.dumps(field)}: [{json.dumps(entry)}],'
        text = text.replace('"sops": {', member)
    else:
        named = {f"{field}__list_0__map_{k}": v for k, v in entry.items()}
        escaped = {k: v.replace("\n", "\\n") for k, v in named.items()}
        if kind is SopsFormat.DOTENV:
            text += "".join(f"sops_{k}={v}\n" for k, v in escaped.items())
        else:
            more = "".join(f"{k} = {v}\n" for k, v in escaped.items())
            text = text.replace("[sops]\n", f"[sops]\n{more}")
    assert text != data.decode()
    return text.encode()
