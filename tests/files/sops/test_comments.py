"""The comments of sops files: their places, and how sops reads them."""

import pytest

from nixsecrets.files.sops import tree
from nixsecrets.files.sops.comments import (
    Comment,
    _documents_by_library,
    comments,
)
from nixsecrets.files.sops.metadata import SopsFormat

YAML = """\
# head

a: 1 # beside a
b:
  # in b
  c: "x # no comment" # beside c
  # below c
'd # no': e#no
l: # beside l
  - 1 # beside 1
  # above 2
  - k: |  # block
      # no comment
# at the end
sops:
    # in sops
    mac: x # beside mac
# between
    version: y
    # below version
# behind"""
FOUND = [
    (" head", (), False),
    (" beside a", (), False),
    (" in b", ("b",), False),
    (" beside c", ("b",), False),
    (" below c", ("b",), False),
    (" beside l", (), False),
    (" beside 1", ("l",), False),
    (" above 2", ("l",), False),
    (" block", ("l",), False),
    (" at the end", (), False),
    (" in sops", ("sops",), True),
    (" beside mac", ("sops",), True),
    (" between", (), True),
    (" below version", (), False),
    (" behind", (), False),
]
DOTENV = "# top\nA=1 # no\n#\n#two\nsops_mac=x\n # no\n# end"
INI = """\
; top
a = 1 ; beside
# one

; two
b = `# no` # dropped
[s] ; section
k = "a"
; metadata
[sops]
; in sops
mac = x
; last
"""


def told(found: list[Comment]) -> list[tuple[str, tuple[str, ...], bool]]:
    return [(one.text, one.path, one.dropped) for one in found]


def test_every_comment_of_yaml_is_found_with_the_keys_above_it() -> None:
    found = comments(SopsFormat.YAML, YAML.encode())
    assert told(found) == FOUND
    for one in found:
        ((start, end),) = one.spans
        assert YAML[start:end] == "#" + one.text
        assert one.line == YAML.count("\n", 0, start) + 1


def test_the_comments_of_foreign_yaml_are_the_same() -> None:
    spans = [
        span for one in tree.documents_with_comments(YAML) for span in one.comments
    ]
    assert list(_documents_by_library(YAML)[0].comments) == spans
    flow = '# a\n{"x": [1, 2], # b\n "sops": {"mac": "m#" }} # c\n'
    found = comments(SopsFormat.YAML, flow.encode())
    assert [one.text for one in found] == [" a", " b", " c"]


def test_comments_after_markers_and_in_empty_documents_are_found() -> None:
    text = "# 1\n---\n# 2\na: b\n# 3\n--- # 4\nc: d\n...\n# 5\n---\n# 6\n"
    found = comments(SopsFormat.YAML, text.encode())
    assert "".join(one.text for one in found) == " 1 2 3 4 5 6"


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_line_ends_are_no_part_of_a_comment(ends: str) -> None:
    text = YAML.replace("\n", ends)
    assert told(comments(SopsFormat.YAML, text.encode())) == FOUND


def test_the_comments_of_dotenv_are_its_lines_that_start_with_a_mark() -> None:
    found = comments(SopsFormat.DOTENV, DOTENV.replace(" # no\n", "").encode())
    assert told(found) == [
        (" top", (), False),
        ("two", (), False),
        (" end", (), False),
    ]


def test_the_comments_of_ini_are_one_for_each_key_and_section() -> None:
    found = comments(SopsFormat.INI, INI.encode())
    assert told(found) == [
        ("top\n; beside", ("DEFAULT",), False),
        ("one\n; two\n# dropped", ("DEFAULT",), False),
        ("section", ("s",), False),
        ("metadata", ("sops",), True),
        ("in sops", ("sops",), True),
        ("last", (), True),
    ]
    spelled = [[INI[start:end] for start, end in one.spans] for one in found]
    assert spelled[:2] == [["; top", "; beside"], ["# one", "; two", "# dropped"]]


def test_an_empty_comment_is_skipped() -> None:
    assert comments(SopsFormat.YAML, b"#\n##\na: b\n#  \n") == []
    assert comments(SopsFormat.JSON, b'{"a": "# b"}') == []
