{
  description = "Manage the secrets of a NixOS fleet: one recipient map for agenix and sops";

  # To use your own: inputs.nixsecrets.inputs.nixpkgs.follows = "nixpkgs";
  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      systems = [
        "x86_64-linux"
        "aarch64-linux"
        "x86_64-darwin"
        "aarch64-darwin"
      ];
      forEach = f: nixpkgs.lib.genAttrs systems (system: f nixpkgs.legacyPackages.${system} system);
      modules = import ./nix/modules.nix;
    in
    {
      lib = import ./nix/lib.nix;

      nixosModules.default = modules.nixos;
      darwinModules.default = modules.darwin;
      homeModules.default = modules.home;
      homeManagerModules.default = modules.home; # the older name
      flakeModules.default = import ./nix/flake-module.nix self;

      overlays.default = final: _prev: { nixsecrets = final.callPackage ./nix/package.nix { }; };

      packages = forEach (
        pkgs: _system: rec {
          nixsecrets = pkgs.callPackage ./nix/package.nix { };
          default = nixsecrets;
        }
      );

      apps = forEach (
        _pkgs: system: rec {
          nixsecrets = {
            type = "app";
            program = "${self.packages.${system}.nixsecrets}/bin/nixsecrets";
            meta = { inherit (self.packages.${system}.nixsecrets.meta) description; };
          };
          default = nixsecrets;
        }
      );

      devShells = forEach (
        pkgs: system: { default = import ./nix/shell.nix { inherit pkgs; package = self.packages.${system}.nixsecrets; }; }
      );

      checks = forEach (
        pkgs: system: {
          package = self.packages.${system}.nixsecrets;
          sample = self.lib.checkWith {
            inherit pkgs;
            package = self.packages.${system}.nixsecrets;
            root = ./secrets;
          };
        }
      );
    };
}
