"""Services for instances on hypervisors: their addresses, and the listeners.

The addresses are local routes of each VRF, not addresses of the device: the device's addresses are the router's, and Linux uses
one of them as the source of ICMP errors. Linux flushes such routes with a device's last address. So they exist only where the
VPC has an interface on this host: then it also has a subnet, whose router address is on the device.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from netorch.compiler.base import HostView, LocalEni, LocalTable, Part, VpcPart, VpcView
from netorch.model.eni import Role
from netorch.model.services.near import near_addresses, resolvers
from netorch.model.vpc import Vpc
from netorch.state.base import KernelObject
from netorch.state.daemons.services.names import NameListener, NameView
from netorch.state.l3 import IPV6_METRIC, LOCAL, Route
from netorch.state.names import vrf_name, vrf_table


def _addresses(view: VpcView) -> Iterator[KernelObject]:
    """Yield the routes of each VRF to the service addresses."""
    addresses = near_addresses(view.vpc)
    for table in view.of(LocalTable) if view.local else ():
        ifname, number = vrf_name(view.vni, table.number), vrf_table(view.vni, table.number)
        for address in addresses:
            length, metric = (128, IPV6_METRIC) if ":" in address else (32, 0)
            yield Route(vni=view.vni, table=number, dst=f"{address}/{length}", type=LOCAL, ifname=ifname, metric=metric)


def _names(view: VpcView) -> Iterator[KernelObject]:
    """Yield the names of the VPC's addresses, and the DNS listener in each VRF."""
    addresses = tuple(sorted(resolvers(view.vpc))) if view.local else ()
    if addresses:
        yield NameView(vni=view.vni, ranges=(*view.vpc.cidrs, *view.vpc.ipv6_cidrs))
    for table in view.of(LocalTable) if addresses else ():
        yield NameListener(vni=view.vni, ifname=vrf_name(view.vni, table.number), addresses=addresses)


class ServicesCompiler:
    """Yields the objects that serve instances on hypervisors."""

    name: Final = "services"
    reads: Final[frozenset[type]] = frozenset({Vpc})
    parts: Final[tuple[Part, ...]] = (
        VpcPart(
            id="services.addresses",
            compile=_addresses,
            inputs=frozenset({HostView, Vpc, LocalEni, LocalTable}),
            role=Role.HYPERVISOR,
        ),
        VpcPart(
            id="services.names", compile=_names, inputs=frozenset({HostView, Vpc, LocalEni, LocalTable}), role=Role.HYPERVISOR
        ),
    )
