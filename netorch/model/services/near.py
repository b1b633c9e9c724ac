"""The addresses at which a host itself serves the instances of a VPC, as EC2's do. Only instances on the host reach them.

Neither security groups nor network ACLs apply to them, and flow logs leave them out.
"""

from __future__ import annotations

from typing import Final

from netorch.model.addr import format_ip, parse_prefix
from netorch.model.vpc import Vpc

METADATA: Final = "169.254.169.254"
RESOLVER: Final = "169.254.169.253"
PACKETS_PER_S: Final = 1024  # of an interface to all of them together. Source: VPC User Guide, "DNS attributes", DNS quotas


def resolvers(vpc: Vpc) -> tuple[str, ...]:
    """Return the addresses at which names are asked for: the one behind the router's in the primary range, and EC2's own."""
    if not vpc.enable_dns_support:
        return ()
    prefix = parse_prefix(vpc.cidrs[0])
    return (format_ip(prefix.version, prefix.network + 2), RESOLVER)


def near_addresses(vpc: Vpc) -> tuple[str, ...]:
    """Return all addresses at which a VPC's instances are served."""
    return (*resolvers(vpc), METADATA)
