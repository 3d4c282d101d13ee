"""The value engine: decrypts, replaces and re-keys the values of a sops file."""
