"""The addresses of a host's own services for the instances of a VPC, as in EC2. Only instances on the host reach them.

Security groups and network ACLs do not apply to them, and flow logs omit them.
"""

from __future__ import annotations

from typing import Final

from netorch.model.addr import format_ip, parse_prefix
from netorch.model.vpc import Vpc

METADATA: Final = "169.254.169.254"
RESOLVER: Final = "169.254.169.253"
RESOLVER6: Final = "fd00:ec2::253"  # of VPCs with IPv6 CIDRs. Source: VPC User Guide, "Amazon DNS server"
PACKETS_PER_S: Final = 1024  # per interface, to all of them together. Source: VPC User Guide, "DNS attributes", DNS quotas


def resolvers(vpc: Vpc) -> tuple[str, ...]:
    """Return the resolver addresses of a VPC: primary CIDR plus two, then EC2's fixed addresses. Empty without DNS support."""
    if not vpc.enable_dns_support:
        return ()
    prefix = parse_prefix(vpc.cidrs[0])
    found = (format_ip(prefix.version, prefix.network + 2), RESOLVER)
    return (*found, RESOLVER6) if vpc.ipv6_cidrs else found


def near_addresses(vpc: Vpc) -> tuple[str, ...]:
    """Return all addresses of host services in a VPC."""
    return (*resolvers(vpc), METADATA)
