# nixosSystem, darwinSystem and homeManagerConfiguration with the few options that the
# fixtures set.  `base` is one more module of each (../real has one).
{ lib, base ? { } }:
let
  inherit (lib) mkOption types;
  value = type: default: mkOption { inherit type default; };

  # what may have `imports`: the real library takes other arguments
  inside = modules: if types ? valueSubmodule then types.submodule modules else types.submoduleWith { inherit modules; };

  common.options.assertions = value (types.listOf types.raw) [ ];

  host.options = {
    nixpkgs.hostPlatform = value types.str "x86_64-linux";
    system.stateVersion = value types.raw null;
    environment.persistence = value (types.attrsOf types.raw) { };
    home-manager.users = value (types.attrsOf (inside [ base common home ])) { };
  };

  home =
    { name, ... }:
    {
      options.home.username = value types.str name;
      options.home.homeDirectory = value types.str "/home/${name}";
    };

  darwin.options.networking.hostName = value (types.nullOr types.str) null;
  darwin.options.environment.darwinConfig = value types.raw null; # how agenix knows a Mac

  nixos.options = {
    networking.hostName = value types.str "nixos";
    services.openssh.enable = value types.bool true;
    services.openssh.hostKeys = value (types.listOf types.raw) [
      {
        type = "rsa";
        path = "/etc/ssh/ssh_host_rsa_key";
      }
      {
        type = "ed25519";
        path = "/etc/ssh/ssh_host_ed25519_key";
      }
    ];
    systemd.services = value (types.attrsOf types.anything) { };
    boot.isContainer = value types.bool false;
    nixpkgs.config = value types.raw { };
    nixpkgs.overlays = value (types.listOf types.raw) [ ];
  };

  evaluateWith =
    specialArgs: modules:
    lib.evalModules {
      modules = [ base ] ++ modules;
      specialArgs = { name = "home"; } // specialArgs;
    };

  nixosSystem =
    {
      modules,
      system ? null,
      specialArgs ? { },
    }:
    let
      evaluate = evaluateWith ({ tree = "nixos"; } // specialArgs);
      all = [
        common
        host
        nixos
      ] ++ modules;
      nested = {
        # a specialisation is the whole system once more, with something added
        options.specialisation = value (types.attrsOf (types.submodule {
          options.configuration = mkOption {
            type = types.raw;
            apply = module: (evaluate (all ++ [ { options.specialisation = value types.raw { }; options.containers = value types.raw { }; } module ])).config;
          };
        })) { };
        options.containers = value (types.attrsOf ((types.valueSubmodule or types.submodule) {
          options.config = mkOption {
            type = types.raw;
            apply = module: (nixosSystem { modules = [ module ]; }).config;
          };
        })) { };
      };
    in
    evaluate (all ++ [ nested ]);
in
{
  inherit nixosSystem;
  darwinSystem = { modules }: evaluateWith { tree = "darwin"; } ([ common host darwin ] ++ modules);
  homeManagerConfiguration = { modules }: evaluateWith { tree = "home"; } ([ common home ] ++ modules);
}
