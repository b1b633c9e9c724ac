"""The INIT packet of an SCTP association: conntrack accepts no other first packet, and verifies its checksum.

Source: RFC 9260 sections 3.1, 3.3.2 (INIT) and appendix A (checksum).
"""

from __future__ import annotations

import struct
from typing import Final

_HEADER: Final = struct.Struct("!HHII")  # ports, verification tag, checksum
_INIT: Final = struct.Struct("!BBHIIHHI")  # type, flags, length, tag, window, streams out and in, initial TSN
_PARAMETER: Final = struct.Struct("!HH")
_INIT_CHUNK, _WINDOW, _STREAMS, _TAG = 1, 65535, 1, 1
_SKIPPED_IF_UNKNOWN: Final = 0xBFFF  # parameter type that receivers silently skip if unknown


def init(source_port: int, destination_port: int, note: bytes) -> bytes:
    """Return an SCTP INIT packet. It carries a note, which receivers ignore."""
    note += bytes(-len(note) % 4)
    parameter = _PARAMETER.pack(_SKIPPED_IF_UNKNOWN, _PARAMETER.size + len(note)) + note
    chunk = _INIT.pack(_INIT_CHUNK, 0, _INIT.size + len(parameter), _TAG, _WINDOW, _STREAMS, _STREAMS, _TAG) + parameter
    head = _HEADER.pack(source_port, destination_port, 0, 0)
    return head[:8] + struct.pack("<I", _crc32c(head + chunk)) + chunk


def _crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF
