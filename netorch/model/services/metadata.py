"""EC2's instance metadata: its options, and the tree of texts that an instance reads."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from netorch.model.record import Part
from netorch.model.rules import Violation
from netorch.model.services.private_names import SERVICES_DOMAIN

USER_DATA_MOST: Final = 16384  # bytes, as in EC2
HOPS_MOST: Final = 64  # EC2's
VERSIONS: Final = ("2009-04-04", "2016-09-02", "2018-09-24", "2021-03-23", "latest")  # all serve the same tree
ZONE, REGION = "netorch-1a", "netorch-1"  # netorch has neither; programs for EC2 expect a zone and its region


class MetadataOptions(Part, frozen=True, kw_only=True, omit_defaults=True):
    """The metadata options of an instance, with EC2's names and defaults."""

    http_endpoint: bool = True  # whether the instance gets answers
    http_tokens: bool = True  # whether the instance needs a token
    http_put_response_hop_limit: int = 1  # the IP TTL of the response that carries the token
    instance_metadata_tags: bool = False  # whether the instance can read its tags


def option_words(options: MetadataOptions) -> dict[str, str | int]:
    """Return metadata options with EC2's values."""
    return {
        "http_endpoint": "enabled" if options.http_endpoint else "disabled",
        "http_tokens": "required" if options.http_tokens else "optional",
        "http_put_response_hop_limit": options.http_put_response_hop_limit,
        "instance_metadata_tags": "enabled" if options.instance_metadata_tags else "disabled",
    }


def hop_limit(number: int) -> Violation | None:
    """Return the error in a hop limit, or None."""
    if 1 <= number <= HOPS_MOST:
        return None
    return Violation(f"the hop limit {number} is out of range", f"choose 1 to {HOPS_MOST}")


def user_data(text: str) -> Violation | None:
    """Return the error in user data in base64, or None."""
    try:
        size = len(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        return Violation("the user data are not base64", "encode them")
    if size > USER_DATA_MOST:
        return Violation(f"the user data have {size} bytes", f"keep them within {USER_DATA_MOST}")
    return None


class InterfaceFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The metadata of one interface of an instance."""

    id: str
    mac: str
    address: str
    subnet: str
    subnet_cidr: str
    hostname: str
    ipv6_address: str = ""
    subnet_ipv6_cidr: str = ""
    public_address: str = ""
    public_hostname: str = ""
    groups: tuple[tuple[str, str], ...] = ()  # (id, name) of its security groups, sorted by name


class InstanceFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The metadata of an instance. Its primary interface comes first."""

    id: str
    owner: str
    vpc: str
    cidrs: tuple[str, ...]
    ipv6_cidrs: tuple[str, ...]
    interfaces: Sequence[InterfaceFacts]
    tags: tuple[tuple[str, str], ...] = ()  # the tags that the instance may read


def tree(facts: InstanceFacts) -> dict[str, str]:
    """Return path -> text for all texts below a version. The paths determine the directory listings."""
    own = facts.interfaces[0]
    document = {
        "accountId": facts.owner,
        "availabilityZone": ZONE,
        "instanceId": facts.id,
        "privateIp": own.address,
        "region": REGION,
        "version": "2017-09-30",
    }
    found = {"dynamic/instance-identity/document": json.dumps(document, indent=2, sort_keys=True)}
    found |= {f"meta-data/{path}": text for path, text in _own(facts, own) if text}
    for number, interface in enumerate(facts.interfaces):
        where = f"meta-data/network/interfaces/macs/{interface.mac}"
        found |= {f"{where}/{path}": text for path, text in _interface(facts, interface, number) if text}
    return found


def _own(facts: InstanceFacts, own: InterfaceFacts) -> Iterator[tuple[str, str]]:
    yield "hostname", own.hostname
    yield "instance-id", facts.id
    yield "ipv6", own.ipv6_address
    yield "local-hostname", own.hostname
    yield "local-ipv4", own.address
    yield "mac", own.mac
    yield "placement/availability-zone", ZONE
    yield "placement/region", REGION
    yield "public-hostname", own.public_hostname
    yield "public-ipv4", own.public_address
    yield "security-groups", "\n".join(name for _, name in own.groups)
    yield "services/domain", SERVICES_DOMAIN
    yield "services/partition", "netorch"
    for key, value in facts.tags:
        yield f"tags/instance/{key}", value


def _interface(facts: InstanceFacts, interface: InterfaceFacts, number: int) -> Iterator[tuple[str, str]]:
    yield "device-number", str(number)
    yield "interface-id", interface.id
    yield "ipv6s", interface.ipv6_address
    yield "local-hostname", interface.hostname
    yield "local-ipv4s", interface.address
    yield "mac", interface.mac
    yield "owner-id", facts.owner
    yield "public-hostname", interface.public_hostname
    yield "public-ipv4s", interface.public_address
    if interface.public_address:
        yield f"ipv4-associations/{interface.public_address}", interface.address
    yield "security-group-ids", "\n".join(group for group, _ in interface.groups)
    yield "security-groups", "\n".join(name for _, name in interface.groups)
    yield "subnet-id", interface.subnet
    yield "subnet-ipv4-cidr-block", interface.subnet_cidr
    yield "subnet-ipv6-cidr-blocks", interface.subnet_ipv6_cidr
    yield "vpc-id", facts.vpc
    yield "vpc-ipv4-cidr-block", facts.cidrs[0]
    yield "vpc-ipv4-cidr-blocks", "\n".join(facts.cidrs)
    yield "vpc-ipv6-cidr-blocks", "\n".join(facts.ipv6_cidrs)
