"""Encrypted files: age headers and sops metadata, read, granted, re-encrypted.

Bytes in, bytes out; the only programs run are the real `sops` (in `program`).
"""
