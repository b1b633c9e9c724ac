"""Classic BPF: programs that select what the kernel queues for a socket. Source: socket(7), linux/filter.h."""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Sequence
from typing import Final

Instruction = tuple[int, int, int, int]  # code, jump offsets if true and if false, operand

# Loads are big-endian, but netlink's numbers are in host order.
LOAD_WORD: Final = 0x20
LOAD_HALF: Final = 0x28
JUMP_IF_EQUAL: Final = 0x15
RETURN: Final = 0x06
PASS: Final[Instruction] = (RETURN, 0, 0, 0xFFFFFFFF)
IGNORE: Final[Instruction] = (RETURN, 0, 0, 0)

_SO_ATTACH_FILTER: Final = 26


def attach(sock: socket.socket, program: Sequence[Instruction]) -> None:
    """Queue for the socket only what the program passes. Raises OSError."""
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(program), ctypes.addressof(buffer)))
