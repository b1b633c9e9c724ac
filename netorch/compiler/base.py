"""What a compiler sees and what it must yield.

A slice (all objects of one VPC on one host) is  vpc(view)  +  rules(view)  +  mapping(view, m) for each mapping m.
`mapping` depends on nothing but its own mapping and the view's constants, so a changed mapping costs O(1):
its old objects are released, its new ones taken; objects that several mappings share are counted.
`rules` is apart from `vpc`, so that a changed rule costs nothing for the interfaces that it is about.

Compilers are found through the entry-point group `netorch.compilers`, built-in ones too.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping as Dictionary
from enum import Enum
from typing import Protocol

import msgspec

from netorch.errors import CompileError
from netorch.model.addr import format_ip, packed
from netorch.model.eni import Host, Instance, NetworkInterface
from netorch.model.mapping import Mapping
from netorch.model.security import NetworkAcl, PrefixList, SecurityGroup
from netorch.model.vpc import RouteTable, Subnet, Vpc
from netorch.state.base import KernelObject

VXLAN_OVERHEAD = 50  # RFC 7348 section 5: 20 outer IPv4 + 8 UDP + 8 VXLAN + 14 inner Ethernet
# What is inside is at least so large. An underlay with less carries it in two pieces: the outer header permits that.
IPV4_MIN_MTU = 576  # RFC 791 section 3.1; of less than 552 Linux will not be told (ip_rt_min_pmtu)
IPV6_MIN_MTU = 1280  # RFC 8200 section 5; with less a device has no IPv6
PORT_MAC = "02:4e:54:ff:ff:01"  # the host's side of every port on every host: a moved instance keeps its ARP cache
IPV6_GATEWAY = "fe80::1"


class HostView(msgspec.Struct, frozen=True, kw_only=True):
    """What does not depend on any VPC."""

    host: Host
    underlay_ifname: str
    underlay_mtu: int  # bytes

    @property
    def vtep(self) -> str:
        """Return this host's underlay address."""
        return self.host.underlay


class Phase(Enum):
    """How far an interface has come on this host."""

    HELD = "held"  # its port is here
    ARRIVING = "arriving"  # everything but the port is here
    DEPARTING = "departing"  # its port is here until the other host takes it


class LocalEni(msgspec.Struct, frozen=True, kw_only=True):
    """An interface that this host carries, with what it belongs to."""

    eni: NetworkInterface
    subnet: Subnet
    instance: Instance
    phase: Phase = Phase.HELD


class VpcView(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about one VPC that this host may know."""

    host: HostView
    vpc: Vpc
    subnets: tuple[Subnet, ...]
    route_tables: tuple[RouteTable, ...]
    local: tuple[LocalEni, ...]
    held: frozenset[str] = frozenset()  # addresses whose port is here (HELD, DEPARTING): the port's route wins over the mapping's
    zone: int = 1  # the conntrack zone that this host has chosen for the VPC, 1 to 65535
    groups: tuple[SecurityGroup, ...] = ()
    acls: tuple[NetworkAcl, ...] = ()
    prefix_lists: tuple[PrefixList, ...] = ()
    classes: frozenset[tuple[str, ...]] = frozenset()  # every set of groups that some mapping of the VPC has
    mtus: Dictionary[str, int] = {}  # host -> the MTU of its underlay, as far as hosts have said; follows them by itself

    @property
    def vni(self) -> int:
        """Return the VPC's network identifier."""
        return self.vpc.vni

    @property
    def vrf(self) -> str:
        """Return the VRF device's name."""
        return f"vrf{self.vpc.vni}"

    @property
    def vxlan(self) -> str:
        """Return the VXLAN device's name."""
        return f"vx{self.vpc.vni}"

    @property
    def dual_stack(self) -> bool:
        """Return whether IPv6 is switched on; device creation is quadratic with it, so not without need."""
        return bool(self.vpc.ipv6_cidrs)

    @property
    def mtu(self) -> int:
        """Return the largest inner IP packet that this host sends and takes, in bytes."""
        return inner_mtu(self.host.underlay_mtu, self.dual_stack)

    def mtu_to(self, host: str) -> int:
        """Return the largest inner IP packet for another host; 0 when that takes as much as this one, or has not said."""
        there = self.mtus.get(host)
        limit = inner_mtu(there, self.dual_stack) if there is not None else self.mtu
        return limit if limit < self.mtu else 0


class Compiler(Protocol):
    """Turns some of the model's types into kernel objects. Stateless."""

    @property
    def name(self) -> str:
        """Return what it is called in errors."""
        ...

    @property
    def reads(self) -> frozenset[type]:
        """Return the stored types that it turns into kernel objects."""
        ...

    def host(self, view: HostView, /) -> Iterable[KernelObject]:
        """Yield what stands on every host, VPCs or none."""
        ...

    def vpc(self, view: VpcView, /) -> Iterable[KernelObject]:
        """Yield the VPC's objects that depend on neither rules nor a mapping. Reads nothing of what `rules` reads alone."""
        ...

    def rules(self, view: VpcView, /) -> Iterable[KernelObject]:
        """Yield what security groups, network ACLs and prefix lists come to for the interfaces that are here."""
        ...

    def mapping(self, view: VpcView, mapping: Mapping, /) -> Iterable[KernelObject]:
        """Yield the objects of one mapping. Reads nothing of the view but `host`, `vpc`, `held`, `mtus`."""
        ...


def inner_mtu(underlay_mtu: int, dual_stack: bool) -> int:
    """Return the MTU of a VPC above an underlay's, both in bytes."""
    return max(underlay_mtu - VXLAN_OVERHEAD, IPV6_MIN_MTU if dual_stack else IPV4_MIN_MTU)


def router_mac(vtep: str) -> str:
    """Return a host's router MAC: 02:4e and the four bytes of its VTEP, so that a MAC names its host. Raises CompileError."""
    return (b"\x02\x4e" + _four_bytes(vtep)).hex(":")


def ipv6_next_hop(vtep: str) -> str:
    """Return the link-local address that stands for a VTEP in IPv6 routes, e.g. fe80::c000:20b. Raises CompileError."""
    return format_ip(6, 0xFE80 << 112 | int.from_bytes(_four_bytes(vtep), "big"))


def _four_bytes(vtep: str) -> bytes:
    raw = packed(vtep)
    if len(raw) != 4:
        raise CompileError(f"underlay address {vtep}: an IPv6 underlay is not supported; give the host an IPv4 underlay address")
    return raw


def link_local(mac: str) -> str:
    """Return the link-local address that an IPv6 host makes of its MAC. Source: RFC 2464 sections 4, 5."""
    raw = bytes.fromhex(mac.replace(":", ""))
    interface_id = bytes((raw[0] ^ 2, *raw[1:3], 0xFF, 0xFE, *raw[3:]))
    return format_ip(6, 0xFE80 << 112 | int.from_bytes(interface_id, "big"))
