"""PROXY protocol, version 2: tells a server the source of a forwarded connection.

Source: haproxy's doc/proxy-protocol.txt; for the endpoint's id AWS's "Network Load Balancers", "Proxy protocol".
"""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Final

_SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
_VERSION_PROXY: Final = 0x21  # version 2, command PROXY
_TCP4: Final = 0x11
_AWS: Final = 0xEA  # PP2_TYPE_AWS
_VPCE_ID: Final = b"\x01"  # PP2_SUBTYPE_AWS_VPCE_ID


def header(source: tuple[str, int], destination: tuple[str, int], endpoint: str) -> bytes:
    """Return the header for a connection between two IPv4 addresses and ports, through the endpoint with this id."""
    addresses = IPv4Address(source[0]).packed + IPv4Address(destination[0]).packed
    ports = source[1].to_bytes(2) + destination[1].to_bytes(2)
    value = _VPCE_ID + endpoint.encode()
    content = addresses + ports + bytes((_AWS,)) + len(value).to_bytes(2) + value
    return _SIGNATURE + bytes((_VERSION_PROXY, _TCP4)) + len(content).to_bytes(2) + content
