"""age files: header, stanzas, payload; granting, re-encrypting, verifying."""
