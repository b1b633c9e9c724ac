"""A packet between two addresses of a VPC: the fields that rules, routes and chains match."""

from __future__ import annotations

from typing import Final

import msgspec

from netorch.model.addr import version_of
from netorch.model.security import AH, ICMP, ICMPV6, TCP, UDP

ABSENT: Final = -1  # the value of a field that this protocol does not have

FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10  # Source: RFC 9293 section 3.1
ECHO_REQUEST: Final = {4: 8, 6: 128}  # by IP version. Source: RFC 792, RFC 4443
# ICMP types that quote another packet; for ICMPv6 all types below 128, used or not. Source: RFC 792, RFC 4443 section 2.1
ERRORS: Final = {4: frozenset({3, 4, 5, 11, 12}), 6: frozenset(range(128))}
# ICMP request type -> reply type: echo, timestamp, information and mask; for ICMPv6 echo and node information.
ANSWER_TO: Final = {4: {8: 0, 13: 14, 15: 16, 17: 18}, 6: {128: 129, 139: 140}}


class Packet(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One packet. Only TCP and UDP have ports; only the ICMP of the packet's IP version has type and code."""

    source: str
    destination: str
    protocol: int
    source_port: int = ABSENT
    destination_port: int = ABSENT
    icmp_type: int = ABSENT
    icmp_code: int = ABSENT
    flags: int = SYN  # TCP flags
    quoted: Packet | None = None  # the packet that an ICMP error quotes

    @property
    def version(self) -> int:
        """Return 4 or 6."""
        return version_of(self.source)

    @property
    def has_ports(self) -> bool:
        """Return whether the packet is TCP or UDP."""
        return self.protocol in (TCP, UDP)

    @property
    def has_type(self) -> bool:
        """Return whether the packet is ICMP over IPv4 or ICMPv6 over IPv6. The other combinations have no type."""
        return self.protocol == (ICMP if self.version == 4 else ICMPV6)

    @property
    def has_connection(self) -> bool:
        """Return whether conntrack tracks the packet. IPv6 with an authentication header is untracked: policy.skeleton."""
        return self.protocol != AH or self.version == 4

    @property
    def is_syn(self) -> bool:
        """Return whether the packet opens a TCP connection, whatever connection these ports had before."""
        return self.protocol == TCP and self.flags & (SYN | ACK | RST | FIN) == SYN

    @property
    def begins(self) -> bool:
        """Return whether the packet may be the first of a connection."""
        if self.protocol == TCP:
            return self.is_syn
        return not self.has_type or self.icmp_type in ANSWER_TO[self.version]

    def answer(self) -> Packet:
        """Return the reply of the other end to a packet that opens a connection."""
        icmp_type = ANSWER_TO[self.version].get(self.icmp_type, ABSENT) if self.has_type else ABSENT
        return msgspec.structs.replace(
            self,
            source=self.destination,
            destination=self.source,
            source_port=self.destination_port,
            destination_port=self.source_port,
            icmp_type=icmp_type,
            flags=SYN | ACK,
        )


def packet_of(source: str, destination: str, protocol: int, source_port: int, service: int) -> Packet:
    """Return the packet for a kernel's connection key. `service` is the destination port, or 256 * type + code for ICMP."""
    if protocol in (ICMP, ICMPV6):
        kind, code = divmod(service, 256)
        return Packet(source=source, destination=destination, protocol=protocol, icmp_type=kind, icmp_code=code)
    return Packet(source=source, destination=destination, protocol=protocol, source_port=source_port, destination_port=service)


def echo(source: str, destination: str) -> Packet:
    """Return an ICMP or ICMPv6 echo request."""
    version = version_of(source)
    protocol = ICMP if version == 4 else ICMPV6
    return Packet(source=source, destination=destination, protocol=protocol, icmp_type=ECHO_REQUEST[version], icmp_code=0)
