{
  description = "A Mac with nix-darwin, agenix and sops-nix";

  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";
    nix-darwin.url = "github:nix-darwin/nix-darwin";
    nix-darwin.inputs.nixpkgs.follows = "nixpkgs";
    agenix.url = "github:ryantm/agenix";
    agenix.inputs.nixpkgs.follows = "nixpkgs";
    sops-nix.url = "github:Mic92/sops-nix";
    sops-nix.inputs.nixpkgs.follows = "nixpkgs";
    nixsecrets.url = "github:OWNER/nixsecrets"; # replace OWNER
    nixsecrets.inputs.nixpkgs.follows = "nixpkgs";
  };

  outputs =
    {
      self,
      nixpkgs,
      nix-darwin,
      agenix,
      sops-nix,
      nixsecrets,
    }:
    {
      darwinConfigurations.mac = nix-darwin.lib.darwinSystem {
        modules = [
          agenix.darwinModules.default
          sops-nix.darwinModules.sops
          nixsecrets.darwinModules.default
          ./mac.nix
        ];
      };

      inherit (nixsecrets) apps formatter; # nix run . -- status; nix fmt
      checks = nixsecrets.lib.checks { inherit self; }; # nix flake check
    };
}
