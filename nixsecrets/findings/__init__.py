"""Findings: the catalogue, lint, the guard of the hook, reports for CI."""
