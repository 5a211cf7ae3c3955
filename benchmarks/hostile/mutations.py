"""Bytes, texts and JSON with something wrong, from a random.Random: the same seed makes the same fault."""

import json
import random
import re
import struct
from copy import deepcopy

ODD_BYTES = (0, 1, 0x7F, 0x80, 0xFF)
ODD_NUMBERS = (0, 1, -1, 2**7, 2**15 - 1, 2**16, 2**31 - 1, -(2**31), 2**32 - 1, 2**53, 2**63 - 1)
ODD_VALUES = (
    None, True, 0, -1, 1, 3, 2**31, 2**63, 2**70, 1e308, -1e308, 1e-320, 0.5, float("nan"), float("inf"), "",
    "x", "\0", "$HOME", "../../../secret", "/etc/passwd", "os:system", "pickle.loads",
    "__import__('os').abort()",
    "\ud800", "é" * 300, [], [[]], {}, {"a": {}}, [1] * 1000, "f" * 100_000, "nan", "<f8", "|O", "%s%n",
)  # fmt: skip
ODD_CELLS = (
    b"", b"0", b"-1", b"nan", b"inf", b"1e400", b"-0.0", b"9" * 400, b"\0", b"\xff\xfe", b'"', b'""', b"\r",
    b"=cmd|'/C calc'!A0", b"../../../secret", b"x" * 70_000, b"1,5", "\u2028".encode(), b"\t\t", b"0x10",
    b"1_000", "٣".encode(), b"True", b"-9223372036854775809", b"18446744073709551616",
)  # fmt: skip


def mutated(data: bytes, rng: random.Random, others=()) -> bytes:
    """Return bytes with one to eight faults, more of them in the head than elsewhere."""
    data = bytearray(data or b"\0")
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 5, 8))):
        data = rng.choice(_FAULTS)(data, rng, others) or bytearray(b"\0")
    return bytes(data)


def _place(data, rng):
    """Return a place: in the head, at the end or anywhere."""
    n = len(data)
    return rng.randrange(min(n, rng.choice((16, 64, 256, n, n)))) if rng.random() < 0.9 else n - 1


def _flip(data, rng, others):
    data[_place(data, rng)] ^= 1 << rng.randrange(8)
    return data


def _odd_byte(data, rng, others):
    data[_place(data, rng)] = rng.choice(ODD_BYTES)
    return data


def _number(data, rng, others):
    form = rng.choice("<>") + rng.choice("hHiIqQ")
    size = struct.calcsize(form)
    at = _place(data, rng)
    number = rng.choice(ODD_NUMBERS) & (2 ** (8 * size) - 1)
    data[at : at + size] = number.to_bytes(size, "little" if form[0] == "<" else "big")
    return data


def _cut(data, rng, others):
    return data[: rng.randrange(len(data))]


def _remove(data, rng, others):
    at = _place(data, rng)
    del data[at : at + rng.choice((1, 2, 4, 16, 100, 1000))]
    return data


def _insert(data, rng, others):
    at = _place(data, rng)
    data[at:at] = rng.choice((rng.randbytes(rng.choice((1, 4, 40, 400))), bytes(200), b"\xff" * 200))
    return data


def _repeat(data, rng, others):
    at = _place(data, rng)
    piece = data[at : at + rng.choice((4, 32, 500))]
    data[at:at] = piece * rng.choice((1, 2, 50))
    return data


def _swap(data, rng, others):
    size = rng.choice((1, 4, 32, 500))
    a, b = _place(data, rng), _place(data, rng)
    first, second = bytes(data[a : a + size]), bytes(data[b : b + size])
    if len(first) == len(second):
        data[a : a + size], data[b : b + size] = second, first
    return data


def _splice(data, rng, others):
    other = (rng.choice(others) if others else b"") or bytes(data)
    return data[: _place(data, rng)] + bytearray(other[rng.randrange(len(other)) :])


_FAULTS = (
    _flip,
    _flip,
    _odd_byte,
    _odd_byte,
    _number,
    _number,
    _cut,
    _remove,
    _insert,
    _repeat,
    _swap,
    _splice,
)


def mutated_table(data: bytes, rng: random.Random) -> bytes:
    """Return a table as text with faults in its cells and lines."""
    lines = data.split(b"\n")
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(lines)) if rng.random() < 0.7 else 0
        cells = re.split(rb"([\t,;])", lines[at])
        what = rng.randrange(6)
        if what == 0:
            lines.insert(at, lines[at])
        elif what == 1:
            del lines[at]
            lines = lines or [b""]
        elif what == 2:
            cells = cells[: rng.randrange(len(cells))]
            lines[at] = b"".join(cells)
        elif what == 3:
            lines[at] += rng.choice((b"\t", b",", b";", b"\r", b'"', b"\t1\t2"))
        else:
            cells[rng.randrange(len(cells))] = rng.choice(ODD_CELLS)
            lines[at] = b"".join(cells)
    text = b"\n".join(lines)
    return rng.choice((b"\xef\xbb\xbf", b"\xff\xfe", b"\0")) + text if rng.random() < 0.05 else text


def mutated_json(text: str, rng: random.Random) -> str:
    """Return JSON with values that nobody wrote, names that are missing, or more of them."""
    value = json.loads(text)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        places = list(_places(value))
        if not places:
            return json.dumps(rng.choice(ODD_VALUES))
        holder, key = rng.choice(places)
        what = rng.randrange(8)
        if what == 0:
            del holder[key]
        elif what == 1 and isinstance(holder, dict):
            holder[rng.choice(("extra", "kind", "", "__class__", "\0"))] = deepcopy(rng.choice(ODD_VALUES))
        elif what == 2:
            other, other_key = rng.choice(places)
            holder[key] = deepcopy(other[other_key]) if other is not holder else [holder[key]]
        elif what == 3 and isinstance(holder[key], int | float):
            holder[key] = rng.choice((-holder[key], holder[key] + 1, holder[key] * 10**6, str(holder[key])))
        else:
            holder[key] = deepcopy(rng.choice(ODD_VALUES))
    return json.dumps(value)


def _places(value):
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in list(items):
        yield value, key
        yield from _places(below)


def mutated_toml(text: str, rng: random.Random) -> str:
    """Return TOML with other values, sections and lines."""
    lines = text.split("\n")
    for _ in range(rng.choice((1, 1, 2, 3))):
        at = rng.randrange(len(lines))
        key, equals, _ = lines[at].partition("=")
        what = rng.randrange(5)
        if what == 0:
            lines.insert(at, rng.choice(lines))
        elif what == 1:
            del lines[at]
            lines = lines or [""]
        elif equals and what < 4:
            odd = rng.choice(ODD_VALUES)
            lines[at] = (
                f"{key}= {json.dumps(odd) if odd is not None else rng.choice(('nan', '[', '1979-05-27'))}"
            )
        else:
            lines[at] = rng.choice(
                ("[", "[[rows]]", "[data]", "x = " + "[" * 3000, "a.b.c = 1", '"' * 3, "\0")
            )
    return "\n".join(lines).encode("utf-8", "replace").decode()


def mutated_safetensors(data: bytes, rng: random.Random) -> bytes:
    """Return tensors with a header that is JSON of its right length, and says something else."""
    length = int.from_bytes(data[:8], "little")
    header = mutated_json(data[8 : 8 + length].decode(), rng).encode()
    return len(header).to_bytes(8, "little") + header + data[8 + length :]


_CRC = []
for _byte in range(256):
    _value = _byte << 24
    for _ in range(8):
        _value = (_value << 1 ^ 0x04C11DB7 if _value & 0x80000000 else _value << 1) & 0xFFFFFFFF
    _CRC.append(_value)


def with_checksums(data: bytes) -> bytes:
    """Return Ogg with the checksum that each of its pages should have, so that damage gets past them."""
    data = bytearray(data)
    at = data.find(b"OggS")
    while at >= 0 and at + 27 <= len(data):
        lengths = data[at + 27 : at + 27 + data[at + 26]]
        end = at + 27 + len(lengths) + sum(lengths)
        data[at + 22 : at + 26] = bytes(4)
        crc = 0
        for byte in data[at:end]:
            crc = crc << 8 & 0xFFFFFFFF ^ _CRC[crc >> 24 ^ byte]
        data[at + 22 : at + 26] = crc.to_bytes(4, "little")
        at = data.find(b"OggS", at + 4)
    return bytes(data)
