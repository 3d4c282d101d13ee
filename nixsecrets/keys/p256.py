"""Public points of the curve P-256, as in tagged and hardware recipients (SEC 1, 2.3).

Not constant-time; for public keys only.
"""

_P = 2**256 - 2**224 + 2**192 + 2**96 - 1
_B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
_SIZE = 32
COMPRESSED_SIZE = 1 + _SIZE
UNCOMPRESSED_SIZE = 1 + 2 * _SIZE


def uncompress(point: bytes) -> bytes:
    """Return the 65-byte uncompressed form of a 33-byte compressed point.

    Raises:
        ValueError: `point` is not a compressed point of the curve.
    """
    x = int.from_bytes(point[1:], "big")
    if len(point) != COMPRESSED_SIZE or point[0] not in (2, 3) or x >= _P:
        raise ValueError("it is not a compressed point")
    square = _right_side(x)
    y = pow(square, (_P + 1) // 4, _P)  # a square root, as p = 3 mod 4
    if y * y % _P != square:
        raise ValueError("it is not a point of the curve")
    if y & 1 != point[0] & 1:  # the prefix 2 or 3 gives the parity of y
        y = _P - y
    return b"\4" + point[1:] + y.to_bytes(_SIZE, "big")


def check_uncompressed(point: bytes) -> None:
    """Check an uncompressed point.

    Raises:
        ValueError: `point` is not a 65-byte uncompressed point of the curve.
    """
    x = int.from_bytes(point[1 : 1 + _SIZE], "big")
    y = int.from_bytes(point[1 + _SIZE :], "big")
    shape = len(point) == UNCOMPRESSED_SIZE and point[0] == 4 and x < _P and y < _P
    if not shape or y * y % _P != _right_side(x):
        raise ValueError("it is not a point of the curve")


def _right_side(x: int) -> int:
    """Return the right side of the curve equation y^2 = x^3 - 3x + b."""
    return (x * x * x - 3 * x + _B) % _P
