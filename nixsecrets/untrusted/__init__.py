"""Bounds on what a repository may bring: expressions, sizes, kinds of files."""
