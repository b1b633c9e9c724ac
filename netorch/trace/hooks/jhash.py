"""Jenkins' hash as in nftables: gateways choose among addresses with it. Source: linux/jhash.h, nft_hash.c."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

_INIT: Final = 0xDEADBEEF
_WORD: Final = 0xFFFFFFFF
_TURNS: Final = ((2, 1, 14), (0, 2, 11), (1, 0, 25), (2, 1, 16), (0, 2, 4), (1, 0, 14), (2, 1, 24))  # __jhash_final


def jhash(registers: Sequence[int], modulus: int, seed: int) -> int:
    """Return the hash of up to three registers, modulo `modulus`. The kernel hashes their bytes."""
    words = [int.from_bytes(struct.pack(">I", register), "little") for register in registers]
    start = (_INIT + 4 * len(words) + seed) & _WORD
    state = [(start + word) & _WORD for word in (*words, *[0] * (3 - len(words)))]
    for changed, other, bits in _TURNS:
        turned = (state[other] << bits | state[other] >> (32 - bits)) & _WORD
        state[changed] = ((state[changed] ^ state[other]) - turned) & _WORD
    return state[2] * modulus >> 32
