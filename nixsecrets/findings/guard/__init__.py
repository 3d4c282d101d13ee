"""What a commit must not hold: secrets in the open, private keys, editors' copies.

Judges blobs by the map that is committed with them (`judge`); `hookfile` is the script
that git runs.  Needs no private key and reads no work tree.
"""
