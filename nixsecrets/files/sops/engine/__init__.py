"""The value engine: opens, seals and replaces values of a sops file, and its MAC."""
