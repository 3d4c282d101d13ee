# nixosSystem, darwinSystem and homeManagerConfiguration with the few options that the
# fixtures set.
{ lib }:
let
  inherit (lib) mkOption types;
  value = type: default: mkOption { inherit type default; };

  common.options.assertions = value (types.listOf types.raw) [ ];

  host.options = {
    nixpkgs.hostPlatform = value types.str "x86_64-linux";
    system.stateVersion = value types.raw null;
    environment.persistence = value (types.attrsOf types.raw) { };
    home-manager.users = value (types.attrsOf (types.submodule [ common home ])) { };
  };

  home =
    { name, ... }:
    {
      options.home.username = value types.str name;
      options.home.homeDirectory = value types.str "/home/${name}";
    };

  darwin.options.networking.hostName = value (types.nullOr types.str) null;

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
      inherit modules;
      specialArgs = { name = "home"; } // specialArgs;
    };
  evaluate = evaluateWith { };

  nixosSystem =
    {
      modules,
      system ? null,
      specialArgs ? { },
    }:
    let
      evaluate = evaluateWith specialArgs;
      base = [
        common
        host
        nixos
      ] ++ modules;
      nested = {
        # a specialisation is the whole system once more, with something added
        options.specialisation = value (types.attrsOf (types.submodule {
          options.configuration = mkOption {
            type = types.raw;
            apply = module: (evaluate (base ++ [ { options.specialisation = value types.raw { }; options.containers = value types.raw { }; } module ])).config;
          };
        })) { };
        options.containers = value (types.attrsOf (types.valueSubmodule {
          options.config = mkOption {
            type = types.raw;
            apply = module: (nixosSystem { modules = [ module ]; }).config;
          };
        })) { };
      };
    in
    evaluate (base ++ [ nested ]);
in
{
  inherit nixosSystem;
  darwinSystem = { modules }: evaluate ([ common host darwin ] ++ modules);
  homeManagerConfiguration = { modules }: evaluate ([ common home ] ++ modules);
}
