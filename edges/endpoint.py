"""Gateway endpoints: access from a VPC to a service of the operator, such as S3, without an internet gateway.

The path of a packet from instance 10.0.1.5 to 198.19.0.7, in the VPC with VNI 5000. The endpoint has MAC G.

    hypervisor    198.19.0.0/24 via the endpoint's hop dev vx5000   the instance's route table; inner destination MAC G
    vx5000        ingress: dst_mac G: redirected to m-...           verified packets only
    vrf5000.234   local 198.19.0.0/24                               the host's program listening in this VRF
                  10.0.1.5/32 via 192.0.2.11 dev vx5000             its answers: the mappings, as in the VRF of a route table

So the listener knows the endpoint, and thereby the VPC, from the socket. Packets do not identify the VPC, but two VPCs with
the same addresses are distinguished. The VRF has no other traffic: it only routes to mapped addresses, no other VRF routes
into it, and packets that are not for TCP ports 80 and 443 of the service's prefixes are dropped there (edges.skeleton).

Both edges of a pair have all of this. Hosts are spread over them; a connection belongs to the edge where it began, and ends
with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from edges.cable import MEANT, NEAR_MAC, refused
from edges.skeleton import INLETS, OUTLETS
from netorch.compiler.base import Carried, Gateway, HostPart, HostView, Part, VpcPart, VpcView
from netorch.model.endpoints.endpoint import VpcEndpoint
from netorch.model.eni import Role
from netorch.model.routing.next_hop import gateway_mac
from netorch.model.routing.target import TargetKind
from netorch.model.security import PrefixList
from netorch.model.vpc import Vpc
from netorch.state.base import OUTSIDE, OVERLAY, KernelObject
from netorch.state.daemons.services.proxy import ProxyBucket, ProxyEndpoint, ProxyListener
from netorch.state.l3 import LOCAL, Route
from netorch.state.link import VXLAN_GROUP, AdminUp, CableEnd, Settings
from netorch.state.names import inlet_name, to_inlet_name, vrf_name, vrf_table
from netorch.state.nft import UPSTREAMS, NftElement
from netorch.state.tc import INGRESS, IP, REDIRECTED, Match, Receive, Redirect, TcFilter


class Served(NamedTuple):
    """A gateway endpoint with a seat on this host."""

    endpoint: VpcEndpoint
    prefixes: tuple[str, ...]  # of its service

    def vrf(self) -> str:
        """Return the name of its VRF."""
        return vrf_name(self.endpoint.vni, self.endpoint.number)


def served(view: VpcView) -> Iterator[Served]:
    """Yield the VPC's gateway endpoints with a seat on this host, if the host has an uplink."""
    if view.host.host.uplink is None:
        return
    lists = {found.id: found for found in view.of(PrefixList)}
    seated = {one.id for one in view.of(Gateway) if one.kind is TargetKind.ENDPOINT and one.is_at(view.host.host.name)}
    for endpoint in view.of(VpcEndpoint):
        if endpoint.number and endpoint.id in seated and endpoint.prefix_list in lists:
            yield Served(endpoint, tuple(entry.cidr for entry in lists[endpoint.prefix_list].entries))


def _endpoints(view: VpcView) -> Iterator[KernelObject]:
    """Yield the path into each endpoint's VRF, and the local addresses there; compiler.vrf yields the VRF itself."""
    vni = view.vni
    for each in served(view):
        vrf, inlet, mac = each.vrf(), inlet_name(vni, each.endpoint.id), gateway_mac(each.endpoint.id)
        for prefix in each.prefixes:
            yield Route(vni=vni, table=vrf_table(vni, each.endpoint.number), dst=prefix, type=LOCAL, ifname=vrf)
        yield from _cable(view, vrf, inlet, to_inlet_name(vni, each.endpoint.id), mac)
        yield from refused(view, mac)
        yield from _served(view, each)
        actions = (Receive(mark=REDIRECTED), Redirect(inlet))
        match = Match(protocol=IP, dst_mac=mac)
        yield TcFilter(vni=vni, ifname=view.vxlan, hook=INGRESS, step=MEANT, match=match, actions=actions)
        yield NftElement(netns=OVERLAY, family="inet", set=INLETS, items=(inlet,), vni=vni)
        # A locally generated packet passes the output hook twice: for the VRF of its output device, whatever VRF it was
        # routed in, and for that device itself.
        for device in (view.vrf, view.vxlan):
            yield NftElement(netns=OVERLAY, family="inet", set=OUTLETS, items=(device,), vni=vni)


def _cable(view: VpcView, vrf: str, far: str, near: str, mac: str) -> Iterator[KernelObject]:
    """Yield the cable whose far end receives packets in the endpoint's VRF; nothing is routed to the near one."""
    vni = view.vni
    yield CableEnd(vni=vni, ifname=far, lladdr=mac, mtu=view.mtu, vrf=vrf, peer=near, group=VXLAN_GROUP)
    yield CableEnd(vni=vni, ifname=near, lladdr=NEAR_MAC, mtu=view.mtu, vrf=view.vrf, peer=far, group=VXLAN_GROUP)
    for ifname in (far, near):
        yield Settings(vni=vni, ifname=ifname)
        yield AdminUp(vni=vni, ifname=ifname)


def _served(view: VpcView, each: Served) -> Iterator[KernelObject]:
    """Yield the proxy's objects for an endpoint. Without a record of its service, nothing listens."""
    vni, endpoint = view.vni, each.endpoint
    for service in view.host.services:
        if service.name == endpoint.service:
            yield ProxyEndpoint(
                vni=vni,
                id=endpoint.id,
                vpc=view.vpc.id,
                service=service.name,
                hosts=service.hosts,
                prefixes=each.prefixes,
                upstream=service.upstream,
                tls=service.tls,
                policy=endpoint.policy,
            )
            yield ProxyListener(vni=vni, ifname=each.vrf(), endpoint=endpoint.id)


def _host(view: HostView, carried: Carried) -> Iterator[KernelObject]:
    """Yield the proxy's servers, which VPCs cannot reach otherwise; and, if there is any endpoint, buckets' policies.

    They belong to the host, so they exist before any listener. VPCs without an endpoint have other gateways on this edge, so
    an edge lists the servers of all services.
    """
    if view.host.uplink is None:
        return
    servers = {text.rpartition("/")[2].partition(":")[0] for one in view.services for text in (one.upstream, one.tls) if text}
    for address in sorted(servers):
        yield NftElement(netns=OUTSIDE, family="inet", set=UPSTREAMS, items=(address,))
    carries = any(one.number for vpc in carried.values() for one in vpc.of(VpcEndpoint))
    for bucket in view.buckets if carries else ():
        if bucket.policy:
            yield ProxyBucket(service=bucket.service, bucket=bucket.name, policy=bucket.policy)


class Endpoints:
    """Yields an edge's objects for gateway endpoints."""

    name: Final = "endpoint"
    reads: Final[frozenset[type]] = frozenset({VpcEndpoint})
    parts: Final[tuple[Part, ...]] = (
        HostPart(
            id="endpoint.host",
            compile=_host,
            inputs=frozenset({VpcEndpoint}),
            yields=frozenset({NftElement, ProxyBucket}),
            role=Role.EDGE,
        ),
        VpcPart(
            id="endpoint",
            compile=_endpoints,
            inputs=frozenset({HostView, Vpc, Gateway, VpcEndpoint, PrefixList}),
            role=Role.EDGE,
        ),
    )
