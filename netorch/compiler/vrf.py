"""The VRF of a VPC: its routing table, its router's addresses, a last route that lets nothing fall through to another table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from netorch.compiler.base import Carried, HostPart, HostView, Part, VpcPart, VpcView
from netorch.model.addr import format_ip, parse_prefix
from netorch.model.vpc import RouteTable, Subnet, Vpc
from netorch.state.base import KernelObject
from netorch.state.l3 import UNREACHABLE, UNREACHABLE_METRIC, VRF_PRIORITY, Address, Route, Rule
from netorch.state.link import LOOPBACK, AdminUp, Settings, vrf_of
from netorch.state.sysctls import VRF_V6, device_sysctls, host_sysctls

LOCAL_TABLE: Final = 255  # RT_TABLE_LOCAL
# Behind the VRFs' own rule (1000), in front of the main table's (32766): no VPC's packet ever meets an address of the host's own.
LOCAL_PRIORITY: Final = 32765


def _host(_view: HostView, _carried: Carried) -> Iterator[KernelObject]:
    """Yield the rules of the VRFs' tables and of the local one, and the namespace's sysctls."""
    for version in (4, 6):
        yield Rule(version=version, priority=VRF_PRIORITY)
        yield Rule(version=version, priority=LOCAL_PRIORITY, table=LOCAL_TABLE)
    yield AdminUp(ifname=LOOPBACK)
    yield from host_sysctls()


def _vrf(view: VpcView) -> Iterator[KernelObject]:
    """Yield the VRF, its last routes, and the router's address in every subnet, whether the subnet is used here or not."""
    vrf = view.vrf
    yield vrf_of(view.vni)
    yield Settings(vni=view.vni, ifname=vrf)
    yield AdminUp(vni=view.vni, ifname=vrf)
    yield Route(vni=view.vni, table=view.vni, dst="0.0.0.0/0", type=UNREACHABLE, metric=UNREACHABLE_METRIC)
    if view.dual_stack:
        yield from device_sysctls(VRF_V6, vrf, view.vni)
        yield Route(vni=view.vni, table=view.vni, dst="::/0", type=UNREACHABLE, metric=UNREACHABLE_METRIC)
    for subnet in view.of(Subnet):
        yield Address(vni=view.vni, ifname=vrf, address=f"{router_address(subnet.cidr)}/32")
        if view.dual_stack and subnet.ipv6_cidr:
            yield Address(vni=view.vni, ifname=vrf, address=f"{router_address(subnet.ipv6_cidr)}/128")


class VrfCompiler:
    """Yields the VRF of each VPC, and what the overlay namespace needs for any.

    A route table with nothing but local routes asks for nothing: the mappings' routes are they.
    """

    name: Final = "vrf"
    reads: Final[frozenset[type]] = frozenset({Vpc, Subnet, RouteTable})
    parts: Final[tuple[Part, ...]] = (
        HostPart(id="vrf.host", compile=_host),
        VpcPart(id="vrf", compile=_vrf, inputs=frozenset({Vpc, Subnet})),
    )


def router_address(cidr: str) -> str:
    """Return the router's address in a subnet, the one after the network's own, e.g. 10.44.12.1 for 10.44.12.0/24."""
    prefix = parse_prefix(cidr)
    return format_ip(prefix.version, prefix.network + 1)
