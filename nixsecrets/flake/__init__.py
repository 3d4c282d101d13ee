"""The secrets that a flake's configurations declare, and whether they can decrypt them.

`nix` evaluates `inventory.nix` for a flake, `inventory` parses the result, `gather`
reads the declared files, `verdict` compares.  No private key is needed.
"""
