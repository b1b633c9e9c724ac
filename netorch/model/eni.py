"""Instances, their network interfaces, and the hosts that carry them."""

from __future__ import annotations

from enum import Enum
from typing import ClassVar

import msgspec

from netorch.model.record import Part, Record
from netorch.model.services.metadata import MetadataOptions
from netorch.model.vpc import Tags


class Attachment(Enum):
    """How an instance is attached to its host."""

    NETNS = "netns"  # netorch makes a network namespace; its name is the instance's id
    EXISTING = "existing"  # a namespace that netorch did not make, e.g. a container's; `netns` names it
    TAP = "tap"  # a tap device for a virtual machine


class Instance(Record, frozen=True, kw_only=True, omit_defaults=True):
    """An instance, which owns network interfaces. Stored at `vpc/<vni>/i/<id>`.

    Schema 2 added `user_data` and `metadata`, schema 3 left out what the key says.
    """

    SCHEMA: ClassVar[int] = 3
    KEYED: ClassVar[bool] = True

    id: str
    vni: int
    name: str
    attachment: Attachment = Attachment.NETNS
    netns: str = ""  # for EXISTING: a name in /run/netns or an absolute path such as /proc/4711/ns/net
    user_data: str = ""  # base64, immutable; readable by the instance and by users who may export it
    metadata: MetadataOptions = MetadataOptions()
    tags: Tags = {}


class NetworkInterface(Record, frozen=True, kw_only=True, omit_defaults=True):
    """An elastic network interface (ENI), which holds the addresses and the MAC. Stored at `vpc/<vni>/eni/<id>`.

    Schema 2 added `source_dest_check`, schema 3 `gateway`, schema 4 `secondary`, schema 5 endpoints as gateways.
    Schema 6 left out what the key says.
    """

    SCHEMA: ClassVar[int] = 6
    KEYED: ClassVar[bool] = True

    id: str
    vni: int
    subnet: str
    mac: str
    address: str  # the primary private IPv4 address
    ipv6_address: str = ""
    instance: str = ""  # i-...; empty: not attached
    groups: tuple[str, ...] = ()  # sg-..., sorted; traffic that no group permits is dropped, so no groups drop all traffic
    name: str = ""
    source_dest_check: bool = True  # true: only packets of its own addresses pass
    secondary: tuple[str, ...] = ()  # more private IPv4 addresses, in the order of assignment; NAT gateways have them
    # The owner nat-..., vpce-... or vpce-svc-...; such an ENI is attached to no instance. A NAT gateway shares its ENI's MAC.
    gateway: str = ""
    tags: Tags = {}

    @property
    def addresses(self) -> tuple[str, ...]:
        """Return all addresses of this interface."""
        return (self.address, *self.secondary, self.ipv6_address) if self.ipv6_address else (self.address, *self.secondary)


def is_of_endpoint(eni: NetworkInterface) -> bool:
    """Return whether an interface belongs to an endpoint, or to an endpoint service for one of its connections."""
    return eni.gateway.startswith("vpce-")


class Role(Enum):
    """The role of a host."""

    HYPERVISOR = "hypervisor"
    EDGE = "edge"


class Uplink(Part, frozen=True, kw_only=True, omit_defaults=True):
    """An edge's uplink: its device, addresses and border router."""

    device: str  # the name of a network device of the host, which the edge uses exclusively
    address: str  # IPv4, with prefix length
    gateway: str  # IPv4, of the border router
    ipv6_address: str = ""  # with prefix length
    ipv6_gateway: str = ""
    asn: int = 0  # of the edge; 0: no BGP, the border router has static routes to the edge
    gateway_asn: int = 0  # of the border router; set if `asn` is set, and different from it

    @property
    def speaks_bgp(self) -> bool:
        """Return whether the edge has a BGP session with the border router on this uplink."""
        return bool(self.asn and self.gateway_asn)


class Host(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A machine that runs an agent. Stored at `host/<name>/spec`.

    Schema 2 added `pair` and `uplink`, which only edges have; schema 3 added the uplink's AS numbers; schema 4 added `capacity`.
    """

    SCHEMA: ClassVar[int] = 4

    name: str
    underlay: str  # the VTEP: an IPv4 address of the underlay
    role: Role = Role.HYPERVISOR
    pair: str = ""  # both edges of a pair carry the same gateways; each takes over if the other fails
    uplink: Uplink | None = None
    capacity: int = 0  # of a hypervisor: how many interfaces it may carry; 0: any number
    tags: Tags = {}


class Placement(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A resource that a host must carry. Stored at `host/<name>/placement/<id>`. The id contains the kind and the VPC's VNI."""

    id: str


class EniStatus(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The status of an interface, which its host reports. Stored at `hoststat/<host>/<eni>`."""

    state: EniState
    reason: str = ""


class EniState(Enum):
    """The states of an interface that an agent reports."""

    ATTACHED = "attached"
    OUTGOING = "outgoing"  # this host relays its traffic to the next host, which may now take over the interface
    FAILED = "failed"


class VpcStatus(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a host cannot apply a VPC. Stored at `hoststat/<host>/vpc-<vni>`; absent if the host applied the VPC."""

    reason: str


def primary_eni_id(instance_id: str) -> str:
    """Return the id of the interface that was created with an instance."""
    return f"eni-{instance_id[-17:]}"
