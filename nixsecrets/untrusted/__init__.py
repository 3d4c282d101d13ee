"""Bounds on untrusted input: regular expressions, sizes, file types."""
