{
  description = "A stand-in for nixpkgs: enough to evaluate flakes without a network";
  outputs = _: import ./.;
}
