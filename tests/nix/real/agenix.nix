# The real modules of agenix.
{ home ? false }: ../stub/sources/agenix/modules + (if home then "/age-home.nix" else "/age.nix")
