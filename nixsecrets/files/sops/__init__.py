"""sops files: values, metadata, data keys; granting, re-keying, verifying."""
