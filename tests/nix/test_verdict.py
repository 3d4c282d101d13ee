"""Verdicts on declared secrets, from a file: each bad case once, without any Nix."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nixsecrets.files.state import Record
from nixsecrets.findings.catalogue import Code
from nixsecrets.generated.lock import Lock
from nixsecrets.keys.recipients import parse_recipient
from nixsecrets.repo.files import sha256
from tests import fleet as kit
from tests.cli.conftest import changed
from tests.fleet import Fleet

HOST_KEY = "/etc/ssh/ssh_host_ed25519_key"


def age(file: str | None, name: str = "x", **more: Any) -> dict[str, Any]:
    secret = {"name": name, "file": file, **more}
    return {"age": {"identityPaths": [HOST_KEY], "secrets": [secret]}}


def sops(file: str, name: str = "app", **more: Any) -> dict[str, Any]:
    secret = {"name": name, "file": file, "key": name, "format": "yaml", **more}
    return {"sops": {"sshKeyPaths": [HOST_KEY], "secrets": [secret]}}


def host(name: str, *parts: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"kind": "nixos", "name": name, "parts": list(parts), **more}


def write(fleet: Fleet, *hosts: dict[str, Any]) -> Path:
    path = fleet.root.parent / "declared.json"
    path.write_text(json.dumps({"nixsecrets_declared": 1, "hosts": hosts}))
    return path


def verdicts(fleet: Fleet, *hosts: dict[str, Any]) -> list[str]:
    """The findings about declarations, without those about least privilege."""
    done = fleet.run("check", "--json", "--declared", write(fleet, *hosts))
    assert done.stdout, done.stderr
    found = json.loads(done.stdout)["problems"]
    errors = [one for one in found if Code(one["code"]).fails_check]
    assert done.returncode == (1 if errors else 0)
    return [
        f"{one['code']} {one['path']}: {one['message']}"
        for one in found
        if one["code"] > "NS069" and one["code"] not in {"NS082", "NS083"}
    ]


def nothing(fleet: Fleet) -> None:
    return


def numbers(fleet: Fleet) -> None:
    brunnen = parse_recipient(fleet.public("brunnen")).converted().text
    to = [fleet.public("alice"), brunnen]
    fleet.sops_encrypt("secrets/app.yaml", "port: 5432\nlist: [a]\nok: b\n", to)


def ssh_form(fleet: Fleet) -> None:
    to = [fleet.public("alice"), " ".join(fleet.public("brunnen").split()[:2])]
    fleet.sops_encrypt("secrets/app.yaml", "app: x\n", to)


def other_form(fleet: Fleet) -> None:
    """An age file for the converted key of the host, as the lock says, too."""
    readers = [fleet.public("alice"), fleet.public("brunnen")]
    keys = tuple(parse_recipient(one).converted() for one in readers)
    path = "secrets/wifi.age"
    fleet.age_encrypt(path, "x", *(key.text for key in keys))
    lock = fleet.root / "nixsecrets.lock"
    record = Record(keys, sha256(fleet.read(path)), "written")
    known = Lock.parse(lock.read_text())
    lock.write_text(known.with_files({path: record}, {}).render())


WHOLE = {
    "dotenv": ("secrets/whole.env", "A=b\n"),
    "ini": ("secrets/whole.ini", "[a]\nb = c\n"),
    "binary": ("secrets/whole.bin", "anything"),
}


def whole(fleet: Fleet) -> None:
    """Files that sops-nix uses whole."""
    brunnen = parse_recipient(fleet.public("brunnen")).converted().text
    for path, content in WHOLE.values():
        fleet.sops_encrypt(path, content, [fleet.public("alice"), brunnen])
    fleet.git("add", "-A")


def in_the_cloud(fleet: Fleet) -> None:
    """A file that a machine may open with what its cloud, or gpg, gives it."""
    text = fleet.read("secrets/dns.yaml").decode()
    kms = "    kms:\n        - arn: arn:aws:kms:eu-west-1:1:key/a\n          enc: A\n"
    fleet.write("secrets/dns.yaml", text.replace("sops:\n", "sops:\n" + kms))


def with_pgp(fleet: Fleet) -> None:
    """A file with a PGP entry."""
    text = fleet.read("secrets/dns.yaml").decode()
    pgp = "    pgp:\n        - fp: 85D7\n          enc: A\n"
    fleet.write("secrets/dns.yaml", text.replace("sops:\n", "sops:\n" + pgp))


def bob(fleet: Fleet) -> None:
    """A user of the map who reads nothing."""
    fleet.ok("add-user", "bob", "--key", kit.age_key().public, "--yes")


def anonymous(fleet: Fleet) -> None:
    fleet.age_encrypt("secrets/wifi.age", "x", "alice", "brunnen")


def only_x25519(fleet: Fleet) -> None:
    """A file as `age -r age1…` writes it, that the lock does not know."""
    fleet.age_encrypt("secrets/wifi.age", "x", kit.age_key().public)


def untracked(fleet: Fleet) -> None:
    fleet.git("rm", "-q", "--cached", "secrets/wifi.age")


def plain(fleet: Fleet) -> None:
    fleet.write("secrets/app.yaml", "app: x\n")


def cut(fleet: Fleet) -> None:
    fleet.write("secrets/wifi.age", fleet.read("secrets/wifi.age")[:-20])


TLS = "secrets/hosts/brunnen/tls.json"
GOOD = [
    *(
        (
            f"a key called {path}",
            host("brunnen", {"age": {"identityPaths": [path],
                "secrets": [{"name": "x", "file": "secrets/wifi.age"}]}}),
        )
        for path in ("/root/.ssh/agenix", "/var/lib/universal/key", "/keys/agenix_key")
    ),
    (
        "a key file that may hold the converted host key",
        host("brunnen", {"sops": sops("secrets/app.yaml")["sops"]
             | {"sshKeyPaths": [], "keyFile": "/var/lib/key"}}),
    ),
    (
        "what may be opened by gpg and need not be",
        host("brunnen", {"sops": sops("secrets/app.yaml")["sops"] | {"gnupg": True}}),
    ),
    ("an age file", host("brunnen", age("secrets/wifi.age"))),
    ("a sops value", host("brunnen", sops("secrets/app.yaml"))),
    ("a whole sops file", host("brunnen", sops("secrets/app.yaml", "all", key=""))),
    ("a value of JSON", host("brunnen", sops(TLS, "key", format="json"))),
    ("a host by its host name", host("b", age("secrets/wifi.age"), hostName="brunnen")),
    (
        "a container with the keys of its host",
        host("brunnen", {"at": "container web", "container": "web"} | sops(TLS, "key")),
    ),
    (
        "a container with keys of its own",
        host("x", {"at": "container stein", "container": "stein"}
             | age("secrets/dns.age")),
    ),
    (
        "a file of another input",
        host("brunnen", age("private/x.age", input="private")),
    ),
    ("a file on the machine", host("brunnen", age(None, outside="/var/lib/x"))),
]  # fmt: skip


@pytest.mark.parametrize("declared", [g[1] for g in GOOD], ids=[g[0] for g in GOOD])
def test_what_can_be_decrypted_is_no_finding(
    ready: Fleet, declared: dict[str, Any]
) -> None:
    assert verdicts(ready, declared) == []


Spoil = Callable[[Fleet], None]
CASES: list[tuple[str, Spoil, dict[str, Any], list[str]]] = [
    (
        "not a recipient, and the map says so",
        nothing,
        host("stein", age("secrets/wifi.age")),
        [
            "NS070 secrets/wifi.age: stein declares age.secrets.x: host stein is not"
            " a recipient; no rule lets it read"
        ],
    ),
    (
        "the other form of the key",
        ssh_form,
        host("brunnen", sops("secrets/app.yaml")),
        [
            "NS071 secrets/app.yaml: brunnen declares sops.secrets.app: it is"
            " encrypted to a form of the key that sops-nix does not open"
        ],
    ),
    (
        "the other form of the key in an age file",
        other_form,
        host("brunnen", age("secrets/wifi.age")),
        [
            "NS071 secrets/wifi.age: brunnen declares age.secrets.x: it is encrypted to"
            " a form of the key that agenix does not open"
        ],
    ),
    (
        "files that are used whole",
        whole,
        host("brunnen", *(sops(path, format=kind, key=key)
             for kind, (path, _) in WHOLE.items() for key in ("app", ""))),
        [],
    ),
    *(
        (
            f"a key of a {kind} file",
            whole,
            host("brunnen", sops(path, format=kind, key="a")),
            [
                f"NS076 {path}: brunnen declares sops.secrets.app:"
                f" {'an' if kind == 'ini' else 'a'} {kind} file is used whole, and"
                ' "a" is picked from it'
            ],
        )
        for kind, (path, _) in WHOLE.items()
    ),
    (
        "opened by KMS, which no key of the map tells",
        in_the_cloud,
        host("brunnen", sops("secrets/dns.yaml", "dns")),
        [],
    ),
    (
        "opened by PGP, which the configuration names",
        with_pgp,
        host("brunnen", {"sops": sops("secrets/dns.yaml", "dns")["sops"]
             | {"gnupg": True}}),
        [],
    ),
    (
        "a PGP entry, and no gpg in the configuration",
        with_pgp,
        host("brunnen", sops("secrets/dns.yaml", "dns")),
        [
            "NS070 secrets/dns.yaml: brunnen declares sops.secrets.dns: host brunnen is"
            " not a recipient; no rule lets it read"
        ],
    ),
    (
        "missing",
        nothing,
        host("brunnen", age("secrets/gone.age", exists=False)),
        ["NS072 secrets/gone.age: brunnen declares age.secrets.x: it does not exist"],
    ),
    (
        "outside of the repository by its name",
        nothing,
        host("brunnen", age("../x.age")),
        ["NS072 ../x.age: brunnen declares age.secrets.x: it does not exist"],
    ),
    (
        "not git-added",
        untracked,
        host("brunnen", age("secrets/wifi.age")),
        [
            "NS073 secrets/wifi.age: brunnen declares age.secrets.x:"
            " git does not track it"
        ],
    ),
    (
        "no such key",
        nothing,
        host("brunnen", sops("secrets/app.yaml", "db/password")),
        [
            "NS074 secrets/app.yaml: brunnen declares sops.secrets.db/password:"
            ' it has no key "db/password"'
        ],
    ),
    (
        "a number",
        numbers,
        host("brunnen", sops("secrets/app.yaml", "port")),
        [
            "NS075 secrets/app.yaml: brunnen declares sops.secrets.port: the value of"
            ' "port" is not a string: quote it'
        ],
    ),
    (
        "a list",
        numbers,
        host("brunnen", sops("secrets/app.yaml", "list")),
        [
            "NS075 secrets/app.yaml: brunnen declares sops.secrets.list: "
            '"list" is not one value but a mapping or a list'
        ],
    ),
    (
        "a nested key of JSON",
        nothing,
        host("brunnen", sops(TLS, "a/b", format="json")),
        [
            f"NS076 {TLS}: brunnen declares sops.secrets.a/b: "
            '"a/b" is a nested key of a JSON file, which sops-nix refuses'
        ],
    ),
    (
        "another format",
        nothing,
        host("brunnen", sops("secrets/app.yaml", format="dotenv")),
        [
            "NS076 secrets/app.yaml: brunnen declares sops.secrets.app: its format is"
            " yaml, and it is declared as dotenv"
        ],
    ),
    (
        "the other backend",
        nothing,
        host("brunnen", age("secrets/app.yaml")),
        ["NS076 secrets/app.yaml: brunnen declares age.secrets.x: it is a sops file"],
    ),
    (
        "readers that cannot be told",
        anonymous,
        host("brunnen", age("secrets/wifi.age")),
        [],  # NS011 says it, as `check` does without any declaration
    ),
    (
        "no identity",
        nothing,
        host("brunnen", {"age": {"identityPaths": [], **{
            "secrets": [{"name": "x", "file": "secrets/wifi.age"}]}}}),
        ["NS077 flake.nix: brunnen: age.identityPaths is empty"],
    ),
    (
        "no identity for sops-nix",
        nothing,
        host("brunnen", {"sops": sops("secrets/app.yaml")["sops"]
             | {"sshKeyPaths": []}}),
        [
            "NS077 flake.nix: brunnen: neither sops.age.sshKeyPaths nor"
            " sops.age.keyFile is set"
        ],
    ),
    (
        "no age identity for sops-nix, which imports the RSA host key into gpg",
        nothing,
        host("brunnen", {"sops": sops("secrets/app.yaml")["sops"]
             | {"sshKeyPaths": [], "gnupg": True}}),
        [
            "NS077 flake.nix: brunnen: neither sops.age.sshKeyPaths nor"
            " sops.age.keyFile is set"
        ],
    ),
    (
        "an age key that sops-nix generates, and an ssh key in the map",
        nothing,
        host("brunnen", {"sops": sops("secrets/app.yaml")["sops"]
             | {"sshKeyPaths": [], "keyFile": "/var/lib/key.txt",
                "generateKey": True}}),
        [
            "NS078 flake.nix: brunnen: the map has a key of kind ssh-ed25519, and"
            " sops.age.keyFile names /var/lib/key.txt (generated on the machine)"
        ],
    ),
    (
        "one of two private keys that opens nothing",
        nothing,
        host("brunnen", {"age": {"identityPaths": [HOST_KEY, "/var/lib/key.txt"],
            "secrets": [{"name": "x", "file": "secrets/wifi.age"}]}}),
        [
            "NS090 flake.nix: brunnen: age.identityPaths /var/lib/key.txt opens no key"
            " of the map"
        ],
    ),
    (
        "an age file that has no stanza for an ssh key",
        only_x25519,
        host("brunnen", age("secrets/wifi.age")),
        [
            "NS070 secrets/wifi.age: brunnen declares age.secrets.x: none of its"
            " recipients is an ssh key, as that of host brunnen is"
        ],
    ),
    (
        "a key on persistent storage that opens nothing, and one that does not outlive",
        nothing,
        host("brunnen", {"persistent": ["/persist"], "age": {
            "identityPaths": [HOST_KEY, "/persist/etc/ssh/ssh_host_rsa_key"],
            "secrets": [{"name": "x", "file": "secrets/wifi.age"}]}}),
        [
            f"NS079 flake.nix: brunnen: age.identityPaths names {HOST_KEY}, which is"
            " not below /persist"
        ],
    ),
    (
        "an RSA key for sops-nix",
        nothing,
        host("brunnen", {"sops": sops("secrets/app.yaml")["sops"]
             | {"sshKeyPaths": ["/etc/ssh/ssh_host_rsa_key"]}}),
        [
            "NS078 flake.nix: brunnen: the map has a key of kind ssh-ed25519, and"
            " sops.age.sshKeyPaths names /etc/ssh/ssh_host_rsa_key"
        ],
    ),
    (
        "an identity of another kind",
        nothing,
        host("brunnen", {"age": {"identityPaths": ["/var/lib/keys.txt"],
            "secrets": [{"name": "x", "file": "secrets/wifi.age"}]}}),
        [
            "NS078 flake.nix: brunnen: the map has a key of kind ssh-ed25519, and"
            " age.identityPaths names /var/lib/keys.txt"
        ],
    ),
    (
        "an identity that does not outlive a reboot",
        nothing,
        host("brunnen", age("secrets/wifi.age") | {"persistent": ["/persist"]}),
        [
            f"NS079 flake.nix: brunnen: age.identityPaths names {HOST_KEY}, which is"
            " not below /persist"
        ],
    ),
    (
        "a host that the map does not have",
        nothing,
        host("fremd", age("secrets/wifi.age")),
        [
            "NS080 nixsecrets.toml: fremd declares secrets, and the map has no host"
            " fremd",
        ],
    ),
    (
        "a host that does not evaluate",
        nothing,
        host("brunnen", error="attribute 'x' missing"),
        ["NS081 flake.nix: brunnen does not evaluate: attribute 'x' missing"],
    ),
    (
        "a secret that does not evaluate",
        nothing,
        host("brunnen", age(None, error="its file does not evaluate")),
        [
            "NS081 flake.nix: brunnen declares age.secrets.x: its file does not"
            " evaluate"
        ],
    ),
    (
        "a template with a secret that is needed for users",
        nothing,
        host("brunnen", {"sops": {"sshKeyPaths": [HOST_KEY], "secrets": [
            {"name": "app", "file": "secrets/app.yaml", "neededForUsers": True}],
            "templates": [{"name": "env", "uses": ["app"]}]}}),
        [
            "NS084 flake.nix: brunnen declares sops.templates.env: it uses app, which"
            " is needed for users"
        ],
    ),
    (
        "a user who is no reader",
        bob,
        host("brunnen", {"at": "home-manager user bob", "user": "bob"}
             | age("secrets/wifi.age") | {"age": {"identityPaths": None, "secrets": [
                 {"name": "x", "file": "secrets/wifi.age"}]}}),
        [
            "NS070 secrets/wifi.age: brunnen home-manager user bob declares"
            " age.secrets.x: user bob is not a recipient; no rule lets it read",
        ],
    ),
    (
        "a user whom the map does not have",
        nothing,
        host("stein", {"at": "home-manager user bob", "user": "bob"}
             | age("secrets/wifi.age")),
        [
            "NS080 nixsecrets.toml: stein home-manager user bob declares secrets, and"
            " the map has no user bob",
        ],
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("spoil", "declared", "expected"),
    [case[1:] for case in CASES],
    ids=[case[0] for case in CASES],
)
def test_what_cannot_be_decrypted_is_a_finding(
    ready: Fleet, spoil: Spoil, declared: dict[str, Any], expected: list[str]
) -> None:
    spoil(ready)
    before = ready.snapshot()
    assert verdicts(ready, declared) == expected
    assert changed(ready, before) == set()


@pytest.mark.parametrize(("spoil", "code"), [(plain, "NS001"), (cut, "NS002")])
def test_a_declared_file_that_is_no_secret_has_its_usual_code(
    ready: Fleet, spoil: Spoil, code: str
) -> None:
    spoil(ready)
    path = "secrets/app.yaml" if spoil is plain else "secrets/wifi.age"
    declared = sops(path) if spoil is plain else age(path)
    done = ready.run("check", "--declared", write(ready, host("brunnen", declared)))
    assert f"{code}  {path}: brunnen declares" in done.stdout


@pytest.mark.parametrize(
    ("spoil", "key", "more", "verdict"),
    [
        (in_the_cloud, "dns", {}, "not checked: it can be opened by awskms"),
        (with_pgp, "dns", {"gnupg": True}, "not checked: it can be opened by pgp"),
        (ssh_form, "app", {"sshPrivateKeyFile": HOST_KEY}, "ok"),
    ],
)
def test_what_else_opens_a_sops_file_is_taken_into_account(
    ready: Fleet, spoil: Spoil, key: str, more: dict[str, Any], verdict: str
) -> None:
    spoil(ready)
    path = f"secrets/{key}.yaml"
    part = {"sops": sops(path, key)["sops"] | more}
    done = ready.run("check", "--declared", write(ready, host("brunnen", part)))
    assert f"  sops.secrets.{key}  {path}  {verdict}\n" in done.stdout


def test_a_mac_without_a_host_name_is_known_by_the_name_of_its_configuration(
    ready: Fleet,
) -> None:
    part = age("secrets/dns.age")
    mac = host("schere", part) | {"kind": "darwin", "hostName": None}
    assert verdicts(ready, mac) == []
    assert verdicts(ready, mac | {"name": "mac"}) == [
        "NS080 nixsecrets.toml: mac declares secrets, and the map has no host mac"
    ]


@pytest.mark.parametrize("form", ["sarif", "gitlab"])
def test_other_formats_have_the_verdicts_with_their_codes(
    ready: Fleet, form: str
) -> None:
    untracked(ready)
    file = write(
        ready,
        host("brunnen", age("secrets/wifi.age"), sops("secrets/app.yaml", "none")),
        host("fremd", age("secrets/dns.age")),
    )
    done = ready.run("check", "--declared", file, "--format", form)
    assert done.returncode == 1
    told = json.loads(done.stdout)
    if form == "sarif":
        (run,) = told["runs"]
        seen = {
            (
                one["locations"][0]["physicalLocation"]["artifactLocation"]["uri"],
                f"{one['ruleId']} {one['level']}",
                one["message"]["text"].split(": ", 1)[1],
            )
            for one in run["results"]
        }
    else:
        seen = {
            (
                one["location"]["path"],
                f"{one['description'].split(':')[0]} {one['severity']}",
                one["description"].split(": ", 1)[1],
            )
            for one in told
        }
    level = "error" if form == "sarif" else "critical"
    assert {
        (
            "secrets/wifi.age",
            f"NS073 {level}",
            "brunnen declares age.secrets.x: git does not track it",
        ),
        (
            "secrets/app.yaml",
            f"NS074 {level}",
            'brunnen declares sops.secrets.none: it has no key "none"',
        ),
        (
            "nixsecrets.toml",
            f"NS080 {level}",
            "fremd declares secrets, and the map has no host fremd",
        ),
    } <= seen


def test_a_reader_that_the_map_wants_is_one_rekey_away(ready: Fleet) -> None:
    path = ready.root / "nixsecrets.toml"
    before, after = 'server = ["brunnen"]', 'server = ["brunnen", "stein"]'
    path.write_text(path.read_text().replace(before, after))
    seen = verdicts(ready, host("stein", age("secrets/wifi.age")))
    assert seen == [
        "NS070 secrets/wifi.age: stein declares age.secrets.x:"
        " host stein is not a recipient"
    ]
    ready.ok("rekey", "--yes")
    assert verdicts(ready, host("stein", age("secrets/wifi.age"))) == []


def test_two_formats_for_one_file_are_refused_as_sops_nix_does(ready: Fleet) -> None:
    first, second = (
        {"name": name, "file": TLS, "key": "key", "format": name}
        for name in ("json", "yaml")
    )
    side = {"sops": {"sshKeyPaths": [HOST_KEY], "secrets": [first, second]}}
    assert verdicts(ready, host("brunnen", side)) == [
        f"NS076 {TLS}: brunnen declares sops.secrets.yaml: its format is yaml here and"
        " json in another secret"
    ]


def test_a_host_that_reads_more_than_it_uses_fails_only_strictly(
    ready: Fleet,
) -> None:
    all_ = [
        host("brunnen", age("secrets/wifi.age"), sops("secrets/app.yaml")),
        host("stein", age("secrets/dns.age")),
        host("schere"),
    ]
    done = ready.run("check", "--declared", write(ready, *all_))
    assert done.returncode == 0
    lines = [line for line in done.stdout.splitlines() if line.startswith("NS08")]
    assert lines == [
        "NS082  secrets/dns.age: schere can read it, and nothing it declares uses it",
        "NS083  secrets/dns.yaml: schere, stein can read it, and nothing declares it",
        f"NS083  {TLS}: brunnen can read it, and nothing declares it",
    ]
    strict = ready.run("check", "--strict", "--declared", write(ready, *all_))
    assert strict.returncode == 1


def test_least_privilege_is_silent_about_hosts_that_are_not_declared(
    ready: Fleet,
) -> None:
    file = write(
        ready, host("brunnen", age("secrets/wifi.age")), host("stein", error="x")
    )
    done = ready.run("check", "--declared", file, "--host", "brunnen")
    assert "NS08" not in done.stdout
    done = ready.run("check", "--declared", file)
    told = [line.split(":")[0] for line in done.stdout.splitlines() if "NS08" in line]
    assert told == [
        "NS081  flake.nix",
        "NS083  secrets/app.yaml",
        f"NS083  {TLS}",
    ]


def test_the_verdicts_are_a_table_and_are_in_the_json(ready: Fleet) -> None:
    file = write(
        ready,
        host("brunnen", age("secrets/wifi.age"), sops("secrets/app.yaml", "none")),
    )
    done = ready.run("check", "--declared", file)
    assert done.stdout.splitlines()[:3] == [
        "brunnen",
        "  age.secrets.x      secrets/wifi.age  ok",
        '  sops.secrets.none  secrets/app.yaml  NS074 it has no key "none"',
    ]
    rows = json.loads(ready.run("check", "--json", "--declared", file).stdout)
    assert rows["declared"][1] == {
        "host": "brunnen",
        "at": "",
        "option": "sops.secrets.none",
        "path": "secrets/app.yaml",
        "verdict": 'it has no key "none"',
        "code": "NS074",
    }


def test_a_specialisation_is_reported_only_for_what_it_adds(ready: Fleet) -> None:
    more = {"at": "specialisation s"} | age("secrets/dns.age", "y")
    more["age"]["secrets"].append({"name": "x", "file": "secrets/wifi.age"})
    file = write(ready, host("brunnen", age("secrets/wifi.age"), more))
    done = ready.run("check", "--declared", file)
    assert done.stdout.splitlines()[:4] == [
        "brunnen",
        "  age.secrets.x  secrets/wifi.age  ok",
        "brunnen, specialisation s",
        "  age.secrets.y  secrets/dns.age   NS070 host brunnen is not a recipient;"
        " no rule lets it read",
    ]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "declared.json: is not JSON"),
        ("[]", 'declared.json: has no "nixsecrets_declared": 1'),
        ('{"nixsecrets_declared": 2}', 'has no "nixsecrets_declared": 1'),
        ('{"nixsecrets_declared": 1, "hosts": 3}', '"hosts" is not a list'),
        ('{"nixsecrets_declared": 1, "hosts": [{}]}', 'has no "name"'),
        (
            '{"nixsecrets_declared": 1, "hosts": [{"name": "a", "parts":'
            ' [{"age": {"secrets": [{"name": "x", "file": 3}]}}]}]}',
            '"file" is not text',
        ),
        (
            '{"nixsecrets_declared": 1, "hosts": [{"name": "a\\ud800"}]}',
            '"name" is not text',
        ),
    ],
)
def test_a_file_that_is_no_inventory_is_refused(
    ready: Fleet, text: str, complaint: str
) -> None:
    path = ready.root.parent / "declared.json"
    path.write_text(text)
    done = ready.run("check", "--declared", path)
    assert (done.returncode, done.stdout) == (1, "")
    assert complaint in done.stderr
    assert "hint: write it with `nixsecrets check --flake . --save FILE`" in done.stderr


def test_below_a_verdict_stands_the_command_that_mends_it(ready: Fleet) -> None:
    untracked(ready)
    gone = age("secrets/gone file.age", "y")
    file = write(ready, host("brunnen", age("secrets/wifi.age"), gone), host("fremd",
        age("secrets/dns.age")), host("stein", age("secrets/wifi.age")))  # fmt: skip
    done = ready.run("check", "--declared", file)
    assert [x for x in done.stdout.splitlines() if x.startswith("    ")] == [
        "    nixsecrets add-host fremd",
        "    nixsecrets edit 'secrets/gone file.age'",
        "    git add secrets/wifi.age",
    ]
    ready.git("add", "secrets")
    done = ready.run("check", "--declared", file, cwd=ready.root / "secrets")
    assert [x for x in done.stdout.splitlines() if x.startswith("    ")] == [
        "    nixsecrets add-host fremd",
        "    nixsecrets -C .. edit 'secrets/gone file.age'",
        "    nixsecrets -C .. why secrets/wifi.age",
    ]


def test_names_of_strangers_write_nothing_on_the_terminal(ready: Fleet) -> None:
    clear = "\x1b[2J\n"
    named = age(f"secrets/{clear}x.age", f"x{clear}") | {"at": f"container {clear}"}
    outside = age(None, "outside", outside=f"/x{clear}")
    file = write(
        ready,
        host("brunnen", named, outside),
        host(f"evil{clear}NS999", error=f"a{clear}b"),
        host("fremd", sops("secrets/app.yaml", f"key{clear}")),
    )
    for arguments in (("check",), ("ls", "--host", "brunnen")):
        done = ready.run(*arguments, "--declared", file)
        assert "\\x1b[2J\\n" in done.stdout
        assert all(line.isprintable() for line in done.stdout.splitlines())
        assert not [x for x in done.stdout.splitlines() if x.startswith("NS999")]
    done = ready.run("check", "--declared", file, "--host", "nobody")
    assert (done.returncode, clear in done.stderr) == (2, False)


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "secrets/../../../x", "secrets", ".git/config", "x" * 300],
)
def test_a_path_that_no_secret_can_have_is_no_file(ready: Fleet, path: str) -> None:
    declared = host("brunnen", age(path), age("./secrets/wifi.age", "good"))
    done = ready.run("check", "--declared", write(ready, declared))
    lines = done.stdout.splitlines()
    assert lines[1].endswith("NS072 it does not exist")
    assert lines[2].split() == ["age.secrets.good", "secrets/wifi.age", "ok"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--flake", ".", "--declared", "x"], "--flake and --declared exclude"),
        (
            ["--host", "brunnen"],
            "--host and --save apply to the declarations of a flake",
        ),
    ],
)
def test_options_that_contradict_each_other_are_usage_errors(
    ready: Fleet, arguments: list[str], complaint: str
) -> None:
    done = ready.run("check", *arguments)
    assert done.returncode == 2
    assert complaint in done.stderr


def test_a_map_in_a_folder_of_the_repository_finds_its_files(
    tmp_path: Path,
) -> None:
    fleet = kit.make_fleet(tmp_path, hosts=("brunnen",))
    fleet.write_map('[[secrets]]\npath = "*.age"\nreaders = ["brunnen"]\n')
    (fleet.root / "infra").mkdir()
    (fleet.root / "nixsecrets.toml").rename(fleet.root / "infra/nixsecrets.toml")
    fleet.age_encrypt("infra/a.age", "x", "brunnen")
    fleet.git("add", "-A")
    file = write(fleet, host("brunnen", age("infra/a.age"), age("other/b.age", "y")))
    done = fleet.run("check", "--declared", file, cwd=fleet.root / "infra")
    assert "age.secrets.x  a.age        ok" in done.stdout
    assert "other/b.age  not checked: no file of the map" in done.stdout


def test_ls_shows_what_a_host_may_read_next_to_what_it_declares(ready: Fleet) -> None:
    file = write(
        ready,
        host("brunnen", age("secrets/wifi.age"), sops("secrets/dns.yaml", "dns")),
    )
    done = ready.run("ls", "--host", "brunnen", "--declared", file)
    assert done.stdout == (
        "path                            may read  declares\n"
        "secrets/app.yaml                yes       -\n"
        "secrets/dns.yaml                no        sops.secrets.dns\n"
        "secrets/hosts/brunnen/tls.json  yes       -\n"
        "secrets/wifi.age                yes       age.secrets.x\n"
    )
    rows = json.loads(ready.ok("ls", "--host", "brunnen", "--declared", file, "--json"))
    assert rows[1] == {
        "path": "secrets/dns.yaml",
        "may_read": False,
        "declares": ["sops.secrets.dns"],
    }
    assert ready.run("ls", "--declared", file).returncode == 2


def test_ls_and_check_agree_about_what_is_read_with_another_key(ready: Fleet) -> None:
    bob(ready)
    ready.git("add", "-A")
    home = {"at": "home-manager user bob", "user": "bob"} | age("secrets/dns.age", "d")
    alice = {"at": "home-manager user alice", "user": "alice", "age": {
        "secrets": [{"name": "a", "file": "secrets/dns.age"}]}}  # fmt: skip
    closed = sops("secrets/app.yaml") | {"at": ""}
    closed["sops"]["sshKeyPaths"] = ["/etc/ssh/ssh_host_rsa_key"]
    input_ = age("wifi.age", "far", input="private")["age"]["secrets"]
    file = write(
        ready,
        host("b", closed | {"age": {"secrets": input_}}, home, hostName="brunnen"),
        host("laptop", alice, hostName="stein"),
    )
    for name, lines in (
        (
            "b",
            [
                "secrets/app.yaml                no        sops.secrets.app",
                "secrets/dns.age                 no        age.secrets.d",
                "secrets/hosts/brunnen/tls.json  yes       -",
                "secrets/wifi.age                yes       -",
                '"the input private"             unknown   age.secrets.far',
            ],
        ),
        (
            "laptop",
            [
                "secrets/dns.age   yes       age.secrets.a",
                "secrets/dns.yaml  yes       -",
            ],
        ),
    ):
        done = ready.run("ls", "--host", name, "--declared", file)
        assert done.stdout.splitlines()[1:] == lines, done.stderr
    rows = json.loads(ready.run("check", "--json", "--declared", file).stdout)
    verdict = {row["option"]: row["verdict"] for row in rows["declared"]}
    assert verdict["age.secrets.a"] == "ok"
    assert verdict["age.secrets.far"] == "not checked: the input private"
    assert "ok" not in (verdict["sops.secrets.app"], verdict["age.secrets.d"])


@pytest.mark.parametrize("path", ["/root/.ssh/agenix", "/etc/ssh/keys", "/age/agekey"])
def test_a_name_that_says_nothing_may_be_an_age_key_too(
    ready: Fleet, path: str
) -> None:
    alice = {"at": "home-manager user alice", "user": "alice", "age": {
        "identityPaths": [path],
        "secrets": [{"name": "a", "file": "secrets/dns.age"}]}}  # fmt: skip
    assert verdicts(ready, host("brunnen", alice)) == []
