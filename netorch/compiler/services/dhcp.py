"""DHCP leases for each port of a hypervisor: the interface's addresses, and the options of its VPC."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from netorch.compiler.base import Carried, HostPart, HostView, LocalEni, LocalTable, Part, Phase, VpcPart, VpcView
from netorch.compiler.vrf import router_address
from netorch.model.addr import parse_prefix
from netorch.model.eni import Instance, NetworkInterface, Role
from netorch.model.ids import port_name
from netorch.model.services.dhcp_options import PROVIDED_DNS, DhcpOptions
from netorch.model.services.near import near_addresses, resolvers
from netorch.model.services.private_names import address_label
from netorch.model.vpc import Subnet, Vpc
from netorch.state.base import KernelObject
from netorch.state.daemons.services.dhcp import DhcpEar, DhcpLease

_LINK_LOCAL: Final = "169.254."


def _ear(_view: HostView, carried: Carried) -> Iterator[KernelObject]:
    """Yield the receiver of DHCP requests, on a host with ports."""
    if any(view.local for view in carried.values()):
        yield DhcpEar()


def _leases(view: VpcView) -> Iterator[KernelObject]:
    """Yield the lease of each port on this host."""
    vpc = view.vpc
    options, near = _options(vpc), tuple(found for found in near_addresses(vpc) if found.startswith(_LINK_LOCAL))
    for item in view.local:
        if item.phase is not Phase.INCOMING:
            yield DhcpLease(
                vni=view.vni,
                ifname=port_name(item.eni.id),
                vrf=view.vrf_of(item.subnet),
                mac=item.eni.mac,
                address=item.eni.address,
                length=parse_prefix(item.subnet.cidr).length,
                router=router_address(item.subnet.cidr),
                mtu=view.mtu,
                hostname=address_label(item.eni.address),
                near=near,
                options=options,
            )


def _options(vpc: Vpc) -> DhcpOptions:
    """Return a VPC's options. PROVIDED_DNS becomes the address of the VPC's own resolver, or nothing if it has none."""
    if vpc.dhcp.domain_name_servers != (PROVIDED_DNS,):
        return vpc.dhcp
    return msgspec.structs.replace(vpc.dhcp, domain_name_servers=resolvers(vpc)[:1])


class DhcpCompiler:
    """Yields the objects that answer DHCP on hypervisors."""

    name: Final = "dhcp"
    reads: Final[frozenset[type]] = frozenset({Vpc, Subnet, NetworkInterface, Instance})
    parts: Final[tuple[Part, ...]] = (
        HostPart(id="dhcp.host", compile=_ear, inputs=frozenset({LocalEni}), yields=frozenset({DhcpEar}), role=Role.HYPERVISOR),
        VpcPart(id="dhcp", compile=_leases, inputs=frozenset({HostView, Vpc, LocalEni, LocalTable}), role=Role.HYPERVISOR),
    )
