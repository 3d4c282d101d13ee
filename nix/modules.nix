# Modules that fail the evaluation of a configuration that could not decrypt its secrets,
# and that declare secrets with agenix or sops-nix from the map.
let
  module =
    { kind, defaultName }:
    {
      config,
      lib,
      options,
      ...
    }:
    let
      cfg = config.nixsecrets;
      fleet = (import ./lib.nix).fleet cfg.root;
      secretOptions = import ./secret-options.nix { inherit config lib located; };

      active = cfg.root != null && cfg.name != null;

      # --- the secrets of `nixsecrets.secrets`, as agenix and sops-nix take them

      locate = fleet.locate cfg.name;
      named = builtins.mapAttrs locate cfg.secrets;
      # throws what the assertion says, for whoever asks for the path first
      located = name: if named.${name} ? problem then throw "nixsecrets: ${named.${name}.problem}" else named.${name};
      set = lib.filterAttrs (_: value: value != null && value != [ ]);
      those = backend: lib.filterAttrs (name: _: (named.${name}.backend or null) == backend) cfg.secrets;
      common = secret: set { inherit (secret) owner group mode; path = secret.destination; };
      ageSecret = name: secret: { inherit (named.${name}) file; } // common secret;
      sopsSecret =
        name: secret:
        {
          inherit (named.${name}) key format;
          sopsFile = named.${name}.file;
        }
        // common secret
        // set { inherit (secret) restartUnits reloadUnits; }
        // lib.optionalAttrs secret.neededForUsers { neededForUsers = true; };
      # agenix restarts nothing: the unit changes with the encrypted file
      triggersOf =
        name: secret:
        let
          hash = [ (builtins.hashFile "sha256" named.${name}.file) ];
          service = trigger: unit: { ${lib.removeSuffix ".service" unit}.${trigger} = hash; };
        in
        map (service "restartTriggers") secret.restartUnits ++ map (service "reloadTriggers") secret.reloadUnits;
      triggers = builtins.concatLists (lib.mapAttrsToList triggersOf (those "age"));

      missing =
        backend: imported: tool:
        lib.mapAttrsToList (
          name: _: "nixsecrets.secrets.${name} is ${if backend == "age" then "an age" else "a sops"} file; import the module of ${tool}"
        ) (if imported then { } else those backend);
      problems =
        if cfg.name == null then
          [ "set nixsecrets.name" ]
        else
          fleet.problemsOf cfg.name config
          ++ lib.filter (one: one != null) (
            lib.mapAttrsToList (
              name: one: one.problem or (fleet.grantOf (config.sops or { }) cfg.name name one)
            ) named
          )
          ++ missing "age" (options ? age) "agenix"
          ++ missing "sops" (options ? sops) "sops-nix";
    in
    {
      key = "nixsecrets ${kind}"; # imported twice, it counts once
      _file = "nixsecrets";

      options.nixsecrets = {
        root = lib.mkOption {
          type = lib.types.nullOr lib.types.path;
          default = null;
          example = lib.literalExpression "./.";
          description = "The folder that contains `nixsecrets.toml`; `null` disables the assertions.";
        };
        name = lib.mkOption {
          type = lib.types.nullOr lib.types.str;
          default = defaultName config;
          defaultText = lib.literalExpression (
            if kind == "user" then "config.home.username" else "config.networking.hostName"
          );
          example = if kind == "user" then "alice@laptop" else "brunnen";
          description = "The ${kind} in the map whose keys this configuration uses.";
        };
        secrets = lib.mkOption {
          type = lib.types.attrsOf (lib.types.submodule secretOptions);
          default = { };
          example = lib.literalExpression ''
            {
              wifi.owner = "wpa_supplicant";
              "powerdns/api-key".restartUnits = [ "pdns.service" ];
            }
          '';
          description = ''
            Secrets of the map that this configuration decrypts.  Each is declared with agenix
            or with sops-nix, whichever its file is for; that module must be imported.  A secret
            that the ${kind} cannot read fails the evaluation.
          '';
        };
        fleet = lib.mkOption {
          type = lib.types.raw;
          readOnly = true;
          internal = true;
          description = "The result of `lib.fleet` for `root`.";
        };
        problems = lib.mkOption {
          type = lib.types.raw;
          readOnly = true;
          internal = true;
          description = "What the assertions say, for `lib.checks`; null without `root`.";
        };
      };

      config = lib.mkMerge [
        {
          nixsecrets.fleet = if cfg.root == null then null else fleet;
          nixsecrets.problems = if cfg.root == null then null else problems;
        }
        (lib.mkIf (cfg.root != null) {
          assertions = map (problem: {
            assertion = false;
            message = "nixsecrets: ${problem}";
          }) cfg.problems;
        })
        (lib.mkIf (cfg.root == null && cfg.secrets != { }) {
          assertions = [
            {
              assertion = false;
              message = "nixsecrets: nixsecrets.secrets needs nixsecrets.root, the folder of nixsecrets.toml";
            }
          ];
        })
        (lib.optionalAttrs (options ? age) {
          age.secrets = lib.mkIf active (builtins.mapAttrs ageSecret (those "age"));
        })
        (lib.optionalAttrs (options ? sops) {
          sops.secrets = lib.mkIf active (builtins.mapAttrs sopsSecret (those "sops"));
        })
        (lib.optionalAttrs (kind == "host" && (options.systemd or { }) ? services) {
          systemd.services = lib.mkIf active (lib.mkMerge triggers);
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
