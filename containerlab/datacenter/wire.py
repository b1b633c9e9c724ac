"""Listen on a cable, and count what is encrypted on it and what is not.

python3 wire.py eth1 10.44.0.80 5     which device, what address is to be looked for in plain packets, for how many seconds
"""

from __future__ import annotations

import socket
import sys
import time
from enum import Enum
from typing import Final

ETH_P_ALL, ETH_P_IP = 0x0003, 0x0800  # linux/if_ether.h
ESP, UDP = 50, 17  # IANA's protocol numbers
IKE_PORTS: Final = (500, 4500)  # RFC 7296; behind a NAT ESP is in UDP 4500, too: RFC 3948


class Kind(Enum):
    """What a frame is."""

    ENCRYPTED = "encrypted"
    PLAIN = "plain"
    OTHER = "other"


def kind_of(frame: bytes, address: bytes) -> Kind:
    """Return what an Ethernet frame is; PLAIN has `address` as its source or its destination."""
    packet = frame[14:]
    if int.from_bytes(frame[12:14], "big") != ETH_P_IP or len(packet) < 20:
        return Kind.OTHER
    if address in (packet[12:16], packet[16:20]):
        return Kind.PLAIN
    udp = packet[(packet[0] & 15) * 4 :]
    ports = {int.from_bytes(udp[:2], "big"), int.from_bytes(udp[2:4], "big")}
    return Kind.ENCRYPTED if packet[9] == ESP or (packet[9] == UDP and ports & {*IKE_PORTS}) else Kind.OTHER


def listen(device: str, address: str, seconds: float) -> dict[Kind, int]:
    """Return how many frames of each kind passed."""
    counts = dict.fromkeys(Kind, 0)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)) as tap:
        tap.bind((device, 0))
        print(f"listening on {device}", flush=True)
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            tap.settimeout(left)
            try:
                frame = tap.recv(2048)
            except TimeoutError:
                break
            counts[kind_of(frame, socket.inet_aton(address))] += 1
    return counts


if __name__ == "__main__":
    counts = listen(sys.argv[1], sys.argv[2], float(sys.argv[3]))
    print(f"{counts[Kind.ENCRYPTED]} packets of IPsec, {counts[Kind.PLAIN]} with {sys.argv[2]} in plain text")
