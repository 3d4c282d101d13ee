"""sops may move comments, and loses no value."""

import pytest

from nixsecrets.errors import SecretFileError
from nixsecrets.files.kind import SopsFormat
from nixsecrets.files.sops import printed

SEALED_COMMENT = "#ENC[AES256_GCM,data:eA==,iv:eA==,tag:eA==,type:comment]\n"


@pytest.mark.parametrize(
    ("kind", "before", "after", "fault"),
    [
        (SopsFormat.YAML, "a: b\n", "a: b\n", None),
        (SopsFormat.YAML, "a: b # c\n", "# c\na: b\n", None),
        (SopsFormat.YAML, SEALED_COMMENT + "a: b\n", "a: b\n" + SEALED_COMMENT, None),
        (SopsFormat.YAML, "# c\na: b\n", SEALED_COMMENT + "a: b\n", "lose a comment"),
        (SopsFormat.YAML, "a: b\n", "a: c\n", "did not keep the values"),
        (SopsFormat.YAML, "a: b\n---\na: b\n", "a: b\n", "did not keep the values"),
        (SopsFormat.DOTENV, "A=b\n", "A=c\n", "did not keep the values"),
    ],
)
def test_comments_may_move_but_nothing_may_be_lost(
    kind: SopsFormat, before: str, after: str, fault: str | None
) -> None:
    if fault is None:
        printed.require_same(kind, before.encode(), after.encode())
        return
    with pytest.raises(SecretFileError, match=fault) as caught:
        printed.require_same(kind, before.encode(), after.encode())
    assert caught.value.hint
