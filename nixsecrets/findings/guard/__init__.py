"""Blocks commits with plaintext secrets, private keys or editors' copies of secrets.

`judge` checks blobs against the map that is committed with them; it needs no private
key and reads no working tree.
"""
