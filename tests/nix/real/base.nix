# What the real modules of agenix and sops-nix ask of a system, or set in it.
{ lib, ... }:
let
  value =
    default:
    lib.mkOption {
      type = lib.types.anything;
      inherit default;
    };
in
{
  options = {
    warnings = value [ ];
    i18n.defaultLocale = value "C";
    system.activationScripts = value { };
    system.build = value { };
    launchd = value { };
    home.activation = value { };
    home.sessionVariables = value { };
    xdg.configHome = value "/home/user/.config";
    systemd.user = value { };
  };
}
