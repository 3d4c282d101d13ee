"""Known answers: ed25519 seeds, their ssh keys, tags, and both forms in age's words.

Public keys from `ssh-keygen -y`, tags out of files written by age 1.1.1, secrets
checked with `age-keygen -y`; the tagged and post-quantum keys are C2SP age.md's.
"""

import hashlib
from dataclasses import dataclass

from nixsecrets.keys import bech32


@dataclass(frozen=True)
class Vector:
    """One ed25519 key in every shape it takes."""

    seed: bytes
    base64: str
    tag: str
    age: str
    secret: str

    @property
    def ssh(self) -> str:
        """The public line without a comment."""
        return f"ssh-ed25519 {self.base64}"


VECTORS = (
    Vector(
        bytes(32),
        "AAAAC3NzaC1lZDI1NTE5AAAAIDtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop",
        "tAXFyQ",
        "age1t064cuac96lz905q7dpsvea02u86uf2k5eq4u6es6sr9xq92j37slzjpnt",
        "AGE-SECRET-KEY-12PR2MSWM4QUGV7ETH07APS6Z8EVT27TSK5N84Y8409SFYJ587XTQFFU0SC",
    ),
    Vector(
        bytes(range(32)),
        "AAAAC3NzaC1lZDI1NTE5AAAAIAOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4",
        "lbmsoA",
        "age1guqappygg504gkjqn76c4cl9skqu5s9v8al3z35ce4caatrnegqsayk6a2",
        "AGE-SECRET-KEY-18K2WAFYUTQ9WLQTFX4MZHCZF2KWK69ZQMM0P9E4PYHCCG8LL3EHSJQ2486",
    ),
    Vector(
        b"\xff" * 32,
        "AAAAC3NzaC1lZDI1NTE5AAAAIHahWSBEpuT1ESZbynOmBNkLBSnR32Ar4woZqSV2YNH1",
        "UIedaA",
        "age168ar7qvzd0vt0rs90syxc7ezc7k5xkx2jxqfnntm0ewn4nt79pdsm9h2el",
        "AGE-SECRET-KEY-1YLXKJDVXGUT208T5M406H0VFVSCYQ5W2GX33C3JEZK8TKLPAPWTSLSVED4",
    ),
    Vector(
        hashlib.sha256(b"nixsecrets-vector-1").digest(),
        "AAAAC3NzaC1lZDI1NTE5AAAAIFE9QucXFWAMYjtu/PMxF8JOkHfTbK8fQW3cfpxklFfX",
        "bTKN8w",
        "age1wtxw0kxcth39n3r55lnwm4v05jgkwyytvqcmpv3pdwvq9e2q3qmqu7wz3x",
        "AGE-SECRET-KEY-1HWXQ7L09HFLTMMKQREMAVUQVTK4L4TFVYGVHAW2DR4258FCWGJQQS0U8NA",
    ),
    Vector(
        hashlib.sha256(b"nixsecrets-vector-2").digest(),
        "AAAAC3NzaC1lZDI1NTE5AAAAIGcgg5mJ8K6JwJl+uxOa9/C5mFDq/ldz+mTOa9Xnf/lR",
        "oXUTkQ",
        "age1kwsducw563ggjsg599zqxtcdr9n5up3ctgtucsjxtmfl4kr8ap4qf0sfnc",
        "AGE-SECRET-KEY-1LXCZC39QED6Z6A909U6TVMZS4KMTUWTN5WLQD3S2YHR8J6S620GSKV7TAQ",
    ),
)

TAG_RECIPIENT = "age1tag1qt8lw0ual6avlwmwatk888yqnmdamm7xfd0wak53ut6elz5c4swx2yqdj4e"
"""A `p256tag` recipient (C2SP age.md)."""

P256_BASE_POINT = bytes.fromhex(
    "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
    "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
)
TAG_PQ_RECIPIENT = bech32.encode("age1tagpq", bytes(1184) + P256_BASE_POINT)
"""An `mlkem768p256tag` recipient that nobody can open, of the right shape."""

PQ_IDENTITY = (
    "AGE-SECRET-KEY-PQ-1XX76JRALNLXDMEW0CRK45QMCCH4X06SE84UN3VPM33W6HWDX0H3SK3ZQFR"
)
"""A post-quantum identity (C2SP age.md)."""
