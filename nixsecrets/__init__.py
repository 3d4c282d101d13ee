"""Keep the secrets of a NixOS fleet right: one recipient map drives agenix and sops."""

__version__ = "0.1.0"
