"""The CRC-32 of bytes that lie in several places, out of those of the pieces."""

from __future__ import annotations

from collections.abc import Iterable

_POLYNOMIAL = 0xEDB88320  # of zlib, reflected: bit 31 is x^0
_ONE, _X8 = 1 << 31, 1 << 23


def joined_crc32(pieces: Iterable[tuple[int, int]], start: int = 0) -> int:
    """Return the ``zlib.crc32`` of pieces put together, each given by its own and its length in bytes.

    Where bytes follow others, the state that these have left is multiplied by x^8 for each of them, modulo
    the polynomial, and the two are added, which is exclusive or.
    """
    crc = start
    for of_piece, n_bytes in pieces:
        crc = _times(_power(_X8, n_bytes), crc) ^ of_piece
    return crc


def _times(a: int, b: int) -> int:
    """Return the product of two polynomials over GF(2), modulo that of the CRC."""
    product = 0
    for bit in range(31, -1, -1):
        if a >> bit & 1:
            product ^= b
        b = b >> 1 ^ (_POLYNOMIAL if b & 1 else 0)
    return product


def _power(a: int, n: int) -> int:
    power = _ONE
    while n:
        if n & 1:
            power = _times(power, a)
        a = _times(a, a)
        n >>= 1
    return power
