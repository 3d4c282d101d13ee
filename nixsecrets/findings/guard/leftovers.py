"""Names of files that are decrypted or an editor's copy of another file.

Looks at names only.  vim, emacs, nano, kate, sed and people leave these beside a file;
whether that file is a secret is for others to say.
"""

import re

# Each gives the name that the copy was made of.
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
    """Return whether the name says by itself that the file is a decrypted one."""
    return _PLAIN.fullmatch(path.rpartition("/")[2]) is not None


def is_identity_file(path: str) -> bool:
    """Return whether sops and age keep their identities under this name."""
    return path.rpartition("/")[2].lower() == "keys.txt"
