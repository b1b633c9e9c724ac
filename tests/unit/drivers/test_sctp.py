"""The first packet of an SCTP association, compared with scapy."""

from __future__ import annotations

import pytest
from scapy.layers.sctp import SCTP, SCTPChunkInit

from netorch.drivers.probe.sctp import init


@pytest.mark.parametrize("note", [b"", b"a", b"token", b"netorch", b"12345678"])
def test_an_init_is_whole_and_its_checksum_is_right(note: bytes) -> None:
    found = init(49152, 9, note)
    read = SCTP(found)
    assert (read.sport, read.dport, read.tag, len(found) % 4) == (49152, 9, 0, 0)
    assert (read[SCTPChunkInit].type, read[SCTPChunkInit].len) == (1, len(found) - 12)
    assert note in found
    said = read.chksum
    del read.chksum
    assert SCTP(bytes(read)).chksum == said
