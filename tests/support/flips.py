"""Damaged copies of bytes."""

from __future__ import annotations

import random
from collections.abc import Iterator


def flipped(content: bytes, bit: int) -> bytes:
    """With one bit turned over."""
    return bytes(
        byte ^ (1 << bit % 8) if place == bit // 8 else byte for place, byte in enumerate(content)
    )


def damaged(content: bytes, count: int, seed: int) -> Iterator[bytes]:
    """Copies that differ from the content: bits and bytes changed, cut, longer, moved about."""
    chance = random.Random(seed)
    done = 0
    while done < count:
        copy = bytearray(content)
        kind = chance.randrange(8)
        at = chance.randrange(len(copy)) if copy else 0
        if kind < 3 and copy:
            copy[at] ^= 1 << chance.randrange(8)
        elif kind == 3 and copy:
            for _ in range(chance.randrange(1, 8)):
                copy[chance.randrange(len(copy))] = chance.choice([0, 0x30, 0x7F, 0x80, 0xFF])
        elif kind == 4:
            del copy[at:]
        elif kind == 5:
            copy += chance.randbytes(chance.randrange(1, 40))
        elif kind == 6:
            copy[at : at + chance.randrange(1, 200)] = bytes(chance.randrange(1, 200))
        else:
            del copy[at : at + chance.randrange(1, 30)]
        if copy != content:
            done += 1
            yield bytes(copy)
