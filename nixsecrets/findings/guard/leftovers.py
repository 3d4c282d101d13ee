"""Names of decrypted files and of editors' copies of another file.

vim, emacs, nano, kate, sed and people leave such copies next to a file.  Only names
are examined; the caller determines whether the original is a secret.
"""

import re

# The group `name` is the name of the original.
_COPIES = (
    re.compile(r"\.(?P<name>.+)\.sw[a-p]"),  # vim
    re.compile(r"(?P<name>.+)\.sw[op]"),
    re.compile(r"(?P<name>.+)~"),  # vim, emacs, gedit
    re.compile(r"#(?P<name>.+)#"),  # emacs
    re.compile(r"\.#(?P<name>.+)"),  # emacs' lock
    re.compile(r"\.(?P<name>.+)\.kate-swp"),
    re.compile(r"(?P<name>.+)\.(?:bak|backup|old|orig|rej|save|tmp|copy|un~)"),
    re.compile(r"(?P<name>.+)\.(?:plain|plaintext|clear|cleartext|unencrypted)"),
    re.compile(r"(?P<name>.+)\.(?:dec|decrypted)", re.IGNORECASE),
)
_DECRYPTED = re.compile(
    r"(?P<stem>.+)\.(?:dec|decrypted)(?P<end>\.[^.]+)", re.IGNORECASE
)
_PLAIN = re.compile(r".+\.decrypted(?:\.[^.]+)?", re.IGNORECASE)
_ENDS = ("", ".age", ".sops", ".enc", ".gpg")


def originals(path: str) -> list[str]:
    """Return the paths that a file may be a copy of; none for an ordinary name."""
    folder, slash, name = path.rpartition("/")
    names = [m["name"] for one in _COPIES if (m := one.fullmatch(name))]
    if inner := _DECRYPTED.fullmatch(name):
        names.append(inner["stem"] + inner["end"])
        names.append(inner["stem"])
    return [
        f"{folder}{slash}{one}{end}"
        for one in names
        for end in _ENDS
        if one + end not in {".", "..", ".git"}
    ]


def says_decrypted(path: str) -> bool:
    """Return whether the name itself says that the file is decrypted."""
    return _PLAIN.fullmatch(path.rpartition("/")[2]) is not None


def is_identity_file(path: str) -> bool:
    """Return whether this is the file name in which sops and age keep identities."""
    return path.rpartition("/")[2].lower() == "keys.txt"
