"""Encrypted files: age headers and sops metadata, read, granted, re-encrypted.

Bytes in, bytes out; the only program that is run is the real sops (in `sopsrun`).
"""
