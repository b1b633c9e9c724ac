"""The VRFs of a VPC, one for each route table in use.

Each VRF has a routing table with the route table's routes (netorch.compiler.routes), the VPC's mappings and ports, and a last
route, so that no packet falls through to another table. On a hypervisor it also has the router's addresses.

The first VRF, vrf<vni>, belongs to the route table created with the VPC: the main table, unless another replaced it. It also
holds the VXLAN device: packets that another host's route table has sent to this host find their ports through it. A table that
routes addresses of the VPC elsewhere cannot serve these packets. Such a table has its own VRF, like other tables, and the first
VRF keeps only the local routes. The same holds where another table is the main one, and where the VPC has no interface: on
hosts of peers, and on edges, where packets from outside must reach only the VPC's addresses.

No route applies to packets that stay in a subnet. A subnet whose own range its table routes elsewhere has a VRF apart, with the
routes of that table and the addresses of its own range (netorch.compiler.tables).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from netorch.compiler.base import Carried, HostPart, HostView, LocalTable, Part, VpcPart, VpcView
from netorch.compiler.inlets import INLETS, MISSING_INLETS
from netorch.compiler.routes import ROUTES, SEATS
from netorch.model.addr import format_ip, parse_prefix
from netorch.model.eni import Role
from netorch.model.mapping import GatewayMapping
from netorch.model.security import PrefixList
from netorch.model.vpc import RouteTable, Subnet, Vpc
from netorch.state.base import KernelObject
from netorch.state.l3 import UNREACHABLE, UNREACHABLE_METRIC, VRF_PRIORITY, Address, Route, Rule
from netorch.state.link import LOOPBACK, AdminUp, Settings, Vrf, vrf_of
from netorch.state.names import vrf_name
from netorch.state.sysctls import VRF_V6, device_sysctls, namespace_sysctls

LOCAL_TABLE: Final = 255  # RT_TABLE_LOCAL
# Behind the VRFs' own rule (1000), before the main table's (32766): no VPC's packet ever reaches the host's own addresses.
LOCAL_PRIORITY: Final = 32765


def _host(_view: HostView, _carried: Carried) -> Iterator[KernelObject]:
    """Yield the rules of the VRFs' tables and of the local table, and the namespace's sysctls."""
    for version in (4, 6):
        yield Rule(version=version, priority=VRF_PRIORITY)
        yield Rule(version=version, priority=LOCAL_PRIORITY, table=LOCAL_TABLE)
    yield AdminUp(ifname=LOOPBACK)
    yield from namespace_sysctls()


def _vrfs(view: VpcView) -> Iterator[KernelObject]:
    for table in view.of(LocalTable):
        yield from _vrf(view, vrf_of(view.vni, table.number))


def _vrf(view: VpcView, vrf: Vrf) -> Iterator[KernelObject]:
    """Yield a VRF and its last routes."""
    yield vrf
    yield Settings(vni=view.vni, ifname=vrf.ifname)
    yield AdminUp(vni=view.vni, ifname=vrf.ifname)
    yield Route(vni=view.vni, table=vrf.table, dst="0.0.0.0/0", type=UNREACHABLE, metric=UNREACHABLE_METRIC)
    if view.dual_stack:
        yield from device_sysctls(VRF_V6, vrf.ifname, view.vni)
        yield Route(vni=view.vni, table=vrf.table, dst="::/0", type=UNREACHABLE, metric=UNREACHABLE_METRIC)


def _routers(view: VpcView) -> Iterator[KernelObject]:
    """Yield the router's address in every subnet for each VRF, whether the subnet is used on this host or not."""
    for table in view.of(LocalTable):
        vrf = vrf_name(view.vni, table.number)
        for subnet in view.of(Subnet):
            yield Address(vni=view.vni, ifname=vrf, address=f"{router_address(subnet.cidr)}/32")
            if view.dual_stack and subnet.ipv6_cidr:
                yield Address(vni=view.vni, ifname=vrf, address=f"{router_address(subnet.ipv6_cidr)}/128")


class VrfCompiler:
    """Yields a VRF for each route table in use, with the table's routes, and the overlay namespace's objects for all VRFs."""

    name: Final = "vrf"
    reads: Final[frozenset[type]] = frozenset({Vpc, Subnet, RouteTable, PrefixList, GatewayMapping})
    parts: Final[tuple[Part, ...]] = (
        HostPart(id="vrf.host", compile=_host),
        VpcPart(id="vrf", compile=_vrfs, inputs=frozenset({Vpc, LocalTable})),
        # On an edge no router answers: packets from outside must reach only the VPC's interfaces.
        VpcPart(id="vrf.routers", compile=_routers, inputs=frozenset({HostView, Vpc, Subnet, LocalTable}), role=Role.HYPERVISOR),
        ROUTES,
        SEATS,
        INLETS,
        MISSING_INLETS,
    )


def router_address(cidr: str) -> str:
    """Return the router's address in a subnet, the one after the network's own, e.g. 10.44.12.1 for 10.44.12.0/24."""
    prefix = parse_prefix(cidr)
    return format_ip(prefix.version, prefix.network + 1)
