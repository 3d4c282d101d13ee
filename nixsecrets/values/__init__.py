"""The values of secrets: reading, entering and editing them, and which are exposed."""
