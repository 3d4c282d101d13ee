# A stand-in for NixOS, nix-darwin and home-manager, and for what impermanence adds to them:
# nixosSystem, darwinSystem and homeManagerConfiguration with the few options that the tests
# set, under their real names.  NixOS-WSL is a NixOS without sshd.  Unlike in NixOS, sshd is
# enabled by default.  `base` is one more module of each (../real has one).
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
  darwin.options.users.users = value (types.attrsOf types.anything) { };
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
    systemd.sysusers.enable = value types.bool false;
    services.userborn.enable = value types.bool false;
    users.users = value (types.attrsOf types.anything) { };
    users.groups = value (types.attrsOf types.anything) { };
    networking.wg-quick.interfaces = value (types.attrsOf types.anything) { };
    services.k3s = value types.anything { };
    services.mosquitto = value types.anything { };
    services.coturn = value types.anything { };
    services.grafana = value types.anything { };
    boot.isContainer = value types.bool false;
    microvm.shares = value (types.listOf types.raw) [ ];
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
      guests = options: value (types.attrsOf ((types.valueSubmodule or types.submodule) { inherit options; })) { };
      toplevel = take: mkOption {
        type = types.raw;
        apply = module: if module == null then null else take (nixosSystem { modules = [ module ]; });
      };
      mounts = value (types.attrsOf types.raw) { };
      # a specialisation is the whole system once more, with something added
      nested.options.specialisation = value (types.attrsOf (types.submodule {
        options.configuration = mkOption {
          type = types.raw;
          apply = module: (evaluate (all ++ [ inside { options.specialisation = value types.raw { }; } module ])).config;
        };
      })) { };
      inside = {
        options.containers = guests {
          config = toplevel (system: system.config);
          path = mkOption { type = types.path; };
          bindMounts = mounts;
          ephemeral = value types.bool false;
          privateUsers = value types.raw "no";
          extraFlags = value (types.listOf types.str) [ ];
        };
        options.microvm.vms = guests {
          config = toplevel (system: system) // { default = null; };
          flake = value types.raw null;
        };
        options.virtualisation.nspawn.containers = guests {
          config = toplevel (system: system.config);
          binds = mounts;
        };
      };
    in
    evaluate (all ++ [ inside nested ]);
in
{
  inherit nixosSystem;
  darwinSystem = { modules }: evaluateWith { tree = "darwin"; } ([ common host darwin ] ++ modules);
  homeManagerConfiguration = { modules }: evaluateWith { tree = "home"; } ([ common home ] ++ modules);
}
