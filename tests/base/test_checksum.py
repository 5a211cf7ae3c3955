import zlib
from itertools import pairwise

from dcbmr.base.checksum import joined_crc32


def test_crc32_of_pieces_is_that_of_the_whole():
    whole = bytes(range(256)) * 41
    for cuts in ([0, 10496], [0, 1, 5000, 10496], [0, 0, 4096, 10496, 10496]):
        pieces = [whole[a:b] for a, b in pairwise(cuts)]
        parts = [(zlib.crc32(piece), len(piece)) for piece in pieces]
        assert joined_crc32(parts) == zlib.crc32(whole)
        assert joined_crc32(parts, zlib.crc32(b"before")) == zlib.crc32(b"before" + whole)
