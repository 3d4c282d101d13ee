# The real modules of sops-nix.
{ home ? false }:
let
  modules = ../stub/sources/sops-nix/modules;
in
if home then
  modules + "/home-manager/sops.nix"
else
  { tree, ... }: { imports = [ (modules + (if tree == "darwin" then "/nix-darwin" else "/sops")) ]; }
