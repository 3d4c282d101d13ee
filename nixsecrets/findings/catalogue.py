"""The catalogue of findings: what a code means, how bad it is, and what to do.

Codes are stable: CI configurations and suppressions name them.  One that is no longer
reported stays reserved.  `docs/findings.md` is written from this table (`document`).
The file is long because it is a table of texts; there is nothing in it to split.
"""

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import NamedTuple

from nixsecrets.errors import shell_word


class Severity(StrEnum):
    """How bad it is: `check` fails on errors, with --strict on everything."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


class Code(StrEnum):
    """Stable codes of what a person should look at."""

    PLAINTEXT = "NS001"
    DAMAGED = "NS002"
    OPEN_VALUE = "NS003"
    WEAK_OPTIONS = "NS004"
    PRIVATE_KEY = "NS005"
    LEFTOVER = "NS006"
    ORDINARY_SECRET = "NS007"  # noqa: S105 - a code
    NOT_A_FILE = "NS008"
    UNMERGED = "NS018"
    WRONG_MAC = "NS019"
    STALE = "NS010"
    UNKNOWN = "NS011"
    REFUSED = "NS012"
    UNUSABLE = "NS013"
    FOREIGN_READER = "NS014"
    SUSPICIOUS_NOISE = "NS015"
    SHARED_KEY = "NS016"
    DEFAULT_SUFFIX = "NS017"
    SOPS_REFUSES = "NS025"
    UNMANAGED = "NS020"
    NO_SUCH_NAME = "NS021"
    HOST_READS_NOTHING = "NS022"
    USER_READS_NOTHING = "NS023"
    RETIRED_IN_USE = "NS024"
    KEY_AGAIN = "NS026"
    REMOVED_READS = "NS027"
    ROLLED_BACK = "NS028"
    OPEN_COMMENT = "NS029"
    RULE_MATCHES_NOTHING = "NS030"
    FOREIGN_RULE = "NS031"
    RULE_SHADOWED = "NS032"
    RULES_OVERLAP = "NS033"
    OUT_OF_DATE = "NS040"
    MISSING_ENTRY = "NS041"
    ENTRY_WITHOUT_FILE = "NS042"
    REGEX_UNANCHORED = "NS050"
    FIELD_UNKNOWN = "NS051"
    SPLIT_KEY_GROUPS = "NS052"
    KEYS_HIDDEN = "NS053"
    WRONG_NAME = "NS054"
    SEVERAL_CONFIGS = "NS055"
    KEY_UNUSABLE = "NS056"
    KEY_TWICE = "NS057"
    KEY_TWO_NAMES = "NS058"
    CONFIG_UNREADABLE = "NS059"
    TOO_LARGE = "NS062"
    REGEX_UNUSABLE = "NS063"
    NOT_AGE = "NS060"
    HIDDEN = "NS065"
    ABSENT = "NS066"
    STRAY_FILE = "NS061"
    DECLARED_UNREADABLE = "NS070"
    DECLARED_FORM = "NS071"
    DECLARED_MISSING = "NS072"
    DECLARED_UNTRACKED = "NS073"
    DECLARED_KEY = "NS074"
    DECLARED_NO_TEXT = "NS075"
    DECLARED_FORMAT = "NS076"
    NO_IDENTITY = "NS077"
    IDENTITY_UNLIKELY = "NS078"
    IDENTITY_LOST = "NS079"
    NOT_IN_MAP = "NS080"
    DOES_NOT_EVALUATE = "NS081"
    READ_NOT_DECLARED = "NS082"
    NOBODY_DECLARES = "NS083"
    TEMPLATE_TOO_EARLY = "NS084"

    @property
    def severity(self) -> Severity:
        """How bad it is."""
        return CATALOGUE[self].severity

    @property
    def fails_check(self) -> bool:
        """Tell whether `check` fails on it; the rest is worth a look, no more."""
        return self.severity is Severity.ERROR


class Finding(NamedTuple):
    """What one place of the repository has wrong with it.

    `path` is relative to the map's folder; `line` counts from 1 in that file, 0 where
    the whole file is meant; `fix` is the command that mends it, where there is one.
    """

    path: str
    code: Code
    message: str
    line: int = 0
    fix: str = ""


def told_better(
    found: Iterable[Finding], better: Mapping[Finding, Finding]
) -> Iterator[Finding]:
    """Yield findings, those instead that say more where there are such."""
    yield from (one for one in found if one not in better)
    yield from better.values()


class Kind(NamedTuple):
    """What all findings of one code have in common; `help` is Markdown."""

    slug: str
    title: str
    severity: Severity
    help: str


_E, _W, _N = Severity.ERROR, Severity.WARNING, Severity.NOTE

CATALOGUE: Mapping[Code, Kind] = {
    Code.PLAINTEXT: Kind(
        "plaintext",
        "a file that must be encrypted is not",
        _E,
        "A rule of the map wins this path, and the file is neither an age nor a sops"
        ' file. Or, under a rule with `plaintext = "allowed"`, it was a secret in the'
        " last commit and is none now.\n\nEncrypt it where it lies, for the readers"
        " that the rule names: `nixsecrets set FILE --from-file FILE --git-add`, be it"
        " an `.age` file or one of sops. (Stock programs: `sops encrypt -i FILE`;"
        " agenix has none for a file that is there.) If it is no secret, narrow the"
        " rule. If it was committed before, its values are known to whoever has the"
        " repository: change them.",
    ),
    Code.DAMAGED: Kind(
        "damaged",
        "a secret is not whole",
        _E,
        "The file starts like a secret, but something is missing or broken: a header"
        " or an armor that is cut off, metadata without its MAC, a document without"
        " metadata, an entry that is no age file.\n\nWhile a merge, a rebase or a"
        " cherry-pick is not finished, the last commit has one side's value only: see"
        " NS018. Otherwise restore it: `git checkout HEAD -- FILE`. If the last commit"
        " has the same fault, `git log -p -- FILE` shows the version before it. What"
        " was never committed is taken out again with `git rm --cached FILE`, and must"
        " be written anew: `nixsecrets edit FILE`."
        "\n\nAge files and sops' dotenv files do not survive CRLF line ends. Where git"
        " made them (`core.autocrlf`), the lines `*.age -text -merge` and"
        " `*.env -text` of `.gitattributes`, which `init` and `git-setup` write, keep"
        " it from doing so; then delete the file and check it out again.",
    ),
    Code.OPEN_VALUE: Kind(
        "open-value",
        "a value in a sops file is not encrypted",
        _E,
        "The file has sops metadata, but a value that its own selection options, or"
        " those of its rule, want encrypted stands there in the open. A text that only"
        " looks like `ENC[…]` counts as open.\n\nUsually somebody edited the file"
        " without sops. Restore the file, unless a merge is not finished (NS018), and"
        " put the value in again: `git checkout HEAD -- FILE && nixsecrets edit FILE`.",
    ),
    Code.WEAK_OPTIONS: Kind(
        "weak-options",
        "a sops file records weaker selection options than its rule",
        _E,
        "`encrypted_regex` and its relatives are recorded in each file when it is made,"
        " and sops goes by the file, not by the rule. This file's options leave values"
        " or comments in plaintext that its rule wants encrypted. A rule without `sops`"
        " options wants everything encrypted, except below keys that end in"
        " `_unencrypted`, which is sops' own default.\n\n`nixsecrets rekey FILE`"
        " encrypts the file with the options of its rule. If the values are meant to be"
        " in plaintext, write the options into the rule: `sops = { encrypted_regex ="
        ' "^db$" }`. Values that were pushed in plaintext are known: change them.',
    ),
    Code.PRIVATE_KEY: Kind(
        "private-key",
        "a private key",
        _E,
        "The file holds a private key: an age identity (also post-quantum and plugin"
        " ones), an OpenSSH, PEM, DER, PKCS#12, PGP or PuTTY private key, a WireGuard"
        " key under its name, or a key of Nix caches, Nebula, OpenVPN, minisign,"
        " signify, Tor, DNSSEC, TSIG, Matrix or JWK; as text, in base64, in UTF-16 or"
        " URL-encoded, quoted, indented, broken or in the middle of a line. A"
        " passphrase on it changes nothing. A placeholder, or a key that"
        " is cut short for a manual, is none.\n\nTake it out and keep it outside of the"
        " repository, or encrypt the file. A key that was ever pushed is no secret any"
        " more: replace it.",
    ),
    Code.LEFTOVER: Kind(
        "leftover",
        "a decrypted or editor's copy of a secret",
        _E,
        "Its name says that it is a decrypted copy (`*.dec`, `*.decrypted`), a swap or"
        " backup file of an editor that had a secret open, or the file in which sops"
        " and age keep identities (`keys.txt`).\n\n`git rm --cached FILE`, and delete"
        " it. `nixsecrets edit` leaves no such files.",
    ),
    Code.ORDINARY_SECRET: Kind(
        "ordinary-secret",
        "a token or password in an ordinary file",
        _E,
        "Found by detect-secrets, which `nixsecrets[scan]` installs. Move the value"
        " into a secret. If it is none, end the line with the comment"
        " `pragma: allowlist secret`.",
    ),
    Code.NOT_A_FILE: Kind(
        "not-a-file",
        "a link stands where a secret belongs",
        _E,
        "A rule of the map wins this path, but it is a symbolic link that does not lead"
        " to a secret of this repository. A secret is a regular file.\n\nPut the"
        " encrypted file itself there, or let the link lead to a path that a rule"
        " names.",
    ),
    Code.UNMERGED: Kind(
        "unmerged",
        "a file that git could not merge",
        _E,
        "Both sides of a merge (rebase, cherry-pick, stash) changed the file, and git"
        " waits for a decision; or its conflict markers were left in the file. Neither"
        " side is lost until you run `git add FILE` or finish the merge. Taking one"
        " side's file (`git checkout`, `git restore`) throws the other side's value"
        " away, and nothing would show it.\n\n"
        "A secret: `nixsecrets edit FILE --git-add` opens both sides, decrypted, as one"
        " text with markers where they differ; what you save is encrypted to the"
        " readers that the map specifies, and staged with `nixsecrets.lock`, which"
        " records them. `nixsecrets cat --side ours FILE` and `--side theirs` print"
        " each side; `nixsecrets set FILE --git-add` stores a new value. If one side"
        " deleted the file, keep it with `git add FILE` or delete it with `git rm"
        " FILE`. If the markers were added already, `git update-index --unresolve"
        " FILE` brings the conflict back; if they were committed, `git show` the file"
        " in the commit's parents."
        "\n\nThe map, and `.sops.yaml` where others' rules are in it: edit it, keep"
        " what both sides added, delete the markers. What nixsecrets writes there, and"
        " `secrets.nix` and the lock, follow from the map: once it is merged,"
        " `nixsecrets sync --git-add`, then `git add FILE`.",
    ),
    Code.WRONG_MAC: Kind(
        "wrong-mac",
        "the MAC of a sops file does not fit its values",
        _E,
        "sops refuses such a file, and so does every host: nobody can open it. It comes"
        " of two people's edits that were put into one text by hand, or by a merge; or"
        " somebody changed, moved or removed a value without sops.\n\nLooked at where"
        " the file differs from the last commit and an identity is at hand that needs"
        " no question: no passphrase, no plugin, and no command (`SOPS_AGE_KEY_CMD`) is"
        " run. Without one, `check` and the hook say that they did not look.\n\nIf a"
        " merge is not finished, `git update-index --unresolve FILE` and then"
        " `nixsecrets edit FILE` bring both sides together. Otherwise look at every"
        " value (`sops decrypt --ignore-mac FILE`); if each is what it should be,"
        " `sops --rotate --ignore-mac -i FILE` writes a new MAC.",
    ),
    Code.STALE: Kind(
        "stale-recipients",
        "the readers of a file are not those of the map",
        _E,
        "Somebody who should read the file cannot, somebody who should not can, a key"
        " is there in a form that its consumer does not open, or the selection options"
        " differ from the rule's.\n\n`nixsecrets rekey FILE` makes it right;"
        " `nixsecrets why FILE` says more.",
    ),
    Code.UNKNOWN: Kind(
        "unknown-recipients",
        "the readers of a file cannot be told",
        _E,
        "X25519 stanzas are anonymous. The lock has no record that fits this file, or"
        " what the file shows contradicts its labels.\n\nIf you know who encrypted it"
        " to whom, `nixsecrets accept FILE` vouches for it; otherwise `nixsecrets rekey"
        " FILE`.",
    ),
    Code.REFUSED: Kind(
        "refused",
        "a secret that nixsecrets does not change",
        _E,
        "It is encrypted with a passphrase, or splits its data key over several key"
        " groups. Everything can be read about it, but its readers cannot be changed"
        " by nixsecrets: encrypt it anew to recipients.",
    ),
    Code.UNUSABLE: Kind(
        "unusable-key",
        "a reader has a key that the file's format cannot serve",
        _E,
        "For example an ssh-rsa host key for a sops file, or post-quantum and classic"
        " keys together in one age file. Give that reader another key, or take it from"
        " the rule.",
    ),
    Code.FOREIGN_READER: Kind(
        "foreign-reader",
        "a PGP, KMS or Vault entry that the map does not name",
        _E,
        "The metadata of this sops file names a reader that is not an age key:"
        " `pgp:`, `awskms:`, `gcpkms:`, `azurekv:`, `vault:` or `hckms:`. Anyone who"
        " holds that key can decrypt the file. Anybody who can push can add such an"
        " entry,"
        " and stock `sops rotate` and `sops updatekeys` send the new data key to the"
        " address in it, together with your credentials.\n\nnixsecrets never contacts"
        " such a service and never wraps a key for it. A grant, `edit` and `set` leave"
        " the entry as it is, because the data key stays the same; `nixsecrets rekey"
        " FILE`, and every other re-encryption, gives the file a new data key and drops"
        " the entry. That is a revocation: you are asked, or agree with"
        " `--allow-revoke`. Afterwards change the values, which the dropped reader may"
        " know.",
    ),
    Code.SOPS_REFUSES: Kind(
        "sops-refuses",
        "a file that sops does not read as it was written",
        _E,
        "The file is whole and its values are encrypted, but sops refuses it, or hands"
        " over another value: the type of a value (`type:int]` at its end) is not the"
        " one that it was encrypted with, the version in the metadata is none, or a"
        " JSON key `SOPS` stands beside the metadata, which sops before 3.13 takes for"
        " them. Neither the type nor the version is covered by the file's MAC, so that"
        " anybody who can push can change them.\n\nA changed type is found in three"
        " ways: by the length of the ciphertext; by earlier versions of the file (the"
        " last five, of files that changed in the last 1,000 commits), which have the"
        " same ciphertext under another type; and by the content, where an identity is"
        " at hand that needs no question. `check` opens every sops file for that which"
        " has a number, a date or true/false in it, at most 500 in one run, and this"
        " clone remembers which it found right. Text that could be a number, marked as"
        " one, shows in earlier versions only.\n\nA machine that gets such a file"
        " installs none of its values. Restore the version before the change: `git log"
        " -p -- FILE` shows it, `git checkout COMMIT -- FILE` brings it back. Other"
        " files are not held up by it: a removal or `rekey` with `--keep-going` names"
        " it and does the rest.",
    ),
    Code.SUSPICIOUS_NOISE: Kind(
        "suspicious-noise",
        "a stanza that is marked as noise, and may be a reader",
        _E,
        "rage and its relatives add one stanza of random bytes (`…-grease`) to a"
        " header, which every age program ignores. This one is not of the shape that"
        " rage writes, or there are several: it may hold the file key, wrapped for"
        " somebody whom nobody sees.\n\n`nixsecrets rekey FILE` writes the file anew,"
        " under a new key and without noise. Noise of the usual shape is no finding,"
        " since it looks like random bytes, but it does not outlive a change"
        " either: a grant, an edit and a re-encryption drop it.",
    ),
    Code.SHARED_KEY: Kind(
        "shared-key",
        "two files share one symmetric key",
        _E,
        "One was copied from the other by hand, as `cp` does it. Anyone who can read"
        " one of them knows the symmetric key of the other, whatever recipients that"
        " has: a file key of age, or a data key of sops, opens every file that it"
        " encrypts.\n\n`nixsecrets rekey FILE` gives the file a key of its own; where"
        " the readers were not the same, change the value too.",
    ),
    Code.DEFAULT_SUFFIX: Kind(
        "default-suffix",
        "a value is in plaintext because its key ends in _unencrypted",
        _N,
        "sops leaves values in plaintext below a key that ends in `_unencrypted`,"
        " unless other selection options say otherwise; every file records this."
        " Nothing is wrong if you named the key for that purpose.\n\nIf the value is"
        " a secret, rename its key (`nixsecrets edit FILE`). If it is meant, write"
        ' `sops = { unencrypted_suffix = "_unencrypted" }` into the rule: then it is no'
        " longer reported.",
    ),
    Code.UNMANAGED: Kind(
        "unmanaged",
        "a secret that no rule names",
        _E,
        "The file is encrypted, and nothing says who should read it. Add a"
        " `[[secrets]]` rule, or delete the file.",
    ),
    Code.NO_SUCH_NAME: Kind(
        "no-such-name",
        "a path names a host or user that the map does not have",
        _E,
        "`{host}` or `{user}` stands in the rule, and the name at that place is none of"
        " the map. Only the readers in `always` may read the file. Add the host, or"
        " move or delete the file.",
    ),
    Code.HOST_READS_NOTHING: Kind(
        "host-reads-nothing",
        "no rule mentions a host",
        _N,
        "The host may read nothing. Fine for a host without secrets; otherwise name it,"
        " or a group of it, in a rule.",
    ),
    Code.USER_READS_NOTHING: Kind(
        "user-reads-nothing",
        "a user is in no group and no rule",
        _N,
        "The user may read nothing. Add the user to a group, a rule or `always`, or"
        " remove them: `nixsecrets remove-user NAME`.",
    ),
    Code.RETIRED_IN_USE: Kind(
        "retired-in-use",
        "a retired key is in use",
        _W,
        "A host or user of the map has a key that a `[[retired]]` entry names: it was"
        " taken out of use once, perhaps because it was lost. The next command gives it"
        " what its owner may read.\n\nIf nobody meant it, take the key out of the map"
        " and run `nixsecrets rekey`. If it is meant, leave the entry: so the map says"
        " that it is, and without it `check` takes the key for one that came back by"
        " accident (NS027).",
    ),
    Code.REMOVED_READS: Kind(
        "removed-reads",
        "a key that was removed can read files",
        _E,
        "The key left the map once: by `remove-host`, `remove-user`, a rotation or an"
        " edit. The git history shows it, or this clone remembers it, and now the map"
        " names the key again or a file has it as a reader. That is what `git revert`"
        " of a removal does, the checkout of an old map, a merge that kept the old one,"
        " or an old version of a file that was put back.\n\nIf nobody meant it:"
        " `nixsecrets remove-host NAME` (or `remove-user`), or `nixsecrets rekey` where"
        " only files have the key. The values that the key can read now are known to"
        " its holder.\n\nIf it is meant: `nixsecrets approve NAME` agrees for this"
        " clone. For every clone, and for CI, write into the map that the key was"
        " retired and is used all the same: a `[[retired]]` entry with its `name` and"
        " `key`, beside its owner. `add-host` and `add-user` with `--allow-retired`"
        " leave that entry there; as many are needed as the map ever had of the key.",
    ),
    Code.ROLLED_BACK: Kind(
        "rolled-back",
        "a secret is an older version of itself",
        _W,
        "The file is, to the byte, what it was before an earlier commit changed it; or"
        " sops' own date in it (`lastmodified`) is older than that of an earlier"
        " version. Its value, and its readers, are those of then. That is what `git"
        " revert` of a change does, and what somebody who can push can do: no key is"
        " needed to put back an old file. The last thousand commits are compared.\n\nIf"
        " nobody meant it, put the newest version back: `git log -p -- FILE`, then `git"
        " checkout COMMIT -- FILE`. If it is meant, nothing has to be done: the warning"
        " goes when the value changes again.",
    ),
    Code.KEY_AGAIN: Kind(
        "key-again",
        "a sops file has a key twice",
        _W,
        "sops reads and encrypts both values, and programs disagree on which of them"
        " counts: `sops set` and `sops --extract` take the first, most JSON readers the"
        " last; in INI files sops itself drops the first.\n\nOpen the file and delete"
        " one of the two: `nixsecrets edit FILE`.",
    ),
    Code.OPEN_COMMENT: Kind(
        "open-comment",
        "a comment in a sops file is not encrypted",
        _E,
        "sops encrypts comments as it encrypts values, by the selection options of the"
        " file. A comment in plaintext was added without sops, or by a very old one,"
        " and everybody with the repository can read it. Comments between the lines of"
        " the metadata, and below the last key of an INI file, are never encrypted:"
        " sops drops them when it next writes the file.\n\n`nixsecrets rekey FILE`"
        " encrypts the comments where they are, and drops those that sops drops. If"
        " there was a secret in one and it was pushed, change it.",
    ),
    Code.RULE_MATCHES_NOTHING: Kind(
        "rule-matches-nothing",
        "a rule wins no file",
        _W,
        "No file is there yet, the path is misspelt, or rules above take all of its"
        " files.",
    ),
    Code.FOREIGN_RULE: Kind(
        "foreign-rule",
        "a foreign creation rule decides about a managed file",
        _E,
        "Stock sops takes the first rule of `.sops.yaml` that matches, and that is not"
        " one of ours. `sops updatekeys` would give the file other readers. Move the"
        " foreign rule below our block, or make it match less.",
    ),
    Code.RULE_SHADOWED: Kind(
        "rule-shadowed",
        "rules above take everything that a rule matches",
        _W,
        "The first rule that matches wins, and every file that this one matches is won"
        " by another. Its readers are not what happens. Move it up, or delete it.",
    ),
    Code.RULES_OVERLAP: Kind(
        "rules-overlap",
        "two rules with different readers match the same file",
        _N,
        "The order of the rules decides who may read these files. That is how the map"
        " works, and easily overlooked when rules are moved.",
    ),
    Code.OUT_OF_DATE: Kind(
        "out-of-date",
        "a generated file is not what the map gives",
        _E,
        "`.sops.yaml`, `secrets.nix` or the lock differs from what follows from the"
        " map. `nixsecrets sync` writes them.",
    ),
    Code.MISSING_ENTRY: Kind(
        "missing-entry",
        "an age file is absent from secrets.nix",
        _E,
        "Stock agenix cannot edit or rekey the file. `nixsecrets sync` writes the entry"
        " where a rule of the map names the file; otherwise add a rule.",
    ),
    Code.ENTRY_WITHOUT_FILE: Kind(
        "entry-without-file",
        "secrets.nix names an age file that is not there",
        _W,
        "Fine for a secret that is still to be written (`nixsecrets edit FILE`);"
        " otherwise its name is misspelt, or the file was deleted.",
    ),
    Code.REGEX_UNANCHORED: Kind(
        "regex-unanchored",
        "a foreign path_regex matches more than it seems to",
        _W,
        "sops searches the expression anywhere in the path: `secrets/h1` also matches"
        " `secrets/h10.yaml` and `old-secrets/h1`, a dot matches any character. Write"
        " `^` and `$`, and `\\.` for a dot.",
    ),
    Code.FIELD_UNKNOWN: Kind(
        "field-unknown",
        "a field of .sops.yaml that sops does not know",
        _E,
        "sops ignores it without a word. A misspelt `path_regex` makes a rule without"
        " one, which matches every file.",
    ),
    Code.SPLIT_KEY_GROUPS: Kind(
        "split-key-groups",
        "a creation rule has several key groups",
        _W,
        "With several groups the data key is split (Shamir): without a"
        " `shamir_threshold` a reader needs a key of each group. Usually a stray `-`"
        " before `age:` or `pgp:` made the second group. With a threshold written down"
        " it is taken for meant.",
    ),
    Code.KEYS_HIDDEN: Kind(
        "keys-hidden",
        "keys beside key_groups have no effect",
        _E,
        "Where a rule has `key_groups`, sops ignores `age`, `pgp` and the other keys"
        " beside them. Move them into the group.",
    ),
    Code.WRONG_NAME: Kind(
        "wrong-name",
        ".sops.yml is not read by sops",
        _W,
        "sops looks for `.sops.yaml` only. Rename it, or merge it into that file.",
    ),
    Code.SEVERAL_CONFIGS: Kind(
        "several-configs",
        "there is another .sops.yaml",
        _W,
        "sops takes the first one upward from the folder in which it is started, not"
        " from the file: the same file can get other readers from another folder."
        " nixsecrets writes one, and leaves the others alone.",
    ),
    Code.KEY_UNUSABLE: Kind(
        "key-unusable",
        "a recipient in .sops.yaml is no usable key",
        _E,
        "A placeholder that was never replaced, or a key that is damaged or of a kind"
        " that age cannot encrypt to. sops fails for every file of the rule.",
    ),
    Code.KEY_TWICE: Kind(
        "key-twice",
        "a rule names a key twice",
        _W,
        "One of the two was perhaps meant to be another key.",
    ),
    Code.KEY_TWO_NAMES: Kind(
        "key-two-names",
        "one key under two names",
        _W,
        "Two names for one key: whoever removes one of them does not take the access"
        " away.",
    ),
    Code.CONFIG_UNREADABLE: Kind(
        "config-unreadable",
        "a .sops.yaml that sops cannot read",
        _E,
        "Every sops command started below it fails, decryption too.",
    ),
    Code.TOO_LARGE: Kind(
        "too-large",
        "a file that is larger than nixsecrets reads",
        _E,
        "A repository may come from anybody, so that everything read from it has a"
        " limit: `docs/files.md` lists them. They are far above what fleets of"
        " thousands of machines have.\n\nLook at what makes the file so large: a file"
        " that no program wrote so is not worth keeping. Split a secret into several"
        " files, or encrypt a large one with age, which has no limit on its content.",
    ),
    Code.REGEX_UNUSABLE: Kind(
        "regex-unusable",
        "a regular expression that sops cannot compile",
        _E,
        "Expressions are RE2 (https://github.com/google/re2/wiki/Syntax): there is no"
        " lookaround and no backreference, and `*.yaml` is a glob. nixsecrets refuses"
        " one of more than 4096 characters too.\n\nIn the `path_regex` of a creation"
        " rule: sops fails for every file that no rule above it matches; write it anew,"
        " or remove the rule. In the selection options of a file (`encrypted_regex` and"
        " its relatives): sops says nothing and treats it as one that matches no key,"
        " so that every value of an `encrypted_regex` stays in plaintext. Correct the"
        " options of the file's rule, then `nixsecrets edit FILE`.",
    ),
    Code.ABSENT: Kind(
        "absent",
        "secrets that git tracks are not on the disk",
        _E,
        "Rules of the map name files that are in git's index and not in the work tree:"
        " somebody removed them without `git rm`, or the checkout is sparse. No command"
        " can re-encrypt them, and whoever is removed meanwhile reads on in what is"
        " committed. Commands that take access from somebody who reads such a file, and"
        " `rekey`, stop; `sync` keeps what `secrets.nix` and the lock say of it."
        "\n\nBring the files back (`git checkout -- FILE`, `git sparse-checkout"
        " disable`), or remove them for good (`git rm FILE`).",
    ),
    Code.HIDDEN: Kind(
        "hidden",
        "secrets of this map are hidden by another map",
        _E,
        "A `nixsecrets.toml` (or a link of that name) lies in a folder below this map,"
        " and rules of this map name files there. Such a folder belongs to its own map:"
        " no command of this one looks at it, and a host that is removed here reads on"
        " there. Commands that take access from somebody who reads such a file stop."
        "\n\nIf the inner map is not wanted, remove it: `git rm FILE`. If it is, narrow"
        " the rule of this map so that it names nothing in that folder (`secrets/*`"
        " instead of `secrets/**`), and remove hosts and users in both maps.",
    ),
    Code.NOT_AGE: Kind(
        "not-age",
        "a file is called .age and is not encrypted",
        _E,
        "The name ends in `.age`, but the file is neither an age nor a sops file. That"
        " is an error wherever it lies, under whatever rule: everybody who reads the"
        " name takes the content for encrypted.\n\nEncrypt it (`nixsecrets set FILE"
        " --from-file FILE`; a `[[secrets]]` rule has to name it), or give it another"
        " name. If it was committed before, its content is known to anyone who has the"
        " repository.",
    ),
    Code.STRAY_FILE: Kind(
        "stray-file",
        "an ordinary file is added to a folder of secrets",
        _E,
        "No rule names this new file, it is not encrypted, and the last commit (or,"
        " where that has nothing there, the map) has only secrets in its folder. Most"
        " often a secret was put there that no rule covers. `*.nix`, `*.md`, `*.pub`"
        " and `.git*` are never meant.\n\nThree ways out: encrypt it (a `[[secrets]]`"
        " rule that names it, then `nixsecrets set FILE --from-file FILE --git-add`);"
        ' allow it (a rule that names it with `plaintext = "allowed"`); or put it into'
        " another folder.",
    ),
    Code.DECLARED_UNREADABLE: Kind(
        "declared-unreadable",
        "a host declares a secret that it cannot decrypt",
        _E,
        "The configuration names the file under `age.secrets` or `sops.secrets`, and"
        " the host (or, in home-manager, the user) is none of its readers. The build"
        " succeeds; activation fails, with sops-nix for every secret of the"
        " machine.\n\nIf the map lets the host read it: `nixsecrets rekey FILE`."
        " Otherwise name the host in the rule first.",
    ),
    Code.DECLARED_FORM: Kind(
        "declared-form",
        "a declared secret is encrypted to the other form of the host's key",
        _E,
        "agenix opens what is encrypted to the ssh key itself, sops-nix what is"
        " encrypted to the converted (`age1…`) key; neither opens the other."
        "\n\n`nixsecrets rekey FILE` writes the right one.",
    ),
    Code.DECLARED_MISSING: Kind(
        "declared-missing",
        "a declared file is not there",
        _E,
        "The configuration names a file that the repository does not have: its name"
        " is misspelt, or the secret is still to be written (`nixsecrets edit FILE`).",
    ),
    Code.DECLARED_UNTRACKED: Kind(
        "declared-untracked",
        "a declared file is not tracked by git",
        _E,
        "Flakes see tracked files only: for Nix the file does not exist."
        "\n\n`git add FILE`.",
    ),
    Code.DECLARED_KEY: Kind(
        "declared-key",
        "a declared key is not in its sops file",
        _E,
        "sops-nix looks for `key` (by default the secret's name; `/` descends) in the"
        " first document of the file. Keys that themselves contain a `/` cannot be"
        " reached.\n\nWrite it (`nixsecrets edit FILE`), or set `key`.",
    ),
    Code.DECLARED_NO_TEXT: Kind(
        "declared-no-text",
        "a declared value is not a text",
        _E,
        "sops-nix needs a string. A number, a boolean, a list or a mapping passes its"
        " build check and fails at activation.\n\nPut the value into quotes:"
        " `nixsecrets edit FILE`.",
    ),
    Code.DECLARED_FORMAT: Kind(
        "declared-format",
        "a secret is declared in a way its file cannot be used",
        _E,
        "The backend or the `format` is not that of the file; one file is declared"
        " with two formats; a key is picked from a file that is used whole (dotenv,"
        " ini, binary); or a nested key from a JSON file, which sops-nix refuses.",
    ),
    Code.NO_IDENTITY: Kind(
        "no-identity",
        "a configuration names no private key to decrypt with",
        _E,
        "`age.identityPaths` is empty, or neither `sops.age.sshKeyPaths` nor"
        " `sops.age.keyFile` is set. Often sshd is off, whose host keys are the"
        " default.",
    ),
    Code.IDENTITY_UNLIKELY: Kind(
        "identity-unlikely",
        "the private keys a configuration names do not look like the key in the map",
        _W,
        "The map has an ssh-ed25519 key and the paths look like age or RSA keys, or"
        " the other way round. Told by the names of the files, so it may be wrong.",
    ),
    Code.IDENTITY_LOST: Kind(
        "identity-lost",
        "a private key does not lie where files outlive a reboot",
        _W,
        "The configuration uses impermanence, and the key is read before links and"
        " mounts into the persistent folder exist. Name it by its path there, such as"
        " `/persist/etc/ssh/ssh_host_ed25519_key`.",
    ),
    Code.NOT_IN_MAP: Kind(
        "not-in-map",
        "a configuration declares secrets, and the map does not know it",
        _E,
        "No host of the map has the configuration's name or host name (no user, for"
        " home-manager).\n\n`nixsecrets add-host NAME`; `nixsecrets add-host"
        " --discover --flake .` lists them all.",
    ),
    Code.DOES_NOT_EVALUATE: Kind(
        "does-not-evaluate",
        "a configuration, or a secret in it, does not evaluate",
        _E,
        "Nothing can be said about it. The message is Nix's own.",
    ),
    Code.READ_NOT_DECLARED: Kind(
        "read-not-declared",
        "a host can read a secret that nothing in it declares",
        _W,
        "Least privilege: who does not use a secret need not read it. Take the host"
        " out of the rule, or declare the secret. Hosts in `always` are not told.",
    ),
    Code.NOBODY_DECLARES: Kind(
        "nobody-declares",
        "hosts can read a secret, and none of them declares it",
        _W,
        "A secret that is not used any more, or is used in a way that evaluation does"
        " not show (a script that calls sops).",
    ),
    Code.TEMPLATE_TOO_EARLY: Kind(
        "template-too-early",
        "a template uses a secret that is needed for users",
        _E,
        "sops-nix installs secrets with `neededForUsers` before users exist, and"
        " renders templates after; the placeholder is never filled in.",
    ),
}


# The one command that mends it, run where the map lies; {git} and {nixsecrets} are the
# programs, told where that is.
_FIXES: Mapping[Code, str] = {
    Code.PLAINTEXT: "{nixsecrets} set {file} --from-file {file} --git-add",
    Code.DAMAGED: "{git} checkout HEAD -- {file}",
    Code.OPEN_VALUE: "{git} checkout HEAD -- {file} && {nixsecrets} edit {file}",
    Code.UNMERGED: "{nixsecrets} edit {file} --git-add",
    Code.WEAK_OPTIONS: "{nixsecrets} rekey {file}",
    Code.LEFTOVER: "{git} rm --cached {file}",
    Code.NOT_A_FILE: "{git} rm --cached {file}",
    Code.NOT_AGE: "{git} rm --cached {file}",
    Code.STRAY_FILE: "{git} rm --cached {file}",
    Code.STALE: "{nixsecrets} rekey {file}",
    Code.KEY_AGAIN: "{nixsecrets} edit {file}",
    Code.OPEN_COMMENT: "{nixsecrets} rekey {file}",
    Code.UNKNOWN: "{nixsecrets} rekey {file}",
    Code.FOREIGN_READER: "{nixsecrets} rekey {file}",
    Code.SHARED_KEY: "{nixsecrets} rekey {file}",
    Code.SUSPICIOUS_NOISE: "{nixsecrets} rekey {file}",
    Code.OUT_OF_DATE: "{nixsecrets} sync",
    Code.DECLARED_UNREADABLE: "{nixsecrets} why {file}",
    Code.DECLARED_FORM: "{nixsecrets} rekey {file}",
    Code.DECLARED_MISSING: "{nixsecrets} edit {file}",
    Code.DECLARED_UNTRACKED: "{git} add {file}",
}
_UNSTAGE = _FIXES[Code.LEFTOVER]
RESTORED = frozenset({Code.DAMAGED, Code.OPEN_VALUE})
"""Mended with the last commit's version: not while git has another side at hand."""


def fix_for(
    code: Code, path: str, folder: str = "", *, committed: bool | None = True
) -> str:
    """Return the command that mends a finding, empty where no single one does.

    `path` is relative to `folder`, which is relative to where the command is to be run;
    what was never `committed` cannot be restored from git, and it is no use where the
    last commit has the same fault (None).
    """
    template = _FIXES.get(code, "")
    if code in RESTORED and not committed:
        template = "" if committed is None else _UNSTAGE
    return _command(template, path, folder)


def unmerged_fix(
    path: str, folder: str = "", *, generated: bool = False, added: bool = False
) -> str:
    """Return what settles a conflict; `added`: it was staged as settled.

    Generated files are written from the map; `path` and `folder` are `fix_for`'s.
    """
    template = _FIXES[Code.UNMERGED]
    if generated:
        template = "{nixsecrets} sync --git-add && {git} add {file}"
    elif added:
        template = "{git} update-index --unresolve {file} && " + template
    return _command(template, path, folder)


def _command(template: str, path: str, folder: str) -> str:
    where = f" -C {argument(folder)}" if folder else ""
    return template.format(
        git=f"git{where}", nixsecrets=f"nixsecrets{where}", file=argument(path)
    )


def argument(path: str) -> str:
    """Return a path as an argument in a shell."""
    return shell_word(f"./{path}" if path.startswith("-") else path)


def foreign_reader(key: object) -> str:
    """Return the message about a key that is not age's and that no map names."""
    return f"can be read by {key}, which the map does not name"


def failing(findings: Iterable[Finding], *, strict: bool = False) -> list[Finding]:
    """Return the findings that a check fails on."""
    return [one for one in findings if strict or one.code.fails_check]


def explain(code: Code) -> str:
    """Return what `nixsecrets explain` prints, and the body of a documented code."""
    kind = CATALOGUE[code]
    return f"{code.value} {kind.slug} ({kind.severity}): {kind.title}\n\n{kind.help}\n"


def document() -> str:
    """Return docs/findings.md."""
    return "\n".join(_document())


def _document() -> Iterator[str]:
    yield "# Findings"
    yield ""
    yield "<!-- written by `python -m tests.findings_doc --write`; do not edit -->"
    yield ""
    yield (
        "What `nixsecrets check`, `lint` and `hook run` report. Codes are stable."
        " `check` exits with 1 on errors, with `--strict` on everything."
        " `nixsecrets explain NS010` prints one of these."
    )
    yield ""
    yield "| code | name | severity | what |"
    yield "|---|---|---|---|"
    for code, kind in CATALOGUE.items():
        anchor = f"{code.value.lower()}-{kind.slug}"
        name = f"[{code.value}](#{anchor})"
        yield f"| {name} | {kind.slug} | {kind.severity} | {kind.title} |"
    for code, kind in CATALOGUE.items():
        yield ""
        yield f"## {code.value} {kind.slug}"
        yield ""
        yield f"*{kind.severity}*: {kind.title}."
        yield ""
        yield kind.help
    yield ""
