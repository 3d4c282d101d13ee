"""Applies a plan: new bytes, verified and staged, all files at once or none."""
