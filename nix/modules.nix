# Modules that fail the evaluation of a configuration that could not decrypt its secrets.
#
# They read the secrets declared with agenix and sops-nix, if those modules are imported,
# and declare none.
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
          description = "The folder that contains nixsecrets.toml; null disables the assertions.";
        };
        name = lib.mkOption {
          type = lib.types.nullOr lib.types.str;
          default = defaultName config;
          defaultText = lib.literalExpression (
            if kind == "user" then "config.home.username" else "config.networking.hostName"
          );
          description = "The ${kind} in the map whose keys this configuration uses.";
        };
        fleet = lib.mkOption {
          type = lib.types.raw;
          readOnly = true;
          internal = true;
          description = "The result of `lib.fleet` for `root`.";
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
