# For flake-parts: imports = [ nixsecrets.flakeModules.default ]; nixsecrets.root = ./.;
self:
{ config, lib, ... }:
let
  cfg = config.nixsecrets;
in
{
  key = "nixsecrets flake-parts"; # imported twice, it counts once
  _file = "nixsecrets";

  options.nixsecrets = {
    root = lib.mkOption {
      type = lib.types.path;
      example = lib.literalExpression "./.";
      description = "The folder that contains nixsecrets.toml.";
    };
    fleet = lib.mkOption {
      type = lib.types.raw;
      readOnly = true;
      default = self.lib.fleet cfg.root;
      defaultText = lib.literalExpression "nixsecrets.lib.fleet config.nixsecrets.root";
      description = "Hosts, users, known hosts and secrets from the map, for use in your modules.";
    };
  };

  config.perSystem =
    { pkgs, system, ... }:
    {
      checks.nixsecrets = self.lib.checkWith {
        inherit pkgs;
        package = self.packages.${system}.default;
        inherit (cfg) root;
      };
    };
}
