"""The compiler interface: the views that compilers get, and the parts that they consist of.

A compiler is a name, the stored types that it answers for, and its *parts*. A part is a function with an id and the inputs that
it depends on. The part is compiled again when one of its inputs has another value, and only then:

  HostPart         once for the host; may read all VPCs that the host carries
  VpcPart          once for each VPC
  MappingPart      once for each mapping of a VPC, so that a changed mapping costs O(1)
  PeerMappingPart  once for each mapping of each active peer of a VPC, with the same cost
  ProblemPart      once for each VPC; yields no objects, but reports what other parts left out

A part with a `role` yields nothing on hosts of other roles. It needs HostView among its inputs. A slice (all objects of one VPC
on one host) is the union of its parts' objects. Parts that want different objects with one key are an error that names both.

An *input* is a type, and `view.of(type)` are its values: a kind of record, or what the agent derives from records (the classes
from LocalEni to RoutesFromPeer). A part sees only its own inputs, so it cannot depend on an input that it does not name.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from collections.abc import Mapping as Dictionary
from enum import Enum
from typing import Any, Protocol, TypeVar

import msgspec

from netorch.errors import CompileError
from netorch.model.addr import Prefix, format_ip, mac_bytes, packed, parse_ip
from netorch.model.endpoints.endpoint import BucketPolicy, GatewayService
from netorch.model.eni import Host, Instance, NetworkInterface, Role
from netorch.model.mapping import Mapping, Seat
from netorch.model.outside.public import AddressPool
from netorch.model.routing.effective import Effective
from netorch.model.routing.seats import gateway_kind
from netorch.model.routing.target import TargetKind
from netorch.model.vpc import Subnet, Vpc
from netorch.state.base import HOST_SLICE, KernelObject
from netorch.state.names import cable_end_name, vrf_name, vrf_table, vxlan_name

VXLAN_OVERHEAD = 50  # RFC 7348 section 5: 20 outer IPv4 + 8 UDP + 8 VXLAN + 14 inner Ethernet
# Lower limits of the inner MTU. On a smaller underlay the VXLAN packet is fragmented: the outer header permits that.
IPV4_MIN_MTU = 576  # RFC 791 section 3.1; Linux does not accept less than 552 (ip_rt_min_pmtu)
IPV6_MIN_MTU = 1280  # RFC 8200 section 5; a device with less has no IPv6
PORT_MAC = "02:4e:54:ff:ff:01"  # the host's side of every port on every host: a moved instance keeps its ARP cache
IPV6_GATEWAY = "fe80::1"

T = TypeVar("T")


class HostView(msgspec.Struct, frozen=True, kw_only=True):
    """The host as compilers see it, independent of any VPC."""

    host: Host
    underlay_ifname: str
    underlay_mtu: int  # bytes
    pools: tuple[AddressPool, ...] = ()  # of the host's pair, sorted by name
    services: tuple[GatewayService, ...] = ()  # that gateway endpoints lead to, sorted by name
    buckets: tuple[BucketPolicy, ...] = ()  # sorted by name; empty for parts for VPCs
    drained: bool = False  # hosts should not send to this edge; it still forwards packets that arrive
    ready: bool = False  # whether the host, an edge, is fit to carry packets; always False for parts for VPCs
    announces: bool = False  # whether the edge announces its addresses to the border router; for VPCs always False
    active: bool = False  # whether the seats of stateful gateways here are to be used; always False for parts for VPCs

    @property
    def vtep(self) -> str:
        """Return this host's underlay address."""
        return self.host.underlay


class Phase(Enum):
    """The phase of an interface on this host."""

    ACTIVE = "active"  # its port is on this host
    INCOMING = "incoming"  # everything but its port is on this host
    OUTGOING = "outgoing"  # its port is on this host until the other host takes the interface


class LocalEni(msgspec.Struct, frozen=True, kw_only=True):
    """An interface that this host carries, with its subnet and instance."""

    eni: NetworkInterface
    subnet: Subnet
    instance: Instance
    phase: Phase = Phase.ACTIVE


class LocalTable(msgspec.Struct, frozen=True, kw_only=True):
    """A route table in use on this host, with a VRF: the main table, and those of local interfaces' subnets.

    It holds only the routes that decide how the VPC's own addresses are reached; `TableRoutes` holds all. A table without an id
    is the VPC's first VRF, where that is not the main table's: it serves packets from elsewhere and has only the local routes.
    A subnet whose own range the table routes elsewhere has a VRF apart. So has a gateway endpoint on an edge, for its answers.
    """

    id: str
    number: int  # of the VRF
    is_main: bool = False
    overrides: tuple[Prefix, ...] = ()  # inside the VPC's ranges, but routed elsewhere than to the interfaces
    subnet: str = ""  # the subnet with this VRF apart, if any
    own: tuple[Prefix, ...] = ()  # the ranges of that subnet

    def leads_to(self, address: str) -> bool:
        """Return whether the table reaches an address of the VPC as an interface's address."""
        if not self.overrides:
            return True
        version, value = parse_ip(address)
        elsewhere, own = (any(prefix.holds(version, value) for prefix in found) for found in (self.overrides, self.own))
        return own or not elsewhere


class TableRoutes(msgspec.Struct, frozen=True, kw_only=True):
    """The routes in force in a route table in use on this host. A route to a target that takes no packets is a black hole."""

    number: int  # of the VRF
    routes: tuple[Effective, ...]


class Inlet(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers that this host has chosen for a local interface that is a route target."""

    number: int  # of the VRF in which packets arrive
    zone: int  # the conntrack zone of the inlet, 1 to 65535


class Middlebox(msgspec.Struct, frozen=True, kw_only=True):
    """An interface that is the target of a route of the VPC, or has no source/destination check."""

    eni: NetworkInterface
    mapping: Mapping | None = None  # of its IPv4 address; None: it is on no host
    underlay_mtu: int | None = None  # of its host, in bytes; None: not published
    inlet: Inlet | None = None  # set if a route targets the interface and its port is on this host
    no_inlet: str = ""  # why there is none: routes to the interface are black holes on this host


class Gateway(msgspec.Struct, frozen=True, kw_only=True):
    """A gateway of the VPC that edges carry, with the edge that this host sends to."""

    id: str
    seats: tuple[Seat, ...]  # at least one
    seat: Seat  # the seat that this host sends to
    underlay_mtu: int | None = None  # of the seat's host, in bytes; None: not published
    # For a virtual private gateway: the next hop for each seat, chosen by the route. Empty for other gateways.
    ways: tuple[Seat, ...] = ()

    @property
    def kind(self) -> TargetKind:
        """Return the gateway's kind of route target."""
        return gateway_kind(self.id)

    def is_at(self, host: str) -> bool:
        """Return whether the gateway has a seat on a host."""
        return any(seat.host == host for seat in self.seats)


class Identity(msgspec.Struct, frozen=True, order=True):
    """A set of security groups that some mapping of the VPC has. A rule that refers to a group matches identities with it."""

    groups: tuple[str, ...]


class PeerIdentity(Identity, frozen=True, order=True):
    """A set of security groups that some mapping of an active peer has: rules may refer to a peer's groups."""


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """An active peer of the VPC."""

    vni: int
    ranges: tuple[Prefix, ...]

    def holds(self, address: str) -> bool:
        """Return whether an address is in the peer's ranges; the ranges of two peers may overlap."""
        version, value = parse_ip(address)
        return any(prefix.holds(version, value) for prefix in self.ranges)


class LocalPeer(msgspec.Struct, frozen=True, kw_only=True):
    """An active peer that has interfaces on this host, as the VPC itself has."""

    vni: int
    connection: str  # pcx-...

    def ends(self, vni: int) -> tuple[str, str]:
        """Return the names of the ends of the cable between a VPC and this peer: in the VPC, and in the peer."""
        near, far = ("p", "q") if vni < self.vni else ("q", "p")
        return cable_end_name(near, vni, self.connection), cable_end_name(far, self.vni, self.connection)


class PeerRoutes(msgspec.Struct, frozen=True, kw_only=True):
    """The routes of a table in use on this host to one peer of the table's VPC."""

    vni: int  # of the table's VPC
    number: int  # of the table's VRF
    peer: int  # the peer's VNI
    inside: tuple[Prefix, ...]  # prefixes routed to the peer
    outside: tuple[Prefix, ...] = ()  # longer prefixes inside them, routed elsewhere

    def leads_to(self, address: str) -> bool:
        """Return whether the table leads to an address of the peer."""
        version, value = parse_ip(address)
        inside, outside = ([each.length for each in of if each.holds(version, value)] for of in (self.inside, self.outside))
        return max(inside, default=-1) > max(outside, default=-1)


class RoutesToPeer(PeerRoutes, frozen=True, kw_only=True):
    """Routes of the VPC's own table to a peer."""


class RoutesFromPeer(PeerRoutes, frozen=True, kw_only=True):
    """Routes of a peer's table to this VPC."""


class VpcView(msgspec.Struct, frozen=True, kw_only=True):
    """One VPC as this host, or one part of a compiler, sees it.

    `active`, `mtus` and `named` are looked up by address or host and are no inputs: a change compiles the affected mappings.
    """

    vni: int
    inputs: Dictionary[type, tuple[Any, ...]]  # the values of each input; records are sorted by id
    zone: int = 1  # the VPC's conntrack zone on this host, 1 to 65535; constant while the VPC is on the host
    active: frozenset[str] = frozenset()  # addresses with a local port (ACTIVE, OUTGOING): its route wins over the mapping's
    mtus: Dictionary[str, int] = {}  # host -> its underlay's MTU, if published; a live view
    named: Dictionary[str, str] = {}  # address -> the instance named after it; a live view
    failed: frozenset[str] = frozenset()  # the VPC's parts that could not be compiled: their last results stay in force

    def of(self, kind: type[T]) -> tuple[T, ...]:
        """Return the values of an input. Raises CompileError when the part does not name it."""
        try:
            return self.inputs[kind]
        except KeyError:
            raise CompileError(f"{kind.__name__} is not one of the part's inputs; name it there") from None

    def only(self, inputs: Iterable[type]) -> VpcView:
        """Return the same VPC with only these inputs."""
        return msgspec.structs.replace(self, inputs={kind: self.inputs[kind] for kind in inputs})

    @property
    def host(self) -> HostView:
        """Return the host."""
        return self.of(HostView)[0]

    @property
    def vpc(self) -> Vpc:
        """Return the VPC's own record."""
        return self.of(Vpc)[0]

    @property
    def local(self) -> tuple[LocalEni, ...]:
        """Return the interfaces that this host carries."""
        return self.of(LocalEni)

    @property
    def vrf(self) -> str:
        """Return the name of the VPC's first VRF, which holds the VXLAN device."""
        return vrf_name(self.vni)

    def vrf_of(self, subnet: Subnet) -> str:
        """Return the name of the VRF with a subnet's ports: that of its route table, or its own."""
        apart = [table for table in self.of(LocalTable) if table.subnet == subnet.id]
        shared = [table for table in self.of(LocalTable) if not table.subnet]
        named = [table for table in shared if table.id and table.id == subnet.route_table]
        return vrf_name(self.vni, (apart or named or [table for table in shared if table.is_main])[0].number)

    def tables_to(self, address: str) -> Iterator[int]:
        """Yield the routing tables with a route to an address of the VPC: one per VRF whose route table leads there."""
        return (vrf_table(self.vni, table.number) for table in self.of(LocalTable) if table.leads_to(address))

    def peers_tables_to(self, address: str) -> Iterator[int]:
        """Yield the routing tables of peers with a route to an address of the VPC."""
        return (vrf_table(routes.vni, routes.number) for routes in self.of(RoutesFromPeer) if routes.leads_to(address))

    @property
    def vxlan(self) -> str:
        """Return the VXLAN device's name."""
        return vxlan_name(self.vni)

    @property
    def dual_stack(self) -> bool:
        """Return whether IPv6 is enabled; device creation is quadratic with it, so only if needed."""
        return bool(self.vpc.ipv6_cidrs)

    @property
    def mtu(self) -> int:
        """Return the largest inner IP packet that this host sends and accepts, in bytes."""
        return inner_mtu(self.host.underlay_mtu, self.dual_stack)

    def mtu_to(self, host: str) -> int:
        """Return the largest inner IP packet for another host; 0 if not smaller than this host's, or not published."""
        return self.mtu_over(self.mtus.get(host))

    def mtu_over(self, underlay_mtu: int | None) -> int:
        """Return the same for an underlay's MTU in bytes; None: not published."""
        limit = inner_mtu(underlay_mtu, self.dual_stack) if underlay_mtu is not None else self.mtu
        return limit if limit < self.mtu else 0


Carried = Dictionary[int, VpcView]  # the VPCs that a host carries


class HostPart(msgspec.Struct, frozen=True, kw_only=True):
    """Yields objects that a host has once. `inputs` are of the carried VPCs; the host's own view is always an input."""

    id: str
    compile: Callable[[HostView, Carried], Iterable[KernelObject]]
    inputs: frozenset[type] = frozenset()
    yields: frozenset[type] = frozenset()  # with inputs: the classes of its objects, kept until all carried VPCs have compiled
    role: Role | None = None
    slice: int = HOST_SLICE  # or BORDER_SLICE


class VpcPart(msgspec.Struct, frozen=True, kw_only=True):
    """Yields objects of one VPC. If `compile` fails, those of `otherwise`; if both fail, none. Without it the last stay."""

    id: str
    compile: Callable[[VpcView], Iterable[KernelObject]]
    inputs: frozenset[type]
    role: Role | None = None
    otherwise: Callable[[VpcView], Iterable[KernelObject]] | None = None


class MappingPart(msgspec.Struct, frozen=True, kw_only=True):
    """Yields the objects of one mapping. A changed input compiles all mappings again: name as few as possible."""

    id: str
    compile: Callable[[VpcView, Mapping], Iterable[KernelObject]]
    inputs: frozenset[type] = frozenset()
    role: Role | None = None


class PeerMappingPart(msgspec.Struct, frozen=True, kw_only=True):
    """Yields a VPC's objects for one mapping of an active peer; the mapping's VNI is the peer's."""

    id: str
    compile: Callable[[VpcView, Mapping], Iterable[KernelObject]]
    inputs: frozenset[type] = frozenset()
    role: Role | None = None


class ProblemPart(msgspec.Struct, frozen=True, kw_only=True):
    """Reports what other parts had to leave out of a VPC on this host, or nothing."""

    id: str
    problem: Callable[[VpcView], str]
    inputs: frozenset[type]
    peers: Callable[[VpcView], Collection[int]] = lambda _: ()  # the VNIs of peers that were left out
    role: Role | None = None


Part = HostPart | VpcPart | MappingPart | PeerMappingPart | ProblemPart


class Compiler(Protocol):
    """Turns some types of the model into kernel objects. Stateless."""

    @property
    def name(self) -> str:
        """Return the compiler's name in errors."""
        ...

    @property
    def reads(self) -> frozenset[type]:
        """Return the stored types that it answers for: a type that no compiler names is an error, never left out silently."""
        ...

    @property
    def parts(self) -> tuple[Part, ...]:
        """Return the compiler's parts. Their ids begin with the compiler's name."""
        ...


def inner_mtu(underlay_mtu: int, dual_stack: bool) -> int:
    """Return the inner MTU of a VPC for an underlay's MTU, both in bytes."""
    return max(underlay_mtu - VXLAN_OVERHEAD, IPV6_MIN_MTU if dual_stack else IPV4_MIN_MTU)


def router_mac(vtep: str) -> str:
    """Return a host's router MAC: 02:4e and the four bytes of its VTEP, so the MAC identifies the host. Raises CompileError."""
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
    """Return the link-local address that an IPv6 host derives from its MAC. Source: RFC 2464 sections 4, 5."""
    raw = mac_bytes(mac)
    return format_ip(6, 0xFE80 << 112 | int.from_bytes(bytes((raw[0] ^ 2, *raw[1:3], 0xFF, 0xFE, *raw[3:])), "big"))
