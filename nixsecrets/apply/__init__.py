"""Carries out a plan: new bytes, verified, staged, all at once or not at all."""
