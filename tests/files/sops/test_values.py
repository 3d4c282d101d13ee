"""YAML that only a library reads is refused where it could mean something else."""

import pytest

from nixsecrets.errors import SecretFileError
from nixsecrets.files.kind import SopsFormat
from nixsecrets.files.sops.plaintexts import read
from nixsecrets.files.sops.values import leaves


@pytest.mark.parametrize(
    "text",
    ["? [a, b]\n: c\n", "? {a: b}\n: c\n? {a: b}\n: d\n", "a: &x\n  b: *x\n"],
)
def test_keys_that_are_no_text_and_endless_aliases_are_refused(text: str) -> None:
    with pytest.raises(SecretFileError):
        list(leaves(SopsFormat.YAML, text.encode(), plaintext=True))


def test_aliases_that_multiply_are_named_with_their_line() -> None:
    rows = [f"a{n}: &a{n} [{', '.join(['*a' + str(n - 1)] * 9)}]" for n in range(1, 9)]
    text = "\n".join(["a0: &a0 [x]", *rows]).encode()
    with pytest.raises(SecretFileError, match="too many YAML aliases") as caught:
        read(SopsFormat.YAML, text)
    assert caught.value.line
