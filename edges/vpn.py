"""VPN: the tunnels of a virtual private gateway that end at this edge.

    overlay: vrf5000   x-001388abcdef0  169.254.10.1/30      plain packets, and BGP with the customer's device
    outside            SAs and policies of its if_id; charon, at the uplink's address

A tunnel's device is in the overlay, and its SAs are in the outside. So plain packets never reach the uplink, and addresses of
VPCs and sites may overlap with others. Without an SA, packets to the device are dropped: there is no other path out.

charon negotiates (netorch.drivers.charon), and a bird uses BGP through the tunnel (netorch.drivers.bird). A static prefix is
routed into a tunnel while that carries packets, so that another tunnel or site takes over when it does not.

If the other end is AWS (`Tunnel.remote`), the edge is the customer's device: it has the second inside address, and it
initiates, because AWS waits for its customer.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from edges.private import GATE_PART, GATEWAY_PART, announced, end_objects, private_gateway, table_of_gateway
from netorch.compiler.base import Carried, Gateway, HostPart, HostView, Part, ProblemPart, VpcPart, VpcView
from netorch.compiler.private import LocalTunnel
from netorch.model.eni import Role
from netorch.model.mapping import Reach
from netorch.model.outside.proposals import proposals
from netorch.model.outside.vpn import (
    MAX_LEARNED,
    Authentication,
    StartupAction,
    VirtualPrivateGateway,
    VpnConnection,
    if_id,
    ikev1_is_safe,
    inside_ends,
)
from netorch.model.routing.metrics import VPN_BGP, VPN_STATIC
from netorch.model.vpc import Vpc
from netorch.state.base import OUTSIDE, KernelObject
from netorch.state.daemons.bgp import CustomerPeer, session_name
from netorch.state.daemons.ike import IkeConnection
from netorch.state.l3 import Address, Route
from netorch.state.names import tunnel_name
from netorch.state.nft import IKE, NftElement
from netorch.state.rooted import Xfrm

MTU: Final = 1446  # bytes, as in EC2: 1500 minus ESP in tunnel mode, AES-GCM; behind a NAT Linux says what fits (xfrmi_xmit2)
_DPD_QUESTIONS: Final = 3  # DPD requests until a silent peer counts as dead
_VERSIONS: Final[dict[tuple[str, ...], int]] = {("ikev1",): 1, ("ikev2",): 2}
_IKEV1, _IKEV2 = 1, 2


def _tunnels(view: VpcView) -> Iterator[KernelObject]:
    """Yield the tunnels that end at this edge."""
    gateway = private_gateway(view)
    if gateway is None:
        return
    for tunnel in view.of(LocalTunnel):
        yield from _device(view, gateway, tunnel)
        if not _problem(view, tunnel):
            yield _ike(view, tunnel)
        if not tunnel.connection.static:
            yield from _peer(view, tunnel)
        yield from _static(view, tunnel)


def _device(view: VpcView, gateway: Gateway, tunnel: LocalTunnel) -> Iterator[KernelObject]:
    vni, ifname, (near, far) = view.vni, _ifname(view, tunnel), _inside(tunnel)
    yield Xfrm(vni=vni, ifname=ifname, if_id=_if_id(view, tunnel), mtu=MTU, vrf=view.vrf)
    yield Address(vni=vni, ifname=ifname, address=f"{near}/30")
    yield from end_objects(view, gateway, ifname, far, speaks_bgp=not tunnel.connection.static)


def _ike(view: VpcView, tunnel: LocalTunnel) -> IkeConnection:
    connection, options = tunnel.connection, tunnel.connection.tunnels[tunnel.place].options
    own, remote = _own_address(view), connection.tunnels[tunnel.place].remote
    by_certificate = connection.authentication is Authentication.CERTIFICATE
    return IkeConnection(
        vni=view.vni,
        name=tunnel.name,
        version=_version(tunnel),
        local=own,
        remote=remote or connection.address,
        local_identity="" if by_certificate else own,
        remote_identity=remote or connection.identity or ("" if by_certificate else connection.address),
        proposals=proposals(options, 1),
        child_proposals=proposals(options, 2),
        local_traffic=connection.remote_cidr,  # EC2 calls the customer's side local
        remote_traffic=connection.local_cidr,
        if_id=_if_id(view, tunnel),
        lifetime=options.phase1_lifetime,
        child_lifetime=options.phase2_lifetime,
        rekey_margin=options.rekey_margin,
        rekey_fuzz=options.rekey_fuzz,
        replay_window=options.replay_window,
        dpd_delay=max(1, options.dpd_timeout // _DPD_QUESTIONS),
        dpd_action=options.dpd_action.value,
        initiates=bool(remote) or (options.startup_action is StartupAction.START and bool(connection.address)),
        secret=tunnel.secret,
        certificate=connection.certificates.get(view.host.host.name, ""),
        authority=connection.authority,
    )


def _version(tunnel: LocalTunnel) -> int:
    """Return the IKE version, 0 for both."""
    version = _VERSIONS.get(tunnel.connection.tunnels[tunnel.place].options.ike_versions, 0)
    return version if ikev1_is_safe(tunnel.connection) else version or _IKEV2


def _peer(view: VpcView, tunnel: LocalTunnel) -> Iterator[KernelObject]:
    near, far = _inside(tunnel)
    for gateway in view.of(VirtualPrivateGateway):
        own = announced(view)
        yield CustomerPeer(
            vni=view.vni,
            name=session_name(tunnel.name),
            ifname=_ifname(view, tunnel),
            vrf=view.vrf,
            table=table_of_gateway(view.vni),
            metric=VPN_BGP,
            local=near,
            local_asn=gateway.asn,
            remote=far,
            remote_asn=tunnel.connection.asn,
            announces=own if tunnel.invites else (),
            refuses=own,
            limit=MAX_LEARNED,
            bfd=True,  # harmless for a device without BFD
        )


def _static(view: VpcView, tunnel: LocalTunnel) -> Iterator[KernelObject]:
    """Yield the static routes of a tunnel. Of two connections with the same prefix, the one with the lower number wins."""
    metric = VPN_STATIC + (tunnel.connection.number << 1 | tunnel.place)
    for prefix in tunnel.static_prefixes:
        table = table_of_gateway(view.vni)
        yield Route(vni=view.vni, table=table, dst=prefix, ifname=_ifname(view, tunnel), metric=metric)


def _left_out(view: VpcView) -> str:
    """Return which tunnels cannot be set up; empty if none."""
    problems = [f"{tunnel.name}: {problem}" for tunnel in view.of(LocalTunnel) if (problem := _problem(view, tunnel))]
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"tunnel {problems[0]}{more}" if problems else ""


def _problem(view: VpcView, tunnel: LocalTunnel) -> str:
    """Return why a tunnel cannot be set up; empty if it can."""
    connection, own = tunnel.connection, _own_address(view)
    by_certificate = connection.authentication is Authentication.CERTIFICATE
    if tunnel.connection.tunnels[tunnel.place].address != own:
        return f"its address is not that of this edge's uplink, {own or 'which has none'}"
    if _version(tunnel) == _IKEV1 and not ikev1_is_safe(connection):
        return "its device has an identity and a pre-shared key, which needs IKEv2; netorch vpn modify --ike-version ikev2"
    if not tunnel.secret:
        noun = "private key" if by_certificate else "pre-shared key"
        return f"this edge has no {noun} for it; netorch vpn rotate {connection.name}"
    if by_certificate and not connection.certificates.get(view.host.host.name):
        return f"this edge has no certificate for it; netorch vpn rotate {connection.name}"
    return ""


def _listens(view: HostView, carried: Carried) -> Iterator[KernelObject]:
    """Yield the element by which the outside's table accepts IKE and ESP, while a tunnel ends at this edge."""
    uplink = view.host.uplink
    if uplink is not None and any(vpc.of(LocalTunnel) for vpc in carried.values()):
        yield NftElement(netns=OUTSIDE, family="inet", set=IKE, items=(uplink.device, uplink.address.partition("/")[0]))


def _own_address(view: VpcView) -> str:
    uplink = view.host.host.uplink
    return uplink.address.partition("/")[0] if uplink is not None else ""


def _inside(tunnel: LocalTunnel) -> tuple[str, str]:
    return inside_ends(tunnel.connection.tunnels[tunnel.place])


def _ifname(view: VpcView, tunnel: LocalTunnel) -> str:
    return tunnel_name(view.vni, tunnel.connection.id, tunnel.place)


def _if_id(view: VpcView, tunnel: LocalTunnel) -> int:
    return if_id(view.vni, tunnel.connection.number, tunnel.place)


_INPUTS: Final = frozenset({HostView, Vpc, Gateway, VirtualPrivateGateway, LocalTunnel})


class Vpn:
    """Yields the virtual private gateway of a VPC, and its tunnels, on the edges where they end."""

    name: Final = "vpn"
    reads: Final[frozenset[type]] = frozenset({VirtualPrivateGateway, VpnConnection, Reach})
    parts: Final[tuple[Part, ...]] = (
        HostPart(id="vpn.ike", compile=_listens, inputs=frozenset({LocalTunnel}), yields=frozenset({NftElement}), role=Role.EDGE),
        GATEWAY_PART,
        GATE_PART,
        VpcPart(id="vpn.tunnels", compile=_tunnels, inputs=_INPUTS, role=Role.EDGE),
        ProblemPart(id="vpn.left_out", problem=_left_out, inputs=frozenset({HostView, LocalTunnel}), role=Role.EDGE),
    )
