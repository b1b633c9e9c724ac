"""Ports: where an instance is attached to its VPC.

The instance sees an ordinary subnet with a router at .1, but is alone on its link. The host's end answers every ARP request for
an address that has a route (proxy ARP, with the same MAC on every host), and every packet is routed. IPv6 needs no such trick:
the instance has a /128 and a default route to fe80::1.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from netorch.compiler.base import (
    IPV6_GATEWAY,
    PORT_MAC,
    HostView,
    LocalEni,
    LocalTable,
    Part,
    Phase,
    VpcPart,
    VpcView,
    link_local,
)
from netorch.compiler.vrf import router_address
from netorch.model.addr import parse_prefix
from netorch.model.eni import Attachment, Instance, NetworkInterface
from netorch.model.ids import port_name
from netorch.model.vpc import Vpc
from netorch.state.base import KernelObject, Key, link_key
from netorch.state.l3 import IPV6_METRIC, Address, Neighbour, Route
from netorch.state.link import AdminUp, Inside, Settings, TapPort, VethPort
from netorch.state.sysctls import PORT_V4, PORT_V6, device_sysctls

INSIDE_IFNAME: Final = "eth0"


def _ports(view: VpcView) -> Iterator[KernelObject]:
    """Yield the ports; an incoming interface has none until the other host has released it."""
    for item in view.local:
        if item.phase is not Phase.INCOMING:
            yield from _port(view, item)


def kept_keys(view: VpcView) -> frozenset[Key]:
    """Return the keys of the ports that another host is about to take: do not delete them, nor create them again once taken."""
    return frozenset(link_key(port_name(item.eni.id)) for item in view.local if item.phase is Phase.OUTGOING)


def _port(view: VpcView, item: LocalEni) -> Iterator[KernelObject]:
    eni = item.eni
    ifname = port_name(eni.id)
    yield _device(view, item, ifname)
    yield from device_sysctls(PORT_V4, ifname, view.vni)
    yield Settings(vni=view.vni, ifname=ifname)
    yield AdminUp(vni=view.vni, ifname=ifname)
    yield Neighbour(vni=view.vni, ifname=ifname, dst=eni.address, lladdr=eni.mac)
    for table in view.tables_to(eni.address):
        yield Route(vni=view.vni, table=table, dst=f"{eni.address}/32", ifname=ifname)
    if view.dual_stack and eni.ipv6_address:
        yield from device_sysctls(PORT_V6, ifname, view.vni)
        # Not /64: a scan of that subnet would fill the neighbour table, which all namespaces share.
        yield Address(vni=view.vni, ifname=ifname, address=f"{IPV6_GATEWAY}/128")
        for address in (link_local(eni.mac), eni.ipv6_address):
            yield Neighbour(vni=view.vni, ifname=ifname, dst=address, lladdr=eni.mac)
            for table in view.tables_to(address):
                yield Route(vni=view.vni, table=table, dst=f"{address}/128", ifname=ifname, metric=IPV6_METRIC)


def _device(view: VpcView, item: LocalEni, ifname: str) -> KernelObject:
    instance = item.instance
    mtu = view.mtu
    if instance.attachment is Attachment.TAP:
        return TapPort(vni=view.vni, ifname=ifname, lladdr=PORT_MAC, mtu=mtu, vrf=view.vrf_of(item.subnet))
    ours = instance.attachment is Attachment.NETNS
    return VethPort(
        vni=view.vni,
        ifname=ifname,
        lladdr=PORT_MAC,
        mtu=mtu,
        vrf=view.vrf_of(item.subnet),
        instance_netns=instance.id if ours else instance.netns,
        make_netns=ours,
        inside=_inside(item, view.dual_stack),
        instance=instance.id,
    )


def inside_name(eni: NetworkInterface, instance: Instance) -> str:
    """Return an interface's name in the instance: `eth0` for the primary one, `eni` and seven digits for the others."""
    return INSIDE_IFNAME if _is_primary(eni, instance) else f"eni{eni.id[-11:-4]}"


def _is_primary(eni: NetworkInterface, instance: Instance) -> bool:
    return eni.id[-17:] == instance.id[-17:]


def _inside(item: LocalEni, dual_stack: bool) -> Inside:
    """Return the inside of a port. The primary interface has the default routes; each interface answers what arrives by it."""
    eni, cidr = item.eni, item.subnet.cidr
    addresses = [f"{eni.address}/{parse_prefix(cidr).length}"]
    gateways = [router_address(cidr)]
    if dual_stack and eni.ipv6_address:
        addresses.append(f"{eni.ipv6_address}/128")
        gateways.append(IPV6_GATEWAY)
    return Inside(
        ifname=inside_name(eni, item.instance),
        lladdr=eni.mac,
        addresses=tuple(addresses),
        gateways=tuple(gateways),
        is_primary=_is_primary(eni, item.instance),
    )


class PortCompiler:
    """Yields the port of every interface on this host, and the routes to it."""

    name: Final = "ports"
    reads: Final[frozenset[type]] = frozenset({NetworkInterface, Instance})
    parts: Final[tuple[Part, ...]] = (
        VpcPart(id="ports", compile=_ports, inputs=frozenset({HostView, Vpc, LocalEni, LocalTable})),
    )
