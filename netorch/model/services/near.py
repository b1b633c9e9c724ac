"""The addresses at which a host itself serves the instances of a VPC, as EC2's do. Only instances on the host reach them.

Neither security groups nor network ACLs apply to them, and flow logs leave them out.
"""

from __future__ import annotations

from typing import Final

from netorch.model.addr import format_ip, parse_prefix
from netorch.model.vpc import Vpc

METADATA: Final = "169.254.169.254"
RESOLVER: Final = "169.254.169.253"
RESOLVER6: Final = "fd00:ec2::253"  # of VPCs with IPv6 ranges. Source: VPC User Guide, "Amazon DNS server"
PACKETS_PER_S: Final = 1024  # of an interface to all of them together. Source: VPC User Guide, "DNS attributes", DNS quotas


def resolvers(vpc: Vpc) -> tuple[str, ...]:
    """Return the addresses at which names are asked for: first the one behind the router's in the primary range, then EC2's."""
    if not vpc.enable_dns_support:
        return ()
    prefix = parse_prefix(vpc.cidrs[0])
    found = (format_ip(prefix.version, prefix.network + 2), RESOLVER)
    return (*found, RESOLVER6) if vpc.ipv6_cidrs else found


def near_addresses(vpc: Vpc) -> tuple[str, ...]:
    """Return all addresses at which a VPC's instances are served."""
    return (*resolvers(vpc), METADATA)
