"""The current state: what the working tree, the map and the lock hold."""
