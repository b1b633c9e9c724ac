"""The DNS names that netorch generates. DHCP and metadata publish some of them; the resolver answers all.

    ip-10-44-12-4.compute.internal        a private address of the VPC
    i-00138800000000001.compute.internal  an instance
    ec2-203-0-113-5.compute.internal      a public address; inside the VPC it resolves to the private address
    vpce-....vpce-svc-....vpce.netorch.internal   an interface endpoint

Source: VPC User Guide, "DNS hostnames".
"""

from __future__ import annotations

from typing import Final

DOMAIN: Final = "compute.internal"
SERVICES_DOMAIN: Final = "netorch.internal"  # in EC2: amazonaws.com
PREFIX: Final = "ip-"
TTL_S: Final = 60  # of all these names
_PUBLIC_PREFIX: Final = "ec2-"


def address_label(address: str) -> str:
    """Return the first label of the DNS name for a private IPv4 address."""
    return f"{PREFIX}{address.replace('.', '-')}"


def resource_name(instance_id: str) -> str:
    """Return the DNS name for an instance id."""
    return f"{instance_id}.{DOMAIN}"


def public_name(address: str) -> str:
    """Return the DNS name for a public IPv4 address."""
    return f"{_PUBLIC_PREFIX}{address.replace('.', '-')}.{DOMAIN}"


def endpoint_name(endpoint_id: str, service_id: str) -> str:
    """Return the DNS name of an interface endpoint of a service."""
    return f"{endpoint_id}.{service_id}.vpce.{SERVICES_DOMAIN}"
