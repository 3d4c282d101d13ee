"""Names of sops options that the map and the metadata of sops files share."""

SELECTION = (
    "unencrypted_suffix",
    "encrypted_suffix",
    "unencrypted_regex",
    "encrypted_regex",
    "unencrypted_comment_regex",
    "encrypted_comment_regex",
)
"""The options that select which values sops encrypts; a file has at most one."""
