# Modules that fail the evaluation of a configuration whose secrets it could not open.
#
# They read what agenix and sops-nix declare, whichever of them is there, and declare
# nothing themselves.
let
  module =
    { kind, defaultName }:
    { config, lib, ... }:
    let
      cfg = config.nixsecrets;
      fleet = (import ./lib.nix).fleet cfg.root;
    in
    {
      options.nixsecrets = {
        root = lib.mkOption {
          type = lib.types.nullOr lib.types.path;
          default = null;
          example = lib.literalExpression "./.";
          description = "The folder of nixsecrets.toml; null switches the assertions off.";
        };
        name = lib.mkOption {
          type = lib.types.nullOr lib.types.str;
          default = defaultName config;
          defaultText = lib.literalExpression (
            if kind == "user" then "config.home.username" else "config.networking.hostName"
          );
          description = "The ${kind} of the map that this configuration is for.";
        };
        fleet = lib.mkOption {
          type = lib.types.raw;
          readOnly = true;
          internal = true;
          description = "What `lib.fleet` says of the root.";
        };
      };

      config = lib.mkMerge [
        { nixsecrets.fleet = if cfg.root == null then null else fleet; }
        (lib.mkIf (cfg.root != null) {
          assertions = map (problem: {
            assertion = false;
            message = "nixsecrets: ${problem}";
          }) (if cfg.name == null then [ "set nixsecrets.name" ] else fleet.problemsOf cfg.name config);
        })
      ];
    };
  hostName = config: config.networking.hostName;
in
{
  nixos = module {
    kind = "host";
    defaultName = hostName;
  };
  darwin = module {
    kind = "host";
    defaultName = hostName;
  };
  home = module {
    kind = "user";
    defaultName = config: config.home.username;
  };
}
