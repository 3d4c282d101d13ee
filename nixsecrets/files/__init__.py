"""Encrypted files: detecting, reading, encrypting and decrypting them.

Bytes in, bytes out; the only program that is started is sops, in `files.sops`.
"""
