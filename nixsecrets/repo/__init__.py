"""The disk: the working tree, git, and files that are replaced together or not at all.

Bytes and paths; what a secret is, is not known here.  Every operation that changes the
disk goes through `fsops`.
"""
