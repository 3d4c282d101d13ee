"""Options of sops that the map and the files share; loaded before any key is read."""

SELECTION = (
    "unencrypted_suffix",
    "encrypted_suffix",
    "unencrypted_regex",
    "encrypted_regex",
    "unencrypted_comment_regex",
    "encrypted_comment_regex",
)
"""The options of sops that select which values are encrypted: a rule of the map and a
file have at most one of them."""
