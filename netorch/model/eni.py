"""Instances, their network interfaces, and the hosts that carry them."""

from __future__ import annotations

from enum import Enum
from typing import ClassVar

import msgspec

from netorch.model.record import Part, Record
from netorch.model.services.metadata import MetadataOptions
from netorch.model.vpc import Tags


class Attachment(Enum):
    """How an instance is plugged in."""

    NETNS = "netns"  # netorch makes a network namespace named as the instance's id
    EXISTING = "existing"  # somebody else's namespace, e.g. a container's; `netns` says which
    TAP = "tap"  # a tap device for a virtual machine


class Instance(Record, frozen=True, kw_only=True, omit_defaults=True):
    """Something that owns network interfaces. Stored at `vpc/<vni>/i/<id>`.

    Schema 2 added `user_data` and `metadata`.
    """

    SCHEMA: ClassVar[int] = 2

    id: str
    vni: int
    name: str
    attachment: Attachment = Attachment.NETNS
    netns: str = ""  # for EXISTING: a name in /run/netns or an absolute path such as /proc/4711/ns/net
    user_data: str = ""  # base64; the instance itself reads it, and whoever may export it. It never changes
    metadata: MetadataOptions = MetadataOptions()
    tags: Tags = {}


class NetworkInterface(Record, frozen=True, kw_only=True, omit_defaults=True):
    """An elastic network interface: the holder of addresses and MAC. Stored at `vpc/<vni>/eni/<id>`.

    Schema 2 added `source_dest_check`, schema 3 `gateway`, schema 4 `secondary`, schema 5 endpoints as gateways.
    """

    SCHEMA: ClassVar[int] = 5

    id: str
    vni: int
    subnet: str
    mac: str
    address: str  # the primary private IPv4 address
    ipv6_address: str = ""
    instance: str = ""  # i-..., nothing: not attached
    groups: tuple[str, ...] = ()  # sg-..., sorted; what none of them permits is refused, so none refuses everything
    name: str = ""
    source_dest_check: bool = True  # whether it sends and receives packets of its own addresses only
    secondary: tuple[str, ...] = ()  # more private IPv4 addresses, in the order in which they came; NAT gateways have such
    # nat-..., vpce-... or vpce-svc-..., whose it is: then it is attached to no instance. Of a NAT gateway it has the MAC, too.
    gateway: str = ""
    tags: Tags = {}

    @property
    def addresses(self) -> tuple[str, ...]:
        """Return every address that this interface has."""
        return (self.address, *self.secondary, self.ipv6_address) if self.ipv6_address else (self.address, *self.secondary)


def is_of_endpoint(eni: NetworkInterface) -> bool:
    """Return whether an interface is an endpoint's, or a service's for one connection."""
    return eni.gateway.startswith("vpce-")


class Role(Enum):
    """What a host is for."""

    HYPERVISOR = "hypervisor"
    EDGE = "edge"


class Uplink(Part, frozen=True, kw_only=True, omit_defaults=True):
    """How an edge reaches the outside."""

    device: str  # the name of a network device of the host; the edge takes it for itself
    address: str  # IPv4, with prefix length
    gateway: str  # IPv4, of the border router
    ipv6_address: str = ""  # with prefix length
    ipv6_gateway: str = ""
    asn: int = 0  # of the edge; 0: it speaks no BGP, and the border router has static routes to it
    gateway_asn: int = 0  # of the border router; not 0 if `asn` is not, and another number

    @property
    def speaks_bgp(self) -> bool:
        """Return whether the edge has a BGP session with the border router there."""
        return bool(self.asn and self.gateway_asn)


class Host(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A machine that runs an agent. Stored at `host/<name>/spec`.

    Schema 2 added `pair` and `uplink`, which edges have and hypervisors have not; 3 added the uplink's AS numbers.
    """

    SCHEMA: ClassVar[int] = 3

    name: str
    underlay: str  # the VTEP: an IPv4 address of the underlay
    role: Role = Role.HYPERVISOR
    pair: str = ""  # the edges of one pair carry the same gateways, and each takes over when the other fails
    uplink: Uplink | None = None
    tags: Tags = {}


class Placement(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A host is to carry this resource. Stored at `host/<name>/placement/<id>`: the id tells its kind and VPC."""

    id: str


class EniStatus(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a host says of an interface. Stored at `hoststat/<host>/<eni>`."""

    state: EniState
    reason: str = ""


class EniState(Enum):
    """The states an agent reports."""

    ATTACHED = "attached"
    OUTGOING = "outgoing"  # its traffic is relayed to where it moves; the other host may take it
    FAILED = "failed"


class VpcStatus(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a host says of a VPC that it cannot apply. Stored at `hoststat/<host>/vpc-<vni>`, absent when all is well."""

    reason: str


def primary_eni_id(instance_id: str) -> str:
    """Return the id of the interface that came with an instance."""
    return f"eni-{instance_id[-17:]}"
