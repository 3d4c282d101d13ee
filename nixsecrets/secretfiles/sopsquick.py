"""The quick look at a sops file: is it plainly whole, as sops itself wrote it?

One regular expression instead of a parser, for `check` over ten thousand files.  Knows
the one-document YAML that sops writes when it encrypts every value; whatever else a
file is, the answer is no, and `whole` looks closely.
"""

import re

from nixsecrets.secretfiles.sniff import SopsFormat

_B64 = r"(?:[A-Za-z0-9+/]{4})*+(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?+"
_ENC = (
    rf"ENC\[AES256_GCM,data:(?!,){_B64},iv:[A-Za-z0-9+/]{{43}}=,"
    r"tag:[A-Za-z0-9+/]{22}==,type:(?:str|int|float|bool|bytes|time)\]"
)
_MAC = (
    r"ENC\[AES256_GCM,data:[A-Za-z0-9+/]{171}=,iv:[A-Za-z0-9+/]{43}=,"
    r"tag:[A-Za-z0-9+/]{22}==,type:str\]"
)
_WHEN = r"\"?\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\"?"
_VERSION = r"\d+\.\d+\.\d+"
_YAML_VALUES = re.compile(
    r"(?:[ ]*+(?:- )*+(?:[A-Za-z_][\w./-]*+:(?: |(?=\n)))?+"
    rf"(?:{_ENC}|\"\"|null)?+\n|[ ]*+#[^\n]*+\n|\n)*+"
)
_FIELDS = (
    re.compile(rf"^    mac: {_MAC}$", re.MULTILINE),
    re.compile(rf"^    lastmodified: {_WHEN}$", re.MULTILINE),
    re.compile(rf"^    version: {_VERSION}$", re.MULTILINE),
)
_BLOCK = re.compile(r"(?:    [^\n]++\n)++")


def plainly_whole(kind: SopsFormat, text: str) -> bool:
    """Tell whether every value is encrypted and the metadata has all its fields.

    The entries are for `sopsstate` to judge.  False says nothing.
    """
    if kind is not SopsFormat.YAML:
        return False
    values, key, block = text.partition("\nsops:\n")
    return (
        bool(key)
        and _BLOCK.fullmatch(block) is not None
        and _YAML_VALUES.fullmatch(values + "\n") is not None
        and "ENC[" in values
        and all(field.search(block) for field in _FIELDS)
    )
