"""An edge's objects for connections of interface endpoints: the namespace, the ports in both VPCs, and the relay."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from edges.cable import refused
from edges.interface_endpoint.table import endpoint_table
from edges.skeleton import passes
from edges.tracking import (
    ROUTER,
    Port,
    inside_objects,
    port_objects,
)
from netorch.compiler.base import HostView, Identity, LocalTable, MappingPart, Part, VpcPart, VpcView
from netorch.compiler.interface_endpoint import AILING, BACK, FRONT, Backend, EndpointEnd
from netorch.model.endpoints.endpoint_service import EndpointConnection, EndpointService
from netorch.model.eni import Role
from netorch.model.mapping import Mapping
from netorch.model.security import NetworkAcl, PrefixList, SecurityGroup
from netorch.model.vpc import Vpc
from netorch.state.base import KernelObject
from netorch.state.daemons.services.relay import RELAY_ADDRESS, RelayListener, RelayTargets
from netorch.state.l3 import MAIN_TABLE, Address, Route, Rule
from netorch.state.link import LOOPBACK, AdminUp
from netorch.state.netns import Namespace
from netorch.state.nft import NftElement
from netorch.state.sysctls import namespace_sysctls
from policy.identities import identity_map, identity_number

_BACK_TABLE: Final = 100  # routes for packets from FRONT
_BACK_PRIORITY: Final = 100
_BACK_METRIC: Final = 1


def _endpoints(view: VpcView) -> Iterator[KernelObject]:
    """Yield the connections with a seat on this host: the consumer's whole part, and the provider's ends."""
    backends = {back.connection: back for back in view.of(Backend)}
    for end in view.of(EndpointEnd):
        if not end.gateway.is_at(view.host.host.name):
            continue
        if end.inside == BACK:
            yield from _port(view, end)
        elif end.connection in backends:
            yield from _namespace(view, end, backends[end.connection])
            yield from _port(view, end)


def _namespace(view: VpcView, end: EndpointEnd, back: Backend) -> Iterator[KernelObject]:
    """Yield the connection's own namespace, a router with two interfaces and without addresses."""
    vni, netns = view.vni, end.connection
    yield Namespace(vni=vni, label=netns)
    yield from namespace_sysctls(netns)
    yield endpoint_table(view, end, back)
    yield AdminUp(netns=netns, vni=vni, ifname=LOOPBACK)
    for ifname, mac, port in ((FRONT, end.mac, end.port), (BACK, back.mac, back.port)):
        yield from inside_objects(view, netns, ifname, mac, port)
    # Packets from the front leave by the back. All others leave by the front, including the namespace's own resets.
    yield Rule(netns=netns, vni=vni, version=4, priority=_BACK_PRIORITY, table=_BACK_TABLE, iif=FRONT)
    # The namespace's own packets to targets leave by the back, because their sockets are bound to it; no other route does
    # that.
    for table, ifname, metric in ((_BACK_TABLE, BACK, 0), (MAIN_TABLE, FRONT, 0), (MAIN_TABLE, BACK, _BACK_METRIC)):
        yield Route(netns=netns, vni=vni, table=table, dst="0.0.0.0/0", via=ROUTER, ifname=ifname, metric=metric)
    yield Address(netns=netns, vni=vni, ifname=FRONT, address=f"{RELAY_ADDRESS}/32")
    for address, number in sorted(back.ailing):
        items = (address, hex(number))
        yield NftElement(netns=netns, family="inet", set=AILING, items=items, vni=vni)
    yield from _relay(view, back)


def _relay(view: VpcView, back: Backend) -> Iterator[KernelObject]:
    """Yield the relay of a connection's TCP ports; nothing if they are translated."""
    ports = [port for port in back.ports if back.relays(port)]
    if not ports or not back.targets:
        return
    targets = tuple((port.port, back.healthy(port)) for port in ports)
    vni, connection = view.vni, back.connection
    yield RelayTargets(vni=vni, connection=connection, endpoint=back.endpoint, ifname=BACK, targets=targets)
    yield RelayListener(vni=vni, connection=connection, ifname=FRONT, ports=tuple(port.port for port in ports))


def _port(view: VpcView, end: EndpointEnd) -> Iterator[KernelObject]:
    """Yield a port of a connection in the VRF of its subnet's route table, and the paths to it."""
    port = Port(end.port, end.connection, end.inside, end.mac, end.subnet, end.addresses, end.gateway)
    yield from port_objects(view, port)
    yield from refused(view, end.mac)
    yield passes(port.name, view.vxlan, view.vni)
    yield passes(view.vxlan, port.name, view.vni)


def _identity_of(view: VpcView, mapping: Mapping) -> Iterator[KernelObject]:
    """Yield an address's class for the groups of endpoints on this host, whose rules may refer to the address's groups."""
    if not mapping.groups or ":" in mapping.address:
        return
    number, name = hex(identity_number(mapping.groups)), identity_map(view.vni, 4)
    backends = {back.connection for back in view.of(Backend)}
    for end in view.of(EndpointEnd):
        if end.connection in backends and end.gateway.is_at(view.host.host.name):
            netns = end.connection
            yield NftElement(netns=netns, family="inet", set=name, items=(mapping.address,), vni=view.vni, value=number)


class InterfaceEndpoints:
    """Yields the connections between interface endpoints and services on the edges with their seats."""

    name: Final = "endpoints"
    reads: Final[frozenset[type]] = frozenset({EndpointConnection, EndpointService, SecurityGroup, NetworkAcl, PrefixList})
    parts: Final[tuple[Part, ...]] = (
        VpcPart(
            id="endpoints",
            compile=_endpoints,
            inputs=frozenset({HostView, Vpc, EndpointEnd, Backend, LocalTable, NetworkAcl, SecurityGroup, PrefixList, Identity}),
            role=Role.EDGE,
        ),
        MappingPart(
            id="endpoints.mapping", compile=_identity_of, inputs=frozenset({HostView, EndpointEnd, Backend}), role=Role.EDGE
        ),
    )
