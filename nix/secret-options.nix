# The options of one `nixsecrets.secrets.NAME`. What is null or empty is left to the
# framework that decrypts the secret.
{
  config,
  lib,
  located,
}:
{ name, ... }:
let
  inherit (lib) mkOption types;
  optional =
    type: example: description:
    mkOption {
      type = types.nullOr type;
      default = null;
      inherit description example;
    };
  units =
    description:
    mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [ "pdns.service" ];
      inherit description;
    };
in
{
  options = {
    file = optional types.path (lib.literalExpression "./secrets/wifi.age") ''
      The encrypted file.  By default it is the file of the map that is called like the secret,
      without folder and ending, or the sops file that has a key of this name; of several, the
      one that this configuration can read.
    '';
    key = optional types.str "powerdns/api-key" ''
      The key in a YAML or JSON file of sops; by default the name of the secret, `""` is the whole
      file.  Other files are always used as a whole.
    '';
    owner = optional types.str "pdns" "The user that owns the decrypted secret; not in home-manager.";
    group = optional types.str "pdns" "The group of the decrypted secret; not in home-manager.";
    mode = optional types.str "0440" "The permissions of the decrypted secret.";
    restartUnits = units "Units to restart when the secret changes, on NixOS; for an age file, services only.";
    reloadUnits = units "Units to reload when the secret changes, on NixOS; for an age file, services only.";
    neededForUsers = mkOption {
      type = types.bool;
      default = false;
      example = true;
      description = "Decrypt before users are created, for a password.  agenix always does.";
    };
    destination = optional types.str "/var/lib/pdns/key" "Where the decrypted secret is to be found; by default as the framework has it.";
    path = mkOption {
      type = types.str;
      readOnly = true;
      default =
        let
          inherit (located name) backend;
        in
        if backend == "age" then config.age.secrets.${name}.path else config.sops.secrets.${name}.path;
      defaultText = lib.literalMD "as agenix or sops-nix has it";
      description = "Where the decrypted secret is, for use in other options.";
    };
  };
}
