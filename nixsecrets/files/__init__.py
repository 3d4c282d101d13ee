"""Encrypted files: what they are, and what they show without a private key.

Bytes in, bytes out; the only program that is run is the real sops, in `sops`.
"""
