"""NAT gateways, as every host that carries their VPC sees them.

A NAT gateway is a target like any other gateway: packets routed to it carry its MAC (netorch.compiler.routes). Each host has
routes to its private addresses at its edge, as to an interface's addresses. The gateway sends from these addresses to VPC
addresses that a route table leads to it. Their answers come by these routes, and so do internet answers at the pair's other
edge.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from netorch.compiler.base import Gateway, HostView, LocalTable, VpcPart, VpcView, router_mac
from netorch.model.eni import NetworkInterface
from netorch.model.vpc import Subnet, Vpc
from netorch.state.base import KernelObject
from netorch.state.l2 import Fdb
from netorch.state.l3 import Neighbour, Route


class Nat(msgspec.Struct, frozen=True, kw_only=True):
    """A NAT gateway of the VPC that edges carry."""

    gateway: Gateway
    eni: NetworkInterface
    subnet: Subnet
    draining: tuple[str, ...] = ()  # private addresses from which no new connection opens

    @property
    def id(self) -> str:
        """Return the gateway's id, which is the label of its namespace."""
        return self.gateway.id

    @property
    def addresses(self) -> tuple[str, ...]:
        """Return the private addresses from which it sends; the primary one first."""
        return self.eni.addresses

    @property
    def beginning(self) -> tuple[str, ...]:
        """Return the private addresses from which connections open. The primary one never drains."""
        return tuple(address for address in self.addresses if address not in self.draining)


def _ways(view: VpcView) -> Iterator[KernelObject]:
    """Yield the routes to the private addresses of each NAT gateway on another host."""
    for nat in view.of(Nat):
        yield from ways_to(view, nat.gateway, nat.addresses)


def ways_to(view: VpcView, gateway: Gateway, addresses: Iterable[str]) -> Iterator[KernelObject]:
    """Yield the routes to addresses at a gateway's seat, if the seat is on another host."""
    if gateway.seat.host == view.host.host.name:
        return
    vtep, mtu = gateway.seat.vtep, view.mtu_over(gateway.underlay_mtu)
    for address in addresses:
        for table in view.tables_to(address):
            yield Route(vni=view.vni, table=table, dst=f"{address}/32", via=vtep, ifname=view.vxlan, mtu=mtu)
    yield Neighbour(vni=view.vni, ifname=view.vxlan, dst=vtep, lladdr=router_mac(vtep))
    yield Fdb(vni=view.vni, ifname=view.vxlan, lladdr=router_mac(vtep), dst=vtep)


NAT_WAYS: Final = VpcPart(id="overlay.nat", compile=_ways, inputs=frozenset({HostView, Vpc, LocalTable, Nat}))
