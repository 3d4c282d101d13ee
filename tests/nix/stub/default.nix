# What the project's flake and the fixtures ask of nixpkgs, and no more.
let
  lib = import ./lib.nix;
  system = import ./system.nix { inherit lib; };

  # something that looks like a derivation to Nix and builds nothing
  package =
    platform: name: more:
    derivation {
      inherit name;
      system = platform;
      builder = "/bin/sh";
      args = [ "-c" ": > $out" ];
    }
    // { pname = name; } // more;

  pkgsFor =
    platform:
    let
      plain = name: package platform name { };
      names = [
        "age"
        "git"
        "gnumake"
        "installShellFiles"
        "jq"
        "nano"
        "nix"
        "nixfmt-tree"
        "openssh"
        "sops"
        "tmux"
        "vim"
      ];
      python = package platform "python3" { sitePackages = "lib/python3/site-packages"; interpreter = "/python3"; };
      pythonNames = [
        "click"
        "cryptography"
        "hatchling"
        "paramiko"
        "pynacl"
        "google-re2"
        "pyrage"
        "rich"
        "ruamel-yaml"
      ];
      pkgs = lib.genAttrs names plain // {
        inherit lib;
        path = ./.;
        config = { };
        overlays = [ ];
        stdenv.hostPlatform.system = platform;
        python3 = python;
        python3Packages = lib.genAttrs pythonNames plain // {
          inherit python;
          buildPythonApplication =
            args:
            package platform "${args.pname}-${args.version}" {
              inherit (args) version meta;
              passthru = args; # tests look at what the package says of itself
            };
        };
        mkShell = args: package platform "shell" { passthru = args; };
        runCommand = name: args: script: package platform name { passthru = args // { inherit script; }; };
        callPackage =
          file: overrides:
          let
            function = import file;
          in
          function (builtins.intersectAttrs (builtins.functionArgs function) pkgs // overrides);
      };
    in
    pkgs;
in
{
  lib = lib // { inherit (system) nixosSystem darwinSystem homeManagerConfiguration; };
  legacyPackages = lib.genAttrs [
    "x86_64-linux"
    "aarch64-linux"
    "x86_64-darwin"
    "aarch64-darwin"
  ] pkgsFor;
}
