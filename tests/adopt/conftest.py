"""A repository that was kept by hand for years: both backends, and what goes wrong."""

import dataclasses
import shutil
from pathlib import Path

import pytest

from nixsecrets.keys.recipients import parse_recipient
from tests import fleet as kit
from tests.fleet import Fleet


def converted(fleet: Fleet, name: str) -> str:
    """The age1 text that ssh-to-age prints for a host's or user's ssh key."""
    return parse_recipient(fleet.public(name)).converted().text


def sops_config(fleet: Fleet) -> str:
    """A `.sops.yaml` as people write it."""
    return f"""\
# Run `sops updatekeys` after a change here.
keys:
  # Users
  - &user_alice {fleet.public("alice")}
  # Hosts
  - &host_web {converted(fleet, "web")}
  - &host_db {converted(fleet, "db")} # in the cellar
creation_rules:
  # legacy: the old admin key
  - path_regex: ^legacy/.*
    key_groups:
      - pgp:
          - 85D77543B3D624B63CEA9E6DBC17301B491B3F21
        age:
          - *user_alice
  - path_regex: ^hosts/web/.+\\.yaml$
    key_groups:
      - age:
          - *user_alice
          - *host_web
  - path_regex: ^hosts/db/.+\\.yaml$
    key_groups:
      - age:
          - *user_alice
          - *host_db
  # everybody's; keep this rule last
  - path_regex: shared/[^/]+\\.(yaml|env)$
    key_groups:
      - age: [*user_alice, *host_web, *host_db]
  - path_regex: ^shared/never\\.yaml$
    key_groups:
      - age: [*user_alice]
"""


def agenix_rules(fleet: Fleet) -> str:
    """A `secrets.nix` as people write it."""
    return f"""\
# After adding a host: agenix -r -i ~/.ssh/id_ed25519
let
  alice = "{fleet.public("alice")}";
  bob = "{fleet.public("bob")}"; # on holiday in May
  users = [ alice bob ];

  web = "{fleet.public("web")}";
  db = "{fleet.public("db")}";
  systems = [ web db ];
in
{{
  # for the office
  "wifi.age".publicKeys = users ++ systems;
  "db-password.age".publicKeys = [ alice db ];
  "backup.age" = {{ publicKeys = users ++ [ db ]; armor = true; }};
  "planned.age".publicKeys = users;
}}
"""


def build(base: Path) -> Fleet:
    """Make the repository: real keys, files of the real age and sops, and faults."""
    fleet = kit.make_fleet(base, hosts=("web", "db"))
    fleet.add_user("bob", kit.ssh_key("user bob", comment="bob@thinkpad"))
    alice, web, db = (
        fleet.public("alice"),
        *(converted(fleet, n) for n in ("web", "db")),
    )
    fleet.write(".sops.yaml", sops_config(fleet))
    fleet.write("secrets/secrets.nix", agenix_rules(fleet))
    fleet.sops_encrypt("hosts/web/tls.yaml", "key: a\n", [alice, web])
    fleet.sops_encrypt("hosts/db/tls.yaml", "key: b\n", [alice, db])
    fleet.sops_encrypt("shared/app.yaml", "app: c\n", [alice, web])  # db is missing
    fleet.sops_encrypt("legacy/old.yaml", "old: d\n", [alice])
    fleet.write("shared/readme.env", "PLAIN=1\n")
    fleet.age_encrypt("secrets/wifi.age", "wifi", "alice", "bob", "web", "db")
    fleet.age_encrypt("secrets/db-password.age", "pw", "alice", "db", "web")  # web: no
    fleet.age_encrypt("secrets/backup.age", "bk", "alice", "bob", "db", armor=True)
    fleet.age_encrypt("secrets/stray.age", "stray", "alice")
    fleet.write("justfile", "keys:\n  yq '.keys[]' .sops.yaml\n")
    fleet.commit("years of secrets")
    return fleet


@pytest.fixture(scope="session")
def old_template(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    return build(tmp_path_factory.mktemp("old"))


@pytest.fixture
def old(old_template: Fleet, tmp_path: Path) -> Fleet:
    """A copy of the repository, to be adopted."""
    base = old_template.root.parent
    shutil.copytree(base, tmp_path / "fleet", symlinks=True)

    def moved(path: Path) -> Path:
        return tmp_path / "fleet" / path.relative_to(base)

    env = {
        k: v.replace(str(base), str(tmp_path / "fleet"))
        for k, v in old_template.env.items()
    }
    return dataclasses.replace(
        old_template,
        root=moved(old_template.root),
        home=moved(old_template.home),
        keys=moved(old_template.keys),
        env=env,
    )
