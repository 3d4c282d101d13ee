# written by nixsecrets from nixsecrets.toml: change that file, then run
# `nixsecrets rekey`; an edit made here is lost
let
  users = {
    alice = [ "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGEe88NEdPJbli9JlcpRxxYtr0chu87rXh1rE2wt/+7c" ];
  };
  hosts = {
    brunnen = [ "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINxOEo76Jm62BXAApEqmRuRbpo4YDuosKRIQMcWcL/dE" ];
    schere = [ "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAZWPjbBFsW4HZGVRt8APWjyeVNHtXtx0pADLSBUcdnu" ];
    stein = [ "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICpRo0OSEdCt2DASahHs8d/zxCM4x11Oq5kfi3H76nn6" ];
    laptop = [ "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICvskR9vfXWyZPQNmO9QwZyJWF4B+eUhnSus9Y/bgqme" ];
  };
  groups = {
    admins = users.alice;
    server = hosts.brunnen;
    dns = hosts.schere ++ hosts.stein;
  };
  always = users.alice;
in
{
  "wifi.age".publicKeys = always ++ hosts.brunnen ++ hosts.laptop;
}
