"""The disk: the working tree, git, and replacing several files atomically.

Deals in bytes and paths; the format of secrets is elsewhere.  Every operation that
changes the disk goes through `fsops`.
"""
