"""Drift with its remedies, and suspicious parts of the map and the configurations."""
