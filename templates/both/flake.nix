{
  description = "A fleet with agenix and sops-nix";

  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";
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
      agenix,
      sops-nix,
      nixsecrets,
    }:
    {
      nixosConfigurations.brunnen = nixpkgs.lib.nixosSystem {
        modules = [
          agenix.nixosModules.default
          sops-nix.nixosModules.sops
          nixsecrets.nixosModules.default
          ./brunnen.nix
        ];
      };

      inherit (nixsecrets) apps formatter; # nix run . -- status; nix fmt
      checks = nixsecrets.lib.checks { inherit self; }; # nix flake check
    };
}
