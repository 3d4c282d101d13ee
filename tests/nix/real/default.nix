# In place of ../stub: the library of nixpkgs itself, and the real modules of agenix and
# sops-nix below ./sources. The options of NixOS, nix-darwin and home-manager around them are
# still those of ../stub/system.nix, and what base.nix adds.
let
  lib = import ./sources/nixpkgs.lib/lib;
  platform.system = "x86_64-linux";
  program = name: derivation {
    inherit name;
    inherit (platform) system;
    builder = "/bin/sh";
  };
  text = name: content: builtins.toFile (builtins.baseNameOf name) (builtins.unsafeDiscardStringContext content);
  pkgs =
    lib.genAttrs [ "age" "coreutils" "gnugrep" "gnupg" "mount" "sops" "sops-install-secrets" ] program
    // {
      inherit lib;
      path = ./.;
      config = { };
      overlays = [ ];
      stdenv = {
        buildPlatform = platform;
        hostPlatform = platform;
        isDarwin = false;
        isLinux = true;
      };
      # the packages of sops-nix, which nothing here builds
      callPackage = _file: _overrides: pkgs // (_: { });
      writeShellApplication = { name, text, ... }: program name // { inherit text; };
      writeShellScript = text;
      writeText = text;
      writeTextFile = { name, text, ... }: program name // { inherit text; };
    };
  system = import ./system.nix {
    inherit lib;
    base = {
      imports = [ ./base.nix ];
      config._module.args = { inherit pkgs; };
    };
  };
in
{
  lib = lib // {
    inherit (system) nixosSystem darwinSystem homeManagerConfiguration;
  };
  legacyPackages.x86_64-linux = pkgs;
}
