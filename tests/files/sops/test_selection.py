"""sops leaves no value in plaintext that the options of the file select."""

import pytest

from nixsecrets.errors import SecretFileError
from nixsecrets.files.sops.metadata import Options, SopsFormat
from nixsecrets.files.sops.selection import require_encrypted

IV, TAG = "A" * 43 + "=", "A" * 22 + "=="
E = f"ENC[AES256_GCM,data:eA==,iv:{IV},tag:{TAG},type:str]"
METADATA = "sops:\n    mac: x\n"
YAML, JSON, ENV, INI = (
    SopsFormat.YAML,
    SopsFormat.JSON,
    SopsFormat.DOTENV,
    SopsFormat.INI,
)
REGEX: Options = (("encrypted_regex", "^(data|stringData)$"),)
SUFFIX: Options = (("encrypted_suffix", "_secret"),)
UNREGEX: Options = (("unencrypted_regex", "^meta"),)
COMMENT: Options = (("encrypted_comment_regex", "secret"),)


@pytest.mark.parametrize(
    ("kind", "text", "options", "fault"),
    [
        (YAML, f"a: {E}\nsops:\n    mac: x\n", (), None),
        (YAML, f"a: {E}\nb: x\nsops:\n    mac: x\n", (), "left a value"),
        (YAML, f"a: {E}\nb_unencrypted: x\nc: ''\nd: null\ne: {{}}\n", (), None),
        (YAML, f"a: {E}\nb_unencrypted:\n    - c: x\n", (), None),
        (YAML, f"a: {E}\n---\nb:\n    - x\n", (), "left a value"),
        (YAML, f"kind: Secret\ndata:\n    a: {E}\n", REGEX, None),
        (YAML, f"kind: Secret\ndata:\n    a: {E}\n    b: 1\n", REGEX, "left a value"),
        (YAML, "kind: Secret\ndatum:\n    a: b\n", REGEX, "select no value"),
        (YAML, f"a_secret: {E}\nb: x\n", SUFFIX, None),
        (YAML, f"a_secret: x\nb: {E}\n", SUFFIX, "left a value"),
        (YAML, f"metadata: x\nb: {E}\n", UNREGEX, None),
        (YAML, f"# secret\na: {E}\nb: x\n", COMMENT, None),
        (YAML, "a: x\nb: x\n", COMMENT, "select no value"),
        (YAML, '{"sops": {"mac": "x"}}\n', (), None),
        (JSON, f'{{"a": ["{E}", ""], "sops": {{"mac": "x"}}}}', (), None),
        (JSON, f'{{"a": ["{E}", 1], "sops": {{"mac": "x"}}}}', (), "left a value"),
        (JSON, f'{{"a": {{"sops": "x", "b": "{E}"}}}}', (), "left a value"),
        (SopsFormat.BINARY, f'{{"data": "{E}", "sops": {{"mac": "x"}}}}', (), None),
        (SopsFormat.BINARY, '{"data": "x", "sops": {}}', (), "left a value"),
        (ENV, f"A={E}\n#{E}\nsops_mac=x\n", (), None),
        (ENV, f"A={E}\nB=x\nsops_mac=x\n", (), "left a value"),
        (ENV, f"A={E}\nB_unencrypted=x\nsops_mac=x\n", (), None),
        (INI, f"top = {E}\n[one]\na = {E}\n; {E}\n[sops]\nmac = x\n", (), None),
        (INI, f"[one]\na = {E}\nb = x\n[sops]\nmac = x\n", (), "left a value"),
        (INI, f"[a_unencrypted]\nb = x\n[c]\nd = {E}\n", (), None),
        (YAML, f"a: {E}\nb: x\n", (("unencrypted_regex", "(?<!"),), "would not use"),
    ],
)
def test_values_that_the_options_select_must_be_encrypted(
    kind: SopsFormat, text: str, options: Options, fault: str | None
) -> None:
    if kind is YAML and "sops" not in text:
        text = "---\n".join(document + METADATA for document in text.split("---\n"))
    if fault is None:
        require_encrypted(kind, text.encode(), options)
        return
    with pytest.raises(SecretFileError, match=fault) as caught:
        require_encrypted(kind, text.encode(), options)
    assert caught.value.hint
