"""What is generated from the map: `.sops.yaml`, `secrets.nix`, the lock.

Pure: texts in, texts out.  Reads no file, writes none, and knows no secret file.
"""
