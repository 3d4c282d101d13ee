"""What a commit must not hold: plaintext secrets, private keys, editors' copies.

Judges blobs by the map that is committed with them (`judge`); `findings.hookfile` is
the script that git runs.  Needs no private key and reads no working tree.
"""
