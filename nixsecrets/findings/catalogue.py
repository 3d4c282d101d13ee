"""The catalogue of findings: meaning, severity and remedy of each code.

Codes are stable, because CI configurations and suppressions refer to them; an obsolete
code stays reserved.  `docs/findings.md` is generated from this table (`document`).
The file is long because it is a table of texts.
"""

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum

from nixsecrets.errors import argument
from nixsecrets.frozen import NamedTuple


class Severity(StrEnum):
    """Severity of a finding: `check` fails on errors, with --strict on all."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


class Code(StrEnum):
    """The stable codes of findings."""

    PLAINTEXT = "NS001"
    DAMAGED = "NS002"
    OPEN_VALUE = "NS003"
    WEAK_OPTIONS = "NS004"
    PRIVATE_KEY = "NS005"
    LEFTOVER = "NS006"
    ORDINARY_SECRET = "NS007"  # noqa: S105 - a code
    NOT_A_FILE = "NS008"
    REGAINED = "NS009"
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
    IDENTITY_UNUSED = "NS090"
    CONTAINER_KEY = "NS094"
    DECLARED_PERMISSIONS = "NS095"
    LATE_FOR_USERS = "NS096"
    UNIT_UNKNOWN = "NS097"
    STORED_OPENLY = "NS098"
    DECLARED_LEFT_OUT = "NS091"
    DECLARED_LINK = "NS092"
    DECLARED_CASE = "NS093"
    CASE_TWINS = "NS088"
    DECLARED_ONLY_HERE = "NS089"
    INPUT_VERSION = "NS087"

    @property
    def severity(self) -> Severity:
        """Severity of this code."""
        return CATALOGUE[self].severity

    @property
    def fails_check(self) -> bool:
        """Return whether `check` fails on it without --strict."""
        return self.severity is Severity.ERROR


class Finding(NamedTuple):
    """One finding at one place in the repository.

    `path` is relative to the map's folder; `line` counts from 1, 0 means the whole
    file; `fix` is the command that resolves the finding, or empty.
    """

    path: str
    code: Code
    message: str
    line: int = 0
    fix: str = ""


def refined(
    found: Iterable[Finding], specific: Mapping[Finding, Finding]
) -> Iterator[Finding]:
    """Yield the findings, each replaced by its more specific one if there is any.

    Specific findings that replace none are yielded too.
    """
    yield from (one for one in found if one not in specific)
    yield from specific.values()


class Kind(NamedTuple):
    """Name, title, severity and help text (Markdown) of a code."""

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
        "The first matching rule of the map makes this path a secret, and the file is"
        " neither an age nor a sops file. Or, under a rule with `plaintext ="
        ' "allowed"`, the file was a secret in the last commit and no longer is.'
        "\n\nEncrypt it in place for its rule's readers: `nixsecrets set FILE"
        " --from-file FILE --git-add`, for both `.age` and sops files. (Stock programs:"
        " `sops encrypt -i FILE`; agenix cannot encrypt an existing file.) If it is not"
        " a secret, narrow the rule. If it was committed before, everyone with the"
        " repository knows its values: change them.",
    ),
    Code.DAMAGED: Kind(
        "damaged",
        "a secret is corrupt or incomplete",
        _E,
        "The file starts like a secret, but something is missing or broken: a truncated"
        " header or armor, metadata without its MAC, a document without metadata, an"
        " entry that is not an age file.\n\nDuring an unfinished merge, rebase or"
        " cherry-pick, the last commit has only one side's value: see NS018. Otherwise"
        " restore the file: `git checkout HEAD -- FILE`. If the last commit has the"
        " same fault, `git log -p -- FILE` shows the version before it. If the file was"
        " never committed, unstage it with `git rm --cached FILE` and write it again:"
        " `nixsecrets edit FILE`.\n\nAge files and sops' dotenv files do not survive"
        " CRLF line ends. If git converted them (`core.autocrlf`), the lines `*.age"
        " -text -merge` and `*.env -text` in `.gitattributes`, which `init` and"
        " `git-setup` write, prevent that; then delete the file and check it out"
        " again.",
    ),
    Code.OPEN_VALUE: Kind(
        "open-value",
        "a value in a sops file is not encrypted",
        _E,
        "The file has sops metadata, but a value that its own selection options, or"
        " those of its rule, cover is in plaintext. Text that only looks like `ENC[…]`"
        " counts as plaintext.\n\nUsually someone edited the file without sops. Restore"
        " the file, unless a merge is unfinished (NS018), and enter the value again:"
        " `git checkout HEAD -- FILE && nixsecrets edit FILE`.",
    ),
    Code.WEAK_OPTIONS: Kind(
        "weak-options",
        "a sops file records weaker selection options than its rule",
        _E,
        "Each sops file records `encrypted_regex` and similar options when it is"
        " created, and sops follows the file, not the rule. This file's options leave"
        " values or comments in plaintext that its rule covers. A rule without `sops`"
        " options covers everything, except below keys that end in `_unencrypted`,"
        " which is sops' own default.\n\n`nixsecrets rekey FILE` encrypts the file with"
        " the options of its rule. If the values are meant to be in plaintext, add the"
        ' options to the rule: `sops = { encrypted_regex = "^db$" }`. Values that were'
        " pushed in plaintext are known: change them.",
    ),
    Code.PRIVATE_KEY: Kind(
        "private-key",
        "a private key",
        _E,
        "The file contains a private key: an age identity (also post-quantum and plugin"
        " identities), an OpenSSH, PEM, DER, PKCS#12, PGP or PuTTY private key, a"
        " WireGuard key under its name, or a key of Nix caches, Nebula, OpenVPN,"
        " minisign, signify, Tor, DNSSEC, TSIG, Matrix or JWK; as text, in base64, in"
        " UTF-16 or URL-encoded, quoted, indented, split or in the middle of a line. A"
        " passphrase on it makes no difference. Placeholders, and keys truncated for a"
        " manual, are ignored.\n\nRemove it and keep it outside the repository, or"
        " encrypt the file. A key that was ever pushed is no longer secret: replace"
        " it.",
    ),
    Code.LEFTOVER: Kind(
        "leftover",
        "a decrypted copy or an editor's copy of a secret",
        _E,
        "The name identifies it as a decrypted copy (`*.dec`, `*.decrypted`), a swap or"
        " backup file of an editor that had a secret open, or the file in which sops"
        " and age keep identities (`keys.txt`).\n\nRun `git rm --cached FILE` and"
        " delete it. `nixsecrets edit` leaves no such files.",
    ),
    Code.ORDINARY_SECRET: Kind(
        "ordinary-secret",
        "a token or password in an ordinary file",
        _E,
        "Found by detect-secrets, which `nixsecrets[scan]` installs. Move the value"
        " into a secret. If it is not a secret, end the line with the comment `pragma:"
        " allowlist secret`.",
    ),
    Code.NOT_A_FILE: Kind(
        "not-a-file",
        "a symbolic link in place of a secret",
        _E,
        "The first matching rule of the map makes this path a secret, but it is a"
        " symbolic link that does not lead to a secret in this repository. A secret"
        " must be a regular file.\n\nPut the encrypted file itself there, or point the"
        " link at a path that a rule matches.",
    ),
    Code.UNMERGED: Kind(
        "unmerged",
        "a file that git could not merge",
        _E,
        "Both sides of a merge (rebase, cherry-pick, stash) changed the file, and git"
        " waits for a decision; or its conflict markers were left in the file. Neither"
        " side is lost until you run `git add FILE` or finish the merge. Taking one"
        " side's file (`git checkout`, `git restore`) discards the other side's value,"
        " and nothing would show it.\n\n`nixsecrets resolve` merges the map, the"
        " recipients and the values of every file that a side changed, and stages the"
        " result. A value that both sides changed stays unmerged, and the command"
        " prints how to choose: `--ours FILE#KEY`, `--theirs FILE#KEY`, or `--edit"
        " FILE`, which opens both versions as one text. `nixsecrets cat"
        " --side ours FILE` and `--side theirs` print each. If the conflict was"
        " committed, `nixsecrets resolve --last` merges again what HEAD was made"
        " from.",
    ),
    Code.REGAINED: Kind(
        "regained",
        "a merge gave access back that one side had revoked",
        _E,
        "One side of the merge removed a reader of this file, from the map or from the"
        " file itself, and the merged file or map has them again: git merges each file"
        " by itself, so it takes a new secret from one side and the removal of a host"
        " from the other without a question. `check` and `status` look at the merge at"
        " which git stopped or that HEAD is, the hook at the one being"
        " committed.\n\n`nixsecrets resolve --last` (`nixsecrets resolve` before the"
        " merge is committed) merges readers as well: whom one side removed is removed."
        " If the map names the reader again in another place, it says where; correct"
        " the map and run `nixsecrets resolve --last --keep-map`. Do not run"
        " `nixsecrets rekey` before: where the map gives access back, so does"
        " `rekey`.",
    ),
    Code.WRONG_MAC: Kind(
        "wrong-mac",
        "the MAC of a sops file does not match its values",
        _E,
        "sops rejects such a file, and so does every host: nobody can open it. Two"
        " people's edits were combined in one text, by hand or by a merge; or someone"
        " changed, moved or removed a value without sops.\n\nThe MAC is verified if the"
        " file differs from the last commit and an identity is available without a"
        " prompt: no passphrase, no plugin, and no command (`SOPS_AGE_KEY_CMD`) is run."
        " Without one, `check` and the hook say that they did not verify it.\n\nIf a"
        " merge is unfinished, `git update-index --unresolve FILE` and then `nixsecrets"
        " edit FILE` combine both sides. Otherwise inspect every value (`sops decrypt"
        " --ignore-mac FILE`); if they are all correct, `sops --rotate --ignore-mac -i"
        " FILE` writes a new MAC.",
    ),
    Code.STALE: Kind(
        "stale-recipients",
        "the recipients of a file differ from the map",
        _E,
        "A reader in the map cannot read the file, someone not in the map can, a key is"
        " in a form that its consumer cannot use, or the selection options differ from"
        " the rule's.\n\n`nixsecrets rekey FILE` corrects it; `nixsecrets why FILE`"
        " shows details.",
    ),
    Code.UNKNOWN: Kind(
        "unknown-recipients",
        "the recipients of a file are unknown",
        _E,
        "X25519 stanzas are anonymous. The lock has no record that matches this file,"
        " or the content of the file contradicts its labels.\n\nIf you know to whom it"
        " was encrypted, vouch for it with `nixsecrets accept FILE`; otherwise run"
        " `nixsecrets rekey FILE`.",
    ),
    Code.REFUSED: Kind(
        "refused",
        "a secret that nixsecrets cannot change",
        _E,
        "It is encrypted with a passphrase, or splits its data key over several key"
        " groups. nixsecrets can report on it but cannot change its recipients:"
        " re-encrypt it to recipients yourself.",
    ),
    Code.UNUSABLE: Kind(
        "unusable-key",
        "a reader's key cannot be used in the file's format",
        _E,
        "For example an ssh-rsa host key for a sops file, or post-quantum and classic"
        " keys together in one age file. Give that reader another key, or remove the"
        " reader from the rule.",
    ),
    Code.FOREIGN_READER: Kind(
        "foreign-reader",
        "a PGP, KMS or Vault entry that is not in the map",
        _E,
        "The metadata of this sops file names a recipient that is not an age key:"
        " `pgp:`, `awskms:`, `gcpkms:`, `azurekv:`, `vault:` or `hckms:`. Anyone who"
        " holds that key can decrypt the file. Anyone who can push can add such an"
        " entry, and stock `sops rotate` and `sops updatekeys` send the new data key to"
        " the address in it, together with your credentials.\n\nnixsecrets never"
        " contacts such a service and never wraps a key for it. A grant, `edit` and"
        " `set` leave the entry unchanged, because the data key stays the same."
        " `nixsecrets rekey FILE`, and every other re-encryption, gives the file a new"
        " data key and drops the entry. That is a revocation: you are asked, or agree"
        " with `--allow-revoke`. Afterwards change the values, which the dropped"
        " recipient may know.",
    ),
    Code.SOPS_REFUSES: Kind(
        "sops-refuses",
        "sops rejects the file or changes a value",
        _E,
        "The file is complete and its values are encrypted, but sops rejects it or"
        " returns another value. Possible reasons: the type of a value (`type:int]` at"
        " its end) is not the one that it was encrypted with, the version in the"
        " metadata is invalid, or there is a JSON key `SOPS` next to the metadata,"
        " which sops before 3.13 mistakes for it. The file's MAC covers neither types"
        " nor version, so anyone who can push can change them.\n\nA changed type is"
        " detected in three ways: by the length of the ciphertext; by earlier versions"
        " of the file (the last five, of files that changed in the last 1,000 commits),"
        " which have the same ciphertext under another type; and by the content, if an"
        " identity is available without a prompt. For the latter, `check` opens every"
        " sops file with a number, a date or a boolean in it, at most 500 per run, and"
        " this clone remembers which were correct. Text that could be a number, marked"
        " as one, is detected only by earlier versions.\n\nA machine that gets such a"
        " file installs none of its values. Restore the version before the change: `git"
        " log -p -- FILE` shows it, `git checkout COMMIT -- FILE` restores it. The file"
        " does not block others: a removal or `rekey` with `--keep-going` names it and"
        " processes the rest.",
    ),
    Code.SUSPICIOUS_NOISE: Kind(
        "suspicious-noise",
        "a stanza marked as noise may be a recipient",
        _E,
        "rage and its relatives add one stanza of random bytes (`…-grease`) to a"
        " header, which every age program ignores. This one does not have the shape"
        " that rage writes, or there are several: it may contain the file key, wrapped"
        " for a hidden recipient.\n\n`nixsecrets rekey FILE` re-encrypts the file with"
        " a new key and without noise. Noise of the usual shape is not reported, since"
        " it looks like random bytes, but no change keeps it: a grant, an edit and a"
        " re-encryption drop it.",
    ),
    Code.SHARED_KEY: Kind(
        "shared-key",
        "two files share one symmetric key",
        _E,
        "One is a manual copy of the other, as made by `cp`. Anyone who can read one of"
        " them knows the symmetric key of the other, whatever its recipients: an age"
        " file key or a sops data key opens every file that it encrypts.\n\n`nixsecrets"
        " rekey FILE` gives the file its own key. If the recipients differed, change"
        " the value too.",
    ),
    Code.DEFAULT_SUFFIX: Kind(
        "default-suffix",
        "a value is in plaintext because its key ends in _unencrypted",
        _N,
        "sops leaves values below a key that ends in `_unencrypted` in plaintext,"
        " unless other selection options are set; every file records this. This is fine"
        " if you named the key for that purpose.\n\nIf the value is a secret, rename"
        " its key (`nixsecrets edit FILE`). If the plaintext is intended, add `sops = {"
        ' unencrypted_suffix = "_unencrypted" }` to the rule; it is then no longer'
        " reported.",
    ),
    Code.UNMANAGED: Kind(
        "unmanaged",
        "a secret that no rule matches",
        _E,
        "The file is encrypted, and the map does not specify who may read it. Add a"
        " `[[secrets]]` rule, or delete the file.",
    ),
    Code.NO_SUCH_NAME: Kind(
        "no-such-name",
        "a path contains a host or user that is not in the map",
        _E,
        "The rule contains `{host}` or `{user}`, and the name at that place in the path"
        " is not in the map. Only the readers in `always` may read the file. Add the"
        " host, or move or delete the file.",
    ),
    Code.HOST_READS_NOTHING: Kind(
        "host-reads-nothing",
        "no rule mentions a host",
        _N,
        "The host may not read any secret. If it needs one, name it, or one of its"
        " groups, in a rule.",
    ),
    Code.USER_READS_NOTHING: Kind(
        "user-reads-nothing",
        "a user is in no group and no rule",
        _N,
        "The user may not read any secret. Add the user to a group, a rule or `always`,"
        " or remove them: `nixsecrets remove-user NAME`.",
    ),
    Code.RETIRED_IN_USE: Kind(
        "retired-in-use",
        "a retired key is in use",
        _W,
        "A host or user in the map has a key that is also in a `[[retired]]` entry: it"
        " was retired once, perhaps because it was lost. The next command grants it"
        " everything its owner may read.\n\nIf that is not intended, remove the key"
        " from the map and run `nixsecrets rekey`. If it is, keep the entry: it records"
        " that the return is intended, and without it `check` reports the key as one"
        " that came back by accident (NS027).",
    ),
    Code.REMOVED_READS: Kind(
        "removed-reads",
        "a removed key can read files",
        _E,
        "The key was removed from the map by `remove-host`, `remove-user`, a rotation"
        " or an edit, as the git history or this clone records. Now the map names the"
        " key again, or it is a recipient of a file. Possible causes: `git revert` of"
        " the removal, the checkout of an old map, a merge that kept the old map, or a"
        " restored old version of a file.\n\nIf that is not intended, run `nixsecrets"
        " remove-host NAME` (or `remove-user`), or `nixsecrets rekey` if only files"
        " have the key. Its holder knows the values that the key can read now.\n\nIf it"
        " is intended, `nixsecrets approve NAME` approves it for this clone. For every"
        " clone, and for CI, record in the map that the key was retired and is used"
        " again: a `[[retired]]` entry with its `name` and `key`, in addition to its"
        " owner's entry. `add-host` and `add-user` with `--allow-retired` keep that"
        " entry; you need as many as the map ever had for the key.",
    ),
    Code.ROLLED_BACK: Kind(
        "rolled-back",
        "a secret is an older version of itself",
        _W,
        "The file is byte for byte a version that a later commit had changed; or sops'"
        " own date in it (`lastmodified`) is older than that of an earlier version. Its"
        " value and recipients are those of that time. `git revert` of a change does"
        " this, and so can anyone who can push: restoring an old file takes no key. The"
        " last thousand commits are compared.\n\nIf that is not intended, restore the"
        " newest version: `git log -p -- FILE`, then `git checkout COMMIT -- FILE`. If"
        " it is, there is nothing to do: the warning disappears when the value changes"
        " again.",
    ),
    Code.KEY_AGAIN: Kind(
        "key-again",
        "a sops file has a duplicate key",
        _W,
        "sops reads and encrypts both values, and programs disagree on which of them"
        " counts: `sops set` and `sops --extract` take the first, most JSON readers the"
        " last; in INI files, sops itself drops the first.\n\nOpen the file and delete"
        " one of them: `nixsecrets edit FILE`.",
    ),
    Code.OPEN_COMMENT: Kind(
        "open-comment",
        "a comment in a sops file is not encrypted",
        _E,
        "sops encrypts comments like values, according to the selection options of the"
        " file. A comment in plaintext was added without sops, or by a very old"
        " version, and everyone with the repository can read it. Comments between the"
        " lines of the metadata, and below the last key of an INI file, are never"
        " encrypted: sops drops them when it next writes the file.\n\n`nixsecrets rekey"
        " FILE` encrypts the comments in place, and drops those that sops drops. If a"
        " comment contained a secret and was pushed, change that secret.",
    ),
    Code.RULE_MATCHES_NOTHING: Kind(
        "rule-matches-nothing",
        "a rule applies to no file",
        _W,
        "No such file exists yet, the path is misspelled, or earlier rules match all of"
        " its files.",
    ),
    Code.FOREIGN_RULE: Kind(
        "foreign-rule",
        "a foreign creation rule applies to a managed file",
        _E,
        "Stock sops uses the first matching rule of `.sops.yaml`, and for this file it"
        " is not one of ours. `sops updatekeys` would give the file other recipients."
        " Move the foreign rule below our block, or make it match less.",
    ),
    Code.RULE_SHADOWED: Kind(
        "rule-shadowed",
        "earlier rules match everything that a rule matches",
        _W,
        "The first matching rule applies, and for every file that this one matches it"
        " is another. Its readers have no effect. Move it up, or delete it.",
    ),
    Code.RULES_OVERLAP: Kind(
        "rules-overlap",
        "two rules with different readers match the same file",
        _N,
        "The order of the rules determines who may read these files. That is how the"
        " map works, and easily overlooked when rules are moved.",
    ),
    Code.OUT_OF_DATE: Kind(
        "out-of-date",
        "a generated file differs from the map",
        _E,
        "`.sops.yaml`, `secrets.nix` or the lock differs from what the map specifies."
        " `nixsecrets sync` writes them.",
    ),
    Code.MISSING_ENTRY: Kind(
        "missing-entry",
        "an age file is missing from secrets.nix",
        _E,
        "Stock agenix cannot edit or rekey the file. `nixsecrets sync` writes the entry"
        " if a rule of the map matches the file; otherwise add a rule.",
    ),
    Code.ENTRY_WITHOUT_FILE: Kind(
        "entry-without-file",
        "secrets.nix names an age file that does not exist",
        _W,
        "This is fine if the secret is yet to be written (`nixsecrets edit FILE`);"
        " otherwise its name is misspelled, or the file was deleted.",
    ),
    Code.REGEX_UNANCHORED: Kind(
        "regex-unanchored",
        "a foreign path_regex matches more than intended",
        _W,
        "sops searches for the expression anywhere in the path: `secrets/h1` also"
        " matches `secrets/h10.yaml` and `old-secrets/h1`, and a dot matches any"
        " character. Write `^` and `$`, and `\\.` for a dot.",
    ),
    Code.FIELD_UNKNOWN: Kind(
        "field-unknown",
        "a field of .sops.yaml that sops does not know",
        _E,
        "sops ignores it silently. A misspelled `path_regex` makes a rule without one,"
        " which matches every file.",
    ),
    Code.SPLIT_KEY_GROUPS: Kind(
        "split-key-groups",
        "a creation rule has several key groups",
        _W,
        "With several groups, the data key is split (Shamir): without a"
        " `shamir_threshold`, decryption takes a key of each group. Usually a stray `-`"
        " before `age:` or `pgp:` created the second group. With an explicit threshold,"
        " nothing is reported.",
    ),
    Code.KEYS_HIDDEN: Kind(
        "keys-hidden",
        "keys next to key_groups have no effect",
        _E,
        "If a rule has `key_groups`, sops ignores `age`, `pgp` and other keys next to"
        " it. Move them into the group.",
    ),
    Code.WRONG_NAME: Kind(
        "wrong-name",
        "sops does not read .sops.yml",
        _W,
        "sops looks only for `.sops.yaml`. Rename the file, or merge it into that one.",
    ),
    Code.SEVERAL_CONFIGS: Kind(
        "several-configs",
        "there is another .sops.yaml",
        _W,
        "sops uses the nearest one at or above the folder it is started in, not the"
        " file's folder: the same file can get other recipients when sops is started"
        " elsewhere. nixsecrets writes one, and leaves the others alone.",
    ),
    Code.KEY_UNUSABLE: Kind(
        "key-unusable",
        "an unusable recipient in .sops.yaml",
        _E,
        "A placeholder that was never replaced, a corrupt key, or a kind of key that"
        " age cannot encrypt to. sops fails for every file of the rule.",
    ),
    Code.KEY_TWICE: Kind(
        "key-twice",
        "a rule names a key twice",
        _W,
        "One of them may have been meant to be another key.",
    ),
    Code.KEY_TWO_NAMES: Kind(
        "key-two-names",
        "one key under two names",
        _W,
        "Removing one of the two names does not revoke access.",
    ),
    Code.CONFIG_UNREADABLE: Kind(
        "config-unreadable",
        "a .sops.yaml that sops cannot read",
        _E,
        "Every sops command started at or below its folder fails, including"
        " decryption.",
    ),
    Code.TOO_LARGE: Kind(
        "too-large",
        "a file exceeds the size limits",
        _E,
        "A repository may come from anyone, so everything read from it has a limit,"
        " listed in `docs/files.md`. The limits are far above what fleets of thousands"
        " of machines need.\n\nFind out what makes the file so large. Split a secret"
        " into several files, or encrypt a large one with age, whose content has no"
        " limit.",
    ),
    Code.REGEX_UNUSABLE: Kind(
        "regex-unusable",
        "a regular expression that sops cannot compile",
        _E,
        "Expressions use RE2 syntax (https://github.com/google/re2/wiki/Syntax): there"
        " are no lookarounds and no backreferences, and `*.yaml` is a glob. nixsecrets"
        " also rejects expressions longer than 4096 characters.\n\nIn the `path_regex`"
        " of a creation rule: sops fails for every file that no earlier rule matches;"
        " rewrite or remove the rule. In the selection options of a file"
        " (`encrypted_regex` and so on): sops silently treats it as an expression that"
        " matches no key, so that every value of an `encrypted_regex` stays in"
        " plaintext. Correct the options of the file's rule, then run `nixsecrets edit"
        " FILE`.",
    ),
    Code.ABSENT: Kind(
        "absent",
        "secrets that git tracks are missing from the disk",
        _E,
        "Rules of the map match files that are in git's index and not in the work tree:"
        " someone removed them without `git rm`, or the checkout is sparse. No command"
        " can re-encrypt them, and a reader who is removed meanwhile can still read the"
        " committed version. Commands that revoke access to such a file, and `rekey`,"
        " stop; `sync` keeps its entries in `secrets.nix` and the lock.\n\nRestore the"
        " files (`git checkout -- FILE`, `git sparse-checkout disable`), or remove them"
        " for good (`git rm FILE`).",
    ),
    Code.HIDDEN: Kind(
        "hidden",
        "secrets of this map are hidden by another map",
        _E,
        "There is a `nixsecrets.toml` (or a symbolic link of that name) in a folder"
        " below this map, and rules of this map match files there. Such a folder"
        " belongs to its own map: no command of this map reads it, and a host that is"
        " removed here can still read files there. Commands that revoke access to such"
        " a file stop.\n\nIf the inner map is not wanted, remove it: `git rm FILE`. If"
        " it is, narrow the rule of this map so that it matches nothing in that folder"
        " (`secrets/*` instead of `secrets/**`), and remove hosts and users in both"
        " maps.",
    ),
    Code.NOT_AGE: Kind(
        "not-age",
        "a file named .age is not encrypted",
        _E,
        "The name ends in `.age`, but the file is neither an age nor a sops file. That"
        " is an error wherever it is and whatever its rule: everyone who reads the name"
        " assumes that the content is encrypted.\n\nEncrypt it (`nixsecrets set FILE"
        " --from-file FILE`; a `[[secrets]]` rule must match it), or rename it. If it"
        " was committed before, everyone with the repository knows its content.",
    ),
    Code.STRAY_FILE: Kind(
        "stray-file",
        "an ordinary file is added to a folder of secrets",
        _E,
        "No rule matches this new file, it is not encrypted, and its folder contains"
        " only secrets in the last commit (or, if the folder is new, according to the"
        " map). Most often it is a secret that no rule covers. `*.nix`, `*.md`, `*.pub`"
        " and `.git*` are never reported.\n\nThere are three solutions: encrypt it (add"
        " a `[[secrets]]` rule that matches it, then run `nixsecrets set FILE"
        " --from-file FILE --git-add`); allow it (a rule that matches it with"
        ' `plaintext = "allowed"`); or move it to another folder.',
    ),
    Code.DECLARED_UNREADABLE: Kind(
        "declared-unreadable",
        "a host declares a secret that it cannot decrypt",
        _E,
        "The configuration names the file under `age.secrets` or `sops.secrets`, and"
        " the host (or, in home-manager, the user) is not one of its recipients. The"
        " build succeeds; activation fails, with sops-nix for every secret of the"
        " machine.\n\nIf the map lets the host read it: `nixsecrets rekey FILE`."
        " Otherwise add the host to the rule first.",
    ),
    Code.DECLARED_FORM: Kind(
        "declared-form",
        "a declared secret is encrypted to the other form of the host's key",
        _E,
        "agenix opens files encrypted to the ssh key itself, sops-nix files encrypted"
        " to the converted (`age1…`) key; neither opens the other.\n\n`nixsecrets rekey"
        " FILE` writes the right form.",
    ),
    Code.DECLARED_MISSING: Kind(
        "declared-missing",
        "a declared file does not exist",
        _E,
        "The configuration names a file that is not in the repository: its name is"
        " misspelled, or the secret is yet to be written (`nixsecrets edit FILE`).",
    ),
    Code.DECLARED_UNTRACKED: Kind(
        "declared-untracked",
        "a declared file is not tracked by git",
        _E,
        "Flakes see only tracked files: for Nix, the file does not exist.\n\n`git add"
        " FILE`.",
    ),
    Code.DECLARED_KEY: Kind(
        "declared-key",
        "a declared key is not in its sops file",
        _E,
        "sops-nix looks for `key` (by default the secret's name; `/` descends) in the"
        " first document of the file. Keys that themselves contain a `/` cannot be"
        " reached.\n\nAdd the key (`nixsecrets edit FILE`), or set `key`.",
    ),
    Code.DECLARED_NO_TEXT: Kind(
        "declared-no-text",
        "a declared value is not a string",
        _E,
        "sops-nix needs a string. A number, a boolean, a list or a mapping passes its"
        " build check and fails at activation.\n\nPut the value in quotes: `nixsecrets"
        " edit FILE`.",
    ),
    Code.DECLARED_FORMAT: Kind(
        "declared-format",
        "a secret is declared in a way that does not fit its file",
        _E,
        "The backend or the `format` is not that of the file; one file is declared with"
        " two formats; a key is selected from a file that is used as a whole (dotenv,"
        " ini, binary); or a nested key from a JSON file, which sops-nix rejects.",
    ),
    Code.NO_IDENTITY: Kind(
        "no-identity",
        "a configuration names no private key to decrypt with",
        _E,
        "`age.identityPaths` is empty, or neither `sops.age.sshKeyPaths` nor"
        " `sops.age.keyFile` is set. Often sshd, whose host keys are the default, is"
        " disabled. The RSA host key that sops-nix by default imports into gpg opens"
        " PGP entries only.",
    ),
    Code.IDENTITY_UNLIKELY: Kind(
        "identity-unlikely",
        "no private key of a configuration opens a secret that its host may read",
        _E,
        "The file is encrypted to a key of the host (or user) in the map, and no path"
        " in `age.identityPaths`, `sops.age.sshKeyPaths` or `sops.age.keyFile` can be"
        " its private key: the map has an ssh-ed25519 key and the paths look like age"
        " or RSA keys, or the reverse; or `sops.age.generateKey` creates an age key on"
        " the machine that the map does not have. Activation fails.\n\nName the private"
        " key of the key in the map (for an ssh host key `sops.age.sshKeyPaths` or"
        " `age.identityPaths`), or add the other key to the map: `nixsecrets"
        " rotate-host NAME`. Files are inferred from their names: an ssh key in a file"
        " called `*.txt` or `*rsa*` is not recognized.",
    ),
    Code.IDENTITY_LOST: Kind(
        "identity-lost",
        "a private key is not on persistent storage",
        _W,
        "The configuration uses impermanence, and the key is read before links and"
        " mounts into the persistent folder exist. Use its path there, such as"
        " `/persist/etc/ssh/ssh_host_ed25519_key`.",
    ),
    Code.NOT_IN_MAP: Kind(
        "not-in-map",
        "a configuration that declares secrets is not in the map",
        _E,
        "No host in the map has the configuration's name or host name (for"
        " home-manager: no user).\n\n`nixsecrets add-host NAME`; `nixsecrets add-host"
        " --discover --flake .` adds all of them.",
    ),
    Code.DOES_NOT_EVALUATE: Kind(
        "does-not-evaluate",
        "a configuration, or a secret in it, does not evaluate",
        _E,
        "It cannot be checked. The message is Nix's own.",
    ),
    Code.READ_NOT_DECLARED: Kind(
        "read-not-declared",
        "a host can read a secret that its configuration does not declare",
        _W,
        "Least privilege: a host that does not use a secret need not read it. Remove"
        " the host from the rule, or declare the secret. Hosts in `always` are not"
        " reported.",
    ),
    Code.NOBODY_DECLARES: Kind(
        "nobody-declares",
        "hosts can read a secret, and none of them declares it",
        _W,
        "The secret is no longer used, or is used in a way that evaluation does not"
        " show (a script that calls sops).",
    ),
    Code.TEMPLATE_TOO_EARLY: Kind(
        "template-too-early",
        "a template uses a secret that is needed for users",
        _E,
        "sops-nix installs secrets with `neededForUsers` before users exist, and"
        " renders templates afterwards; the placeholder is never filled in.",
    ),
    Code.IDENTITY_UNUSED: Kind(
        "identity-unused",
        "one of several private keys of a configuration opens no key of the map",
        _W,
        "Another path opens the secrets, so nothing fails. This one is either left over"
        " (remove it) or a key that the map should have. Paths that sshd, agenix and"
        " sops-nix choose by themselves (`ssh_host_*_key`, `id_*`) are not reported.",
    ),
    Code.CONTAINER_KEY: Kind(
        "container-key",
        "no private key reaches a container that declares secrets",
        _E,
        "A container (or microVM) sees the host's key only if its path is mounted into"
        " it: `containers.NAME.bindMounts`, `microvm.shares`,"
        " `virtualisation.nspawn.containers.NAME.binds`. With user namespaces"
        " (`privateUsers`) it cannot read it even then.\n\nMount the key"
        ' (`bindMounts."/etc/ssh/ssh_host_ed25519_key" = { };`); or give the container'
        " its own key: run sshd in it, and add its key to the map as `HOST.NAME`"
        " (`nixsecrets add-host HOST.NAME --address ADDRESS`), or under another name"
        " that `nixsecrets.name` in the container repeats. An ephemeral container has"
        " no key of its own.",
    ),
    Code.DECLARED_PERMISSIONS: Kind(
        "declared-permissions",
        "a secret is declared with a mode, owner or group that its program refuses",
        _E,
        "sops-install-secrets accepts octal modes only and looks owner and group up; it"
        " installs nothing on the machine if one of them is wrong. agenix calls chmod"
        " and chown, so symbolic modes and numbers are accepted there.\n\nCorrect the"
        ' mode (`"0400"`), or declare the user or group (`users.users.NAME`,'
        " `users.groups.NAME`): one that was created by hand, or that a directory"
        " service has, need not exist when secrets are installed; for such a user give"
        " sops-nix the number (`owner = null; uid = 1000`). Only NixOS"
        " configurations are checked.",
    ),
    Code.LATE_FOR_USERS: Kind(
        "password-too-late",
        "the password of a user is installed after users are created",
        _E,
        "`hashedPasswordFile` is read while users are created. sops-nix installs a"
        " secret before that only with `neededForUsers = true`, and never a template;"
        " agenix not at all if `systemd.sysusers` or `services.userborn` creates the"
        " users. The user has no password then.",
    ),
    Code.UNIT_UNKNOWN: Kind(
        "unit-unknown",
        "a secret restarts or reloads a unit that the configuration does not have",
        _W,
        "`restartUnits` and `reloadUnits` name units in full (`nginx.service`). A"
        " misspelled one is not restarted when the secret changes. Units that come from"
        " a package only (`systemd.packages`) are not seen.",
    ),
    Code.STORED_OPENLY: Kind(
        "stored-openly",
        "an option of nixpkgs writes a secret to the store",
        _W,
        "The option takes a text, and the text of a secret becomes part of a file in"
        " /nix/store, which every user of the machine can read, and every binary cache"
        " it is pushed to. It is in the flake in plaintext, too. Set the named sister"
        " to the path of a declared secret, and change the value: whoever has the"
        " repository or the store knows it.\n\nAbout two dozen options of this kind are"
        " known; a path, a reference (`$__file{…}`, `ext:NAME`) and a locked password"
        " (`!`) are not reported.",
    ),
    Code.DECLARED_LEFT_OUT: Kind(
        "declared-left-out",
        "Nix does not get a declared file as the work tree has it",
        _E,
        'The configuration copies a folder to the store (`"${./secrets}/x.age"`,'
        ' `lib.cleanSource ./. + "/x.age"`, `lib.fileset.toSource`) and names a file'
        " in the copy. The copy has only files that git tracks and that the source"
        " filter includes; activation fails for others. Name the file itself"
        " (`./secrets/x.age`), or change the filter.\n\nThe same holds for a file in a"
        " submodule (name the flake with `?submodules=1`), and for one that git stores"
        " through a filter: Nix gets the pointer of git-lfs or the ciphertext of"
        " git-crypt. An encrypted file needs neither. A file that a flake input lacks"
        " was added after the commit that flake.lock names, if it exists at all.",
    ),
    Code.DECLARED_LINK: Kind(
        "declared-link",
        "a declared file is a symbolic link",
        _E,
        "Nix 2.26 and later copy a path that is a symbolic link as the link alone; it"
        " leads nowhere in the store, and activation fails. (Nix 2.8 follows it.) Name"
        ' the file that it points to, or write `"${self}/secrets/x.age"`, which copies'
        " no single file.",
    ),
    Code.DECLARED_CASE: Kind(
        "declared-case",
        "a declared file is tracked by git in another case",
        _E,
        "Names in the store are case-sensitive, even if the file system of the work"
        " tree is not. Write the name as git has it.",
    ),
    Code.CASE_TWINS: Kind(
        "case-twins",
        "two tracked files have names that differ in case only",
        _W,
        "On a file system that ignores case (the default of macOS), only one of them"
        " exists after a checkout. Rename one: `nixsecrets mv`.",
    ),
    Code.INPUT_VERSION: Kind(
        "input-version",
        "the flake has another version of the secrets' repository",
        _W,
        "The secrets are in a repository of their own, an input of the flake, and its"
        " flake.lock names a commit in which the file differs from the one here. The"
        " verdict is on that file, which the machine gets. After a commit to the"
        " secrets, run `nix flake update NAME` in the flake (before Nix 2.19: `nix"
        " flake lock --update-input NAME`) and commit flake.lock.",
    ),
    Code.DECLARED_ONLY_HERE: Kind(
        "declared-only-here",
        "Nix gets a declared file from this work tree, but not from every copy",
        _W,
        "Nix reads the files of a work tree with uncommitted changes, and otherwise"
        " what git stores. `git add -N` stores nothing until `git add`; a filter"
        " (git-lfs, git-crypt) stores something else; files with the attribute"
        " `export-ignore` are missing where a flake is fetched as an archive"
        " (`github:`, a tarball).",
    ),
}


# The command that resolves the finding, run in the map's folder; {git} and {nixsecrets}
# stand for the programs, with `-C FOLDER` if run elsewhere.
_FIXES: Mapping[Code, str] = {
    Code.PLAINTEXT: "{nixsecrets} set {file} --from-file {file} --git-add",
    Code.DAMAGED: "{git} checkout HEAD -- {file}",
    Code.OPEN_VALUE: "{git} checkout HEAD -- {file} && {nixsecrets} edit {file}",
    Code.UNMERGED: "{nixsecrets} resolve",
    Code.REGAINED: "{nixsecrets} resolve --last",
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
"""Resolved with the last commit's version, but not during an unfinished merge."""


def fix_for(
    code: Code, path: str, folder: str = "", *, committed: bool | None = True
) -> str:
    """Return the command that resolves a finding, empty if no single one does.

    `path` is relative to `folder`, and that to the folder in which the command will be
    run.  `committed`: the last commit has an intact version (True), has none (False:
    the file was never committed), or has the same fault (None).
    """
    template = _FIXES.get(code, "")
    if code in RESTORED and not committed:
        template = "" if committed is None else _UNSTAGE
    return _command(template, path, folder)


def unmerged_fix(
    path: str, folder: str = "", *, finished: bool = False, generated: bool = False
) -> str:
    """Return the command that resolves a merge conflict.

    `finished`: git merges nothing any more, the conflict was committed; `generated`:
    nixsecrets writes the file from the map.  `path` and `folder` as in `fix_for`.
    """
    template = _FIXES[Code.UNMERGED]
    if finished:
        sync = "{nixsecrets} sync --git-add && {git} add {file}"
        template = sync if generated else template + " --last"
    return _command(template, path, folder)


def _command(template: str, path: str, folder: str) -> str:
    where = f" -C {argument(folder)}" if folder else ""
    return template.format(
        git=f"git{where}", nixsecrets=f"nixsecrets{where}", file=argument(path)
    )


def foreign_reader(key: object) -> str:
    """Return the message about a recipient that is not an age key (NS014)."""
    return f"can be read by {key}, which the map does not name"


def failing(findings: Iterable[Finding], *, strict: bool = False) -> list[Finding]:
    """Return the findings on which `check` fails."""
    return [one for one in findings if strict or one.code.fails_check]


def explain(code: Code) -> str:
    """Return the output of `nixsecrets explain CODE`."""
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
        "All findings of `nixsecrets check`, `lint` and `hook run`. Codes are stable."
        " `check` exits with 1 on errors, with `--strict` on any finding."
        " `nixsecrets explain NS010` prints one of these entries."
    )
    yield ""
    yield "| code | name | severity | meaning |"
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
