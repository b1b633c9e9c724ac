"""Private names of addresses, e.g. ip-10-44-12-4.compute.internal: DHCP and metadata tell them, and the resolver knows them.

Source: VPC User Guide, "DNS hostnames".
"""

from __future__ import annotations

from typing import Final

DOMAIN: Final = "compute.internal"
PREFIX: Final = "ip-"


def host_name(address: str) -> str:
    """Return what an interface with a private IPv4 address is called, without a domain."""
    return f"{PREFIX}{address.replace('.', '-')}"
