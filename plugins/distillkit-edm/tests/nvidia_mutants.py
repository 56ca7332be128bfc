"""Damaged copies of a file, by a seeded generator."""

from __future__ import annotations

import random

OPCODES = b"(.01JKMN\x88\x89\x8aGX\x8c\x8dBC\x8e]ae)t\x85\x86\x87}su\x8f\x90hjqr\x94c\x93R\x81bQio\x92\x82\x83\x84P2"


def mutant(data: bytes, rng: random.Random) -> bytes:
    """One to four changes: bits, bytes, opcodes, pieces cut out, put in, doubled or exchanged, the end cut off."""
    made = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at, n = rng.randrange(len(made)), rng.choice((1, 2, 4, 16, 256))
        match rng.randrange(9):
            case 0:
                made[at] ^= 1 << rng.randrange(8)
            case 1:
                made[at] = rng.randrange(256)
            case 2:
                made[at] = rng.choice(OPCODES)
            case 3:
                made[at : at + 4] = rng.choice((b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\0", b"\1\0\0\x80"))
            case 4:
                del made[at : at + n]
            case 5:
                made[at:at] = rng.randbytes(n)
            case 6:
                made[at:at] = made[at : at + n]
            case 7:
                to = rng.randrange(len(made))
                made[to : to + n] = made[at : at + n]
            case 8:
                del made[max(at, 8) :]
    return bytes(made) or b"\x80"
