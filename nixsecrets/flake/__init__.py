"""What the configurations of a flake declare, and whether they could decrypt it.

`inventory.nix` asks a flake, `nix` runs it, `declared` reads what it says,
`gather` looks at the files, `verdict` judges.  None of it needs a private key.
"""
