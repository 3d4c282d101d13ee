"""Recipients and identities: parsing, forms, conversion, fingerprints.

Knows what keys look like; knows nothing of files, maps or repositories.
"""
