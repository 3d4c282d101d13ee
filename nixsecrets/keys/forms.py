"""Which form of a key each backend needs (design: one key, two forms)."""

from enum import StrEnum


class Backend(StrEnum):
    """How one secret file is encrypted."""

    AGE = "age"
    SOPS = "sops"
