"""Direct Connect end to end: VLANs of one port for two customers with the same addresses, with VPN connections as backup."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from netorch.model.ids import make_id
from netorch.model.mapping import Reach
from netorch.model.outside.direct_connect import VirtualInterface
from netorch.model.routing.effective import Origin
from netorch.records import keys
from tests.integration.edges.vpn.device import Device
from tests.integration.edges.vpn.sites import PATIENCE_S, SERVER, SITE, Stage, takes, vpn_gateway_of
from tests.rig.packets import ETH_P_ARP, arp, ethernet, send_frame
from tests.rig.world import wait_for

pytestmark = pytest.mark.root

EDGE: Final = "e1"
DEVICE: Final = "dx0"
EDGES_ADDRESS, ROUTERS_ADDRESS = "169.254.50.1", "169.254.50.2"
OTHERS: Final = 128  # hosts that are answered besides the router
STRANGER: Final = "02:00:00:00:00:99"
TO_THE_VPC: Final = f"ip route replace 10.0.0.0/16 via {EDGES_ADDRESS}"
VLANS: Final = {"a": 101, "b": 102}


class Wire:
    """The far end of an edge's port, and the customers' routers on its VLANs: a's speaks BGP, b's does not."""

    def __init__(self, stage: Stage, directory: Path) -> None:
        self.stage = stage
        self.trunk = Device("dx-trunk", directory / "trunk")
        self.trunk.shell(f"ip link add trunk0 type veth peer name {DEVICE} netns {EDGE}; ip link set trunk0 up")
        self.routers = {name: self._router(name, directory) for name in VLANS}
        for number, name in enumerate(VLANS, 1):
            stage.private.put(keys.resource(self.interface(name, number).id), self.interface(name, number))

    def _router(self, name: str, directory: Path) -> Device:
        router = Device(f"dx-{name}", directory / f"router-{name}")
        self.trunk.shell(
            f"ip link add link trunk0 name v{name} type vlan id {VLANS[name]}; ip link set v{name} netns {router.netns}"
        )
        router.shell(
            f"ip link set v{name} up; ip address add {ROUTERS_ADDRESS}/30 dev v{name};"
            f"ip link add lan type dummy; ip address add {SERVER}/16 dev lan; ip link set lan up"
        )
        if name == "b":
            router.shell(TO_THE_VPC)
            return router
        router.start_bird(
            f"""router id {ROUTERS_ADDRESS};
protocol device {{ scan time 1; }}
protocol direct {{ ipv4; interface "lan"; }}
protocol kernel {{ ipv4 {{ import none; export where source = RTS_BGP; }}; }}
protocol bfd {{ }}
protocol bgp edge {{
  local {ROUTERS_ADDRESS} as 65010;
  neighbor {EDGES_ADDRESS} as 64512;
  bfd {{ interval 300 ms; multiplier 3; }};
  connect delay time 1;
  error wait time 1, 5;
  ipv4 {{ import all; export where source = RTS_DEVICE; }};
}}
"""
        )
        return router

    def interface(self, name: str, number: int) -> VirtualInterface:
        vni = self.stage.outskirts.world.vpc(name).vni
        bgp = name == "a"
        return VirtualInterface(
            id=make_id("dxvif", vni, 0xF01020300 + number),
            vni=vni,
            name=f"port-{name}",
            gateway=vpn_gateway_of(vni),
            connection="west",
            edge=EDGE,
            device=DEVICE,
            vlan=VLANS[name],
            address=f"{EDGES_ADDRESS}/30",
            peer=ROUTERS_ADDRESS,
            asn=65010 if bgp else 0,
            bfd=bgp,
            routes=() if bgp else (SITE,),
        )

    def origins(self, name: str) -> set[Origin]:
        """Return how the edge with the port has learned the site."""
        reaches = self.stage.outskirts.world.vpc(name).each(Reach)
        return {Origin(each.origin) for reach in reaches if reach.edge == EDGE for each in reach.prefixes}

    def wait_origin(self, name: str, origin: Origin) -> None:
        wait_for(lambda: self.origins(name) == {origin}, f"{name}'s site by {origin.name}", PATIENCE_S)
        self.stage.outskirts.world.settle()

    def wait_goes_to(self, name: str, place: str) -> None:
        """Wait until a customer instance's packets go to one server only. BGP on a slow machine may lose a session meanwhile."""
        wait_for(lambda: self.goes_to(name) == {place}, f"{name}'s packets to go to {place}", PATIENCE_S)

    def goes_to(self, name: str) -> set[str]:
        """Return the servers that receive a customer instance's packets to its site."""
        servers = {place: self.stage.listener(place) for place in ("dx-a", "dx-b", "site-a", "site-b")}
        try:
            payload = f"of {name}".encode()
            self.stage.say(name + "/one", payload)
            return {place for place, server in servers.items() if takes(server, payload)}
        finally:
            for server in servers.values():
                server.close()

    def close(self) -> None:
        for device in (*self.routers.values(), self.trunk):
            device.close()


@pytest.fixture(scope="module")
def wire(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    found = Wire(stage, tmp_path_factory.mktemp("wire"))
    yield found
    found.close()


BEHIND: Final = {"a": Origin.VPN_STATIC, "b": Origin.VPN_BGP}


@pytest.mark.parametrize("name", VLANS)
def test_direct_connect_is_preferred_to_a_vpn_and_each_customer_has_its_own(wire: Wire, name: str) -> None:
    wire.wait_origin(name, Origin.DIRECT_CONNECT)
    assert wire.stage.outskirts.world.agent(EDGE).reconciler.problems == {}
    wire.stage.wait_reaches(f"{name}/one")
    wire.wait_goes_to(name, f"dx-{name}")
    wait_for(lambda: wire.routers[name].reaches(SERVER, "10.0.1.5"), "the instance to answer its site", PATIENCE_S)


def test_strangers_in_a_vlan_leave_room_for_the_customers_routers(wire: Wire) -> None:
    """Linux would keep a neighbour for each machine that sends requests, in a table that all customers of the edge share."""
    count = 300
    for number in range(count):
        question = arp(1, STRANGER, f"10.99.{number // 250}.{number % 250 + 1}", "00:00:00:00:00:00", EDGES_ADDRESS)
        send_frame(wire.routers["b"].netns, "vb", ethernet("ff:ff:ff:ff:ff:ff", STRANGER, ETH_P_ARP, question))
    wait_for(lambda: wire.stage.outskirts.world.counters(EDGE).get("vlan_arp", 0) >= count - OTHERS, "the drops to be counted")
    command = ["ip", "-n", f"netorch-{EDGE}", "-4", "neigh", "show", "nud", "all"]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout.count("10.99.") <= OTHERS
    wire.routers["b"].shell("ip neigh flush dev vb")
    wire.stage.wait_reaches("b/one")


def test_the_vpn_takes_over_when_the_cable_is_pulled(wire: Wire) -> None:
    wire.trunk.shell("ip link set trunk0 down")
    for name in VLANS:
        wire.wait_origin(name, BEHIND[name])
        wire.stage.wait_reaches(f"{name}/one")
        wire.wait_goes_to(name, f"site-{name}")
    wire.trunk.shell("ip link set trunk0 up")
    wire.routers["b"].shell(TO_THE_VPC)  # Linux has removed the route together with the device
    for name in VLANS:
        wire.wait_origin(name, Origin.DIRECT_CONNECT)
        wire.stage.wait_reaches(f"{name}/one")
        wire.wait_goes_to(name, f"dx-{name}")
