"""What serves instances on hypervisors: the addresses at which they ask, and who listens there.

The addresses are local routes of each VRF, not addresses of the device: those are the router's, which names itself by one of them
in ICMP errors. With a device's last address Linux flushes such routes, so they are where the VPC has an interface on this host:
then it has a subnet, too, whose router is at the device.
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
    """Yield the routes of each VRF to what is served here."""
    addresses = near_addresses(view.vpc)
    for table in view.of(LocalTable) if view.local else ():
        ifname, number = vrf_name(view.vni, table.number), vrf_table(view.vni, table.number)
        for address in addresses:
            length, metric = (128, IPV6_METRIC) if ":" in address else (32, 0)
            yield Route(vni=view.vni, table=number, dst=f"{address}/{length}", type=LOCAL, ifname=ifname, metric=metric)


def _names(view: VpcView) -> Iterator[KernelObject]:
    """Yield what names the VPC's addresses have, and who answers questions for names in each VRF."""
    addresses = tuple(sorted(resolvers(view.vpc))) if view.local else ()
    if addresses:
        yield NameView(vni=view.vni, ranges=(*view.vpc.cidrs, *view.vpc.ipv6_cidrs))
    for table in view.of(LocalTable) if addresses else ():
        yield NameListener(vni=view.vni, ifname=vrf_name(view.vni, table.number), addresses=addresses)


class ServicesCompiler:
    """Yields what serves instances on hypervisors."""

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
