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
      library = import ./nix/lib.nix;
      modules = import ./nix/modules.nix;
      template = folder: description: {
        inherit description;
        path = ./templates + "/${folder}";
        welcomeText = builtins.readFile (./templates + "/${folder}/README.md");
      };
    in
    {
      # fleet, and checks for a flake's outputs: checks = nixsecrets.lib.checks { inherit self; };
      lib = library // {
        checks = import ./nix/checks.nix {
          inherit (library) checkWith;
          inherit (self) packages;
          inherit forEach;
        };
      };

      nixosModules.default = modules.nixos;
      darwinModules.default = modules.darwin;
      homeModules.default = modules.home;
      homeManagerModules.default = modules.home; # the older name
      flakeModules.default = import ./nix/flake-module.nix self;

      overlays.default = final: _prev: { nixsecrets = final.callPackage ./nix/package.nix { }; };

      templates = rec {
        agenix = template "agenix" "A fleet whose secrets are decrypted by agenix";
        sops-nix = template "sops-nix" "A fleet whose secrets are decrypted by sops-nix";
        both = template "both" "A fleet with agenix and sops-nix";
        darwin = template "darwin" "A Mac with nix-darwin, agenix and sops-nix";
        default = both;
      };

      formatter = forEach (pkgs: _system: pkgs.nixfmt-tree);

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
          sample = library.checkWith {
            inherit pkgs;
            package = self.packages.${system}.nixsecrets;
            root = ./secrets;
          };
        }
      );
    };
}
