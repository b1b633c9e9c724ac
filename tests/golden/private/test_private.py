"""The objects of an edge and a hypervisor for a virtual private gateway, as text.

NETORCH_UPDATE_GOLDEN=1 rewrites the texts; read the difference before committing it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec
import pytest

from edges.direct_connect import DirectConnect
from edges.vpn import Vpn
from netorch.compiler.base import Compiler, Gateway, HostView, ProblemPart, TableRoutes, VpcView
from netorch.compiler.overlay import OverlayCompiler
from netorch.compiler.private import LocalTunnel, LocalVif
from netorch.compiler.registry import compile_host, compile_slice, left_out_by, parts_of
from netorch.compiler.vrf import VrfCompiler
from netorch.model.addr import parse_prefix
from netorch.model.eni import Host, Role, Uplink
from netorch.model.mapping import Reach, ReachedPrefix, Seat
from netorch.model.outside.direct_connect import BgpAuthentication, VirtualInterface
from netorch.model.outside.vpn import Tunnel, VirtualPrivateGateway, VpnConnection
from netorch.model.routing.effective import Effective, Origin
from netorch.model.routing.target import target_of
from netorch.model.vpc import Vpc
from netorch.plan.explain import explain_state
from tests.views import make_view

VNI: Final = 5000
VGW: Final = "vgw-00138800000000a10"
SEATS: Final = (Seat(host="e1", vtep="192.0.2.21"), Seat(host="e2", vtep="192.0.2.22"))
VPC: Final = Vpc(id="vpc-00138800000000001", vni=VNI, owner="o", name="v", cidrs=("10.0.0.0/16", "10.1.0.0/16"))
UPLINK: Final = Uplink(device="eth1", address="198.18.0.21/24", gateway="198.18.0.254")
EDGE: Final = HostView(
    host=Host(name="e1", underlay="192.0.2.21", role=Role.EDGE, pair="west", uplink=UPLINK),
    underlay_ifname="eth0",
    underlay_mtu=1500,
)
HYPERVISOR: Final = HostView(host=Host(name="hv1", underlay="192.0.2.11"), underlay_ifname="eth0", underlay_mtu=1500)
TUNNELS: Final = (
    Tunnel(inside_cidr="169.254.10.0/30", edge="e1", address="198.18.0.21"),
    Tunnel(inside_cidr="169.254.10.4/30", edge="e2", address="198.18.0.22"),
)
BGP: Final = VpnConnection(
    id="vpn-0013880000000000a",
    vni=VNI,
    name="office",
    gateway=VGW,
    customer_gateway="cgw-00000000000000001",
    number=1,
    asn=65000,
    address="203.0.113.80",
    tunnels=TUNNELS,
)
STATIC: Final = msgspec.structs.replace(
    BGP, id="vpn-0013880000001000b", name="plant", number=2, static=True, routes=("10.99.0.0/16",), identity="plant.example"
)
AWS: Final = msgspec.structs.replace(
    BGP,
    id="vpn-0013880000002000d",
    name="aws",
    number=3,
    asn=64512,
    address="198.51.100.1",
    tunnels=tuple(
        Tunnel(inside_cidr=f"169.254.20.{4 * place}/30", edge="e1", address="198.18.0.21", remote=f"198.51.100.{place + 1}")
        for place in range(2)
    ),
)
VIF: Final = VirtualInterface(
    id="dxvif-0013880000000000c",
    vni=VNI,
    name="port",
    gateway=VGW,
    connection="west",
    edge="e1",
    device="dx0",
    vlan=101,
    outer_vlan=300,
    asn=65010,
    address="169.254.50.1/30",
    peer="169.254.50.2",
    authentication=BgpAuthentication.MD5,
    bfd=True,
)
REACHES: Final = (
    Reach(
        vni=VNI,
        gateway=VGW,
        edge="e1",
        prefixes=(
            ReachedPrefix(prefix="10.44.0.0/16", origin=Origin.DIRECT_CONNECT, as_path_length=1),
            ReachedPrefix(prefix="10.44.7.0/24", origin=Origin.VPN_BGP, as_path_length=1),
        ),
    ),
    Reach(
        vni=VNI,
        gateway=VGW,
        edge="e2",
        prefixes=(
            ReachedPrefix(prefix="10.44.0.0/16", origin=Origin.VPN_BGP, as_path_length=1),
            ReachedPrefix(prefix="10.45.0.0/16", origin=Origin.VPN_BGP, as_path_length=2),
        ),
    ),
)
GATEWAY: Final = Gateway(id=VGW, seats=SEATS, seat=SEATS[0], ways=SEATS)
RECORD: Final = VirtualPrivateGateway(id=VGW, vni=VNI, asn=64600)


def edge_view(*ends: LocalTunnel | LocalVif) -> VpcView:
    return make_view(EDGE, VPC, gateways=[GATEWAY], private=[RECORD, *REACHES, *ends], tables=())


def tunnel(connection: VpnConnection, *, place: int = 0, secret: str = "c2VhbGVk", is_up: bool = True) -> LocalTunnel:
    return LocalTunnel(connection=connection, place=place, secret=secret, is_up=is_up)


def hypervisor_view(gateway: Gateway) -> VpcView:
    target = target_of(VGW)
    routes = (
        Effective(parse_prefix("10.44.0.0/16"), target, Origin.DIRECT_CONNECT),
        Effective(parse_prefix("10.40.0.0/13"), target, Origin.STATIC),
        Effective(parse_prefix("10.44.7.0/24"), target_of("blackhole"), Origin.STATIC),
    )
    tables = [TableRoutes(number=0, routes=routes)]
    return make_view(HYPERVISOR, VPC, gateways=[gateway], private=[RECORD, *REACHES], routes=tables)


PRIVATE: Final[tuple[Compiler, ...]] = (Vpn(), DirectConnect())
ENDS: Final = (tunnel(BGP), tunnel(STATIC), LocalVif(vif=VIF, secret="c2VhbGVk", is_up=True))


def compiled(compilers: Iterable[Compiler], view: VpcView) -> str:
    return explain_state(compile_slice(tuple(compilers), view, []))


TEXTS: Final = {
    "edge": lambda: compiled(PRIVATE, edge_view(*ENDS)),
    "edge_to_aws": lambda: compiled(PRIVATE, edge_view(*(tunnel(AWS, place=place) for place in range(2)))),
    "edge_host": lambda: explain_state(compile_host(PRIVATE, EDGE, {VNI: edge_view(*ENDS)})),
    "hypervisor": lambda: compiled((VrfCompiler(), OverlayCompiler(), *PRIVATE), hypervisor_view(GATEWAY)),
}


@pytest.mark.parametrize("name", TEXTS)
def test_what_is_held_is_as_written(name: str) -> None:
    golden = Path(__file__).with_name(f"{name}.txt")
    text = TEXTS[name]()
    if os.environ.get("NETORCH_UPDATE_GOLDEN") == "1":
        golden.write_text(text)
    assert text == golden.read_text()


def test_a_static_prefix_is_routed_only_while_the_tunnel_carries_packets() -> None:
    up, down = (compiled(PRIVATE, edge_view(tunnel(STATIC, is_up=is_up))) for is_up in (True, False))
    assert "10.99.0.0/16 dev x-" in up
    assert "10.99.0.0/16" not in down


def test_a_tunnel_without_a_key_is_a_device_that_carries_nothing_and_says_why() -> None:
    view = edge_view(tunnel(BGP, secret=""))
    text = compiled(PRIVATE, view)
    assert "type xfrm" in text
    assert "ike vpn-" not in text
    problems = [left_out_by(part, view).text for part in parts_of(PRIVATE, ProblemPart)]
    assert [problem for problem in problems if "this edge has no pre-shared key for it" in problem]


def test_a_silent_edge_is_stood_in_for_without_a_change_of_routes() -> None:
    before, after = (
        compiled((VrfCompiler(), OverlayCompiler(), *PRIVATE), hypervisor_view(gateway)).splitlines()
        for gateway in (GATEWAY, msgspec.structs.replace(GATEWAY, ways=(SEATS[1], SEATS[1])))
    )
    changed = set(before) ^ set(after)
    assert len(changed) == 2
    assert all(line.startswith("fdb ") for line in changed)


@pytest.mark.parametrize(("device", "use"), [(UPLINK.device, "uplink"), (EDGE.underlay_ifname, "underlay")])
def test_a_device_that_the_edge_needs_is_no_port_and_that_is_said(device: str, use: str) -> None:
    vif = msgspec.structs.replace(VIF, device=device, outer_vlan=0)
    view = edge_view(LocalVif(vif=vif, secret="c2VhbGVk", is_up=True))
    problems = [left_out_by(part, view).text for part in parts_of(PRIVATE, ProblemPart)]
    assert f"virtual interface port: {device} is this edge's {use}, which other gateways need; netorch dx vif delete" in problems
    assert "type vlan" not in compiled(PRIVATE, view)
    assert f"link {device} from the underlay" not in explain_state(compile_host(PRIVATE, EDGE, {VNI: view}))
