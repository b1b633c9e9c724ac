"""Traffic that flow logs leave out, as EC2's do: with the router, the resolver, the metadata and time services, and DHCP."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Final

from netorch.drivers.conntrack.attrs import Tuple
from netorch.model.addr import format_ip, packed, parse_prefix
from netorch.model.security import UDP
from netorch.model.vpc import Subnet

# The metadata, resolver and time services of EC2, and the IPv6 router.
_SERVICES: Final = frozenset(
    (
        *map(socket.inet_aton, ("169.254.169.254", "169.254.169.253", "169.254.169.123")),
        *(socket.inet_pton(socket.AF_INET6, text) for text in ("fe80::1", "fd00:ec2::254", "fd00:ec2::253", "fd00:ec2::123")),
    )
)
_DHCP: Final = frozenset({67, 68, 546, 547})


def service_addresses(subnets: Iterable[Subnet]) -> frozenset[bytes]:
    """Return the addresses whose traffic is not logged: the services', and each subnet's router and resolver."""
    found = set(_SERVICES)
    for subnet in subnets:
        for text in filter(None, (subnet.cidr, subnet.ipv6_cidr)):
            prefix = parse_prefix(text)
            found |= {packed(format_ip(prefix.version, prefix.network + number)) for number in (1, 2)}
    return frozenset(found)


def is_unlogged(flow: Tuple, services: frozenset[bytes]) -> bool:
    """Return whether flow logs leave this traffic out."""
    if flow.source in services or flow.destination in services:
        return True
    return flow.protocol == UDP and (flow.source_port in _DHCP and flow.destination_port in _DHCP)
