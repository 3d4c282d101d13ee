"""The current state of the working tree, the map and the lock."""
