"""Manage the secrets of a NixOS fleet: one recipient map for agenix and sops."""

__version__ = "0.1.0"
