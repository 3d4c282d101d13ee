# Where nixpkgs has the function that makes a NixOS of modules.
(import ../../.).lib.nixosSystem
