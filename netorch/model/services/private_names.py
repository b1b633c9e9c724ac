"""Names that netorch makes: DHCP and metadata tell some, and the resolver knows them.

    ip-10-44-12-4.compute.internal        a private address of the VPC
    i-00138800000000001.compute.internal  an instance, by its id
    ec2-203-0-113-5.compute.internal      a public address: within the VPC it leads to the private one
    vpce-....vpce-svc-....vpce.netorch.internal   an interface endpoint

Source: VPC User Guide, "DNS hostnames".
"""

from __future__ import annotations

from typing import Final

DOMAIN: Final = "compute.internal"
SERVICES_DOMAIN: Final = "netorch.internal"  # EC2's is amazonaws.com
PREFIX: Final = "ip-"
TTL_S: Final = 60  # of all of them
_PUBLIC_PREFIX: Final = "ec2-"


def host_name(address: str) -> str:
    """Return what an interface with a private IPv4 address is called, without a domain."""
    return f"{PREFIX}{address.replace('.', '-')}"


def resource_name(instance_id: str) -> str:
    """Return the name of an instance by its id."""
    return f"{instance_id}.{DOMAIN}"


def public_name(address: str) -> str:
    """Return the name of a public IPv4 address."""
    return f"{_PUBLIC_PREFIX}{address.replace('.', '-')}.{DOMAIN}"


def endpoint_name(endpoint_id: str, service_id: str) -> str:
    """Return the name of an interface endpoint of a service, by the ids of both."""
    return f"{endpoint_id}.{service_id}.vpce.{SERVICES_DOMAIN}"
