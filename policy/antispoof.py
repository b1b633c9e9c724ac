"""Anti-spoofing: a port sends from its interface's own MAC, and from its own addresses unless source/destination check is off.

Even then it sends to peers only from its own addresses.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from netorch.compiler.base import Carried, HostPart, HostView, LocalEni, LocalTable, Part, Phase, VpcPart, VpcView, link_local
from netorch.model.eni import NetworkInterface, Role
from netorch.model.ids import port_name
from netorch.model.services.near import near_addresses
from netorch.model.vpc import Vpc
from netorch.state.base import KernelObject
from netorch.state.names import vrf_name
from netorch.state.nft import PortChain
from policy import nftgen, skeleton

UNSPECIFIED: Final = "::"  # the source of duplicate address detection; the kernel forwards neither it nor a link-local address


def _tables(_view: HostView, _carried: Carried) -> Iterator[KernelObject]:
    """Yield the tables, which drop packets of ports without a chain."""
    return iter(skeleton.overlay_tables())


def _chains(view: VpcView) -> Iterator[KernelObject]:
    """Yield a chain for every port on this host; an incoming interface has no port yet."""
    for item in view.local:
        if item.phase is not Phase.INCOMING:
            yield _chain(view, item)


def _served(view: VpcView) -> Iterator[KernelObject]:
    """Yield the local service addresses that each port may query."""
    addresses = near_addresses(view.vpc)
    for item in view.local:
        if item.phase is not Phase.INCOMING:
            for address in addresses:
                yield nftgen.served(port_name(item.eni.id), address, view.vni)


def _own_vxlan(view: VpcView) -> Iterator[KernelObject]:
    """Yield the VPC's own VXLAN device, for each of its VRFs: the VRFs' tables also use peers' devices."""
    for table in view.of(LocalTable):
        yield nftgen.own_vxlan(vrf_name(view.vni, table.number), view.vxlan, view.vni)


def _chain(view: VpcView, item: LocalEni) -> PortChain:
    eni = item.eni
    has_ipv6 = view.dual_stack and eni.ipv6_address
    addresses = (eni.ipv6_address, link_local(eni.mac), UNSPECIFIED) if has_ipv6 else ()
    chain = nftgen.port_chain if eni.source_dest_check else nftgen.forwarder_chain
    return chain(view.vni, port_name(eni.id), eni.mac, eni.address, addresses)


class AntiSpoof:
    """Yields the overlay's tables, and the chain of every port."""

    name: Final = "antispoof"
    reads: Final[frozenset[type]] = frozenset({NetworkInterface})
    parts: Final[tuple[Part, ...]] = (
        HostPart(id="antispoof.host", compile=_tables, role=Role.HYPERVISOR),
        VpcPart(id="antispoof", compile=_chains, inputs=frozenset({HostView, Vpc, LocalEni}), role=Role.HYPERVISOR),
        VpcPart(id="antispoof.served", compile=_served, inputs=frozenset({HostView, Vpc, LocalEni}), role=Role.HYPERVISOR),
        VpcPart(id="antispoof.vxlan", compile=_own_vxlan, inputs=frozenset({HostView, LocalTable}), role=Role.HYPERVISOR),
    )
