{ config, ... }:
{
  # imports = [ ./hardware-configuration.nix ];
  networking.hostName = "brunnen";
  nixpkgs.hostPlatform = "x86_64-linux";
  system.stateVersion = "25.11";

  nixsecrets.root = ./.; # the folder of nixsecrets.toml
  nixsecrets.secrets = {
    db.mode = "0440";
  };
  # services.….passwordFile = config.nixsecrets.secrets.db.path;
}
