# `nix develop`: the programs `make test` needs in addition to the package's dependencies.
{ pkgs, package }:

pkgs.mkShell {
  inputsFrom = [ package ];
  packages = [
    pkgs.age
    pkgs.git
    pkgs.gnumake
    pkgs.jq
    pkgs.nano
    pkgs.nix
    pkgs.openssh
    pkgs.python3
    pkgs.sops
    pkgs.tmux
    pkgs.vim
  ];
}
