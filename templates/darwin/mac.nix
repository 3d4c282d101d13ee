{ config, ... }:
{
  networking.hostName = "mac";
  nixpkgs.hostPlatform = "aarch64-darwin";
  system.stateVersion = 6;

  nixsecrets.root = ./.; # the folder of nixsecrets.toml
  nixsecrets.secrets = {
    wifi = { };
    db.mode = "0440";
  };
  # services.….passwordFile = config.nixsecrets.secrets.wifi.path;
}
