"""Direct Connect: the virtual interfaces of a virtual private gateway on this edge's ports.

    overlay: vrf5000   d-001388abcdef0  169.254.50.1/30      tagged packets of one VLAN, and BGP with the customer's router
    outside            the port, without an address; a device for a service tag around VLANs

A port is moved out of the underlay while a virtual interface uses it. Packets without a tag, or with another one, are dropped
(edges.direct_ports).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from edges.direct_ports import OF_PORTS, interface_filters, port_objects, service_tag_objects
from edges.private import announced, end_objects, private_gateway, table_of_gateway
from edges.skeleton import ANSWERED
from netorch.compiler.base import Carried, Gateway, HostPart, HostView, Part, ProblemPart, VpcPart, VpcView
from netorch.compiler.private import LocalVif
from netorch.model.eni import Role
from netorch.model.outside.direct_connect import BgpAuthentication, VirtualInterface
from netorch.model.outside.vpn import MAX_LEARNED, VirtualPrivateGateway
from netorch.model.routing.metrics import DX_BGP, DX_STATIC
from netorch.model.vpc import Vpc
from netorch.state.base import OVERLAY, KernelObject
from netorch.state.daemons.bgp import CustomerPeer, session_name
from netorch.state.l3 import Address, Route
from netorch.state.names import service_vlan_name, vlan_name
from netorch.state.nft import NftElement
from netorch.state.rooted import Vlan


def _interfaces(view: VpcView) -> Iterator[KernelObject]:
    """Yield the virtual interfaces on this host's ports."""
    gateway = private_gateway(view)
    if gateway is None:
        return
    for place, local in enumerate(view.of(LocalVif)):
        vif = local.vif
        if _other_use(view.host, vif):
            continue
        yield from _device(view, gateway, vif)
        for prefix in local.static_prefixes:
            table, ifname, metric = table_of_gateway(view.vni), vlan_name(view.vni, vif.id), DX_STATIC + place
            yield Route(vni=view.vni, table=table, dst=prefix, via=vif.peer, ifname=ifname, metric=metric)
        if vif.asn and not _problem(view.host, local):
            yield from _peer(view, local)


def _device(view: VpcView, gateway: Gateway, vif: VirtualInterface) -> Iterator[KernelObject]:
    vni, ifname = view.vni, vlan_name(view.vni, vif.id)
    lower = service_vlan_name(vif.device, vif.outer_vlan) if vif.outer_vlan else vif.device
    yield Vlan(vni=vni, ifname=ifname, lower=lower, vlan=vif.vlan, mtu=vif.mtu, vrf=view.vrf)
    yield from interface_filters(vni, ifname)
    yield Address(vni=vni, ifname=ifname, address=vif.address)
    yield NftElement(netns=OVERLAY, family="arp", set=ANSWERED, items=(ifname, vif.peer), vni=vni)
    yield from end_objects(view, gateway, ifname, vif.peer, speaks_bgp=bool(vif.asn))


def _peer(view: VpcView, local: LocalVif) -> Iterator[KernelObject]:
    vif, own = local.vif, announced(view)
    for gateway in view.of(VirtualPrivateGateway):
        yield CustomerPeer(
            vni=view.vni,
            name=session_name(vif.id),
            ifname=vlan_name(view.vni, vif.id),
            vrf=view.vrf,
            table=table_of_gateway(view.vni),
            metric=DX_BGP,
            local=vif.address.partition("/")[0],
            local_asn=gateway.asn,
            remote=vif.peer,
            remote_asn=vif.asn,
            announces=own if local.invites else (),
            refuses=own,
            limit=MAX_LEARNED,
            bfd=vif.bfd,
            secret=local.secret,
        )


def _ports(view: HostView, carried: Carried) -> Iterator[KernelObject]:
    """Yield the ports that virtual interfaces use, and the devices of service tags on them."""
    known = (local.vif for vpc in carried.values() for local in vpc.of(LocalVif))
    vifs = [vif for vif in known if not _other_use(view, vif)]
    for device in sorted({vif.device for vif in vifs}):
        yield from port_objects(device)
    for device, tag in sorted({(vif.device, vif.outer_vlan) for vif in vifs if vif.outer_vlan}):
        yield from service_tag_objects(device, tag)


def _other_use(view: HostView, vif: VirtualInterface) -> str:
    """Return the other, indispensable use of a virtual interface's device on the edge; empty if none.

    A record that names the uplink contradicts the host's. Control does not know the underlay's device.
    """
    if view.host.uplink is not None and view.host.uplink.device == vif.device:
        return "uplink"
    return "underlay" if vif.device == view.underlay_ifname else ""


def _left_out(view: VpcView) -> str:
    """Return which virtual interfaces are missing, or lack their BGP session; empty if none."""
    found = [(local.vif.name, _problem(view.host, local)) for local in view.of(LocalVif)]
    problems = [f"{name}: {problem}" for name, problem in found if problem]
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"virtual interface {problems[0]}{more}" if problems else ""


def _problem(view: HostView, local: LocalVif) -> str:
    """Return why a virtual interface, or its required BGP session, cannot be configured; empty if it can."""
    if use := _other_use(view, local.vif):
        return f"{local.vif.device} is this edge's {use}, which other gateways need; netorch dx vif delete"
    if local.vif.asn and local.vif.authentication is BgpAuthentication.MD5 and not local.secret:
        return "this edge has no BGP key for it; netorch dx vif modify --key-file"
    return ""


class DirectConnect:
    """Yields the virtual interfaces of a VPC on the edges with their ports."""

    name: Final = "direct_connect"
    reads: Final[frozenset[type]] = frozenset({VirtualInterface})
    parts: Final[tuple[Part, ...]] = (
        HostPart(id="direct_connect.ports", compile=_ports, inputs=frozenset({LocalVif}), yields=OF_PORTS, role=Role.EDGE),
        VpcPart(
            id="direct_connect.interfaces",
            compile=_interfaces,
            inputs=frozenset({HostView, Vpc, Gateway, VirtualPrivateGateway, LocalVif}),
            role=Role.EDGE,
        ),
        ProblemPart(id="direct_connect.left_out", problem=_left_out, inputs=frozenset({HostView, LocalVif}), role=Role.EDGE),
    )
