"""Gateway endpoints in real kernels: which packets reach an endpoint's listener on an edge, and what the endpoint never reaches.

The listeners are this test's own, in each endpoint's VRF, as the proxy's are. Each answers with its VRF and the client's address.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import Final

import pytest

from edges.skeleton import BEGINNINGS
from netorch.compiler.base import router_mac
from netorch.control.actions.endpoints.services import create_service
from netorch.drivers.probe.echo import checksum
from netorch.lab.wiring import in_node
from netorch.model.addr import packed
from netorch.model.routing.next_hop import gateway_mac
from netorch.records import keys
from netorch.state.names import vrf_name
from netorch.state.owner import overlay_netns
from netorch.store.base import Delete
from tests.rig.outskirts import BORDER, EDGES, SERVER, Outskirts, connected
from tests.rig.packets import ETH_P_IP, PacketListener, ethernet, ip_packet, send_vxlan, udp, vxlan
from tests.rig.world import wait_for

pytestmark = pytest.mark.root

CLOUD: Final = """
vpcs:
- name: a
  cidrs: [10.0.0.0/16]
  route_tables: [{name: without}]
  subnets: [{name: app, cidr: 10.0.1.0/24}, {name: lone, cidr: 10.0.2.0/24, route_table: without}]
  security_groups: [{name: open, ingress: [{protocol: all, source: 0.0.0.0/0}]}]
  instances:
  - {name: one, host: hv1, subnet: app, address: 10.0.1.5, security_groups: [open]}
  - {name: two, host: hv2, subnet: app, address: 10.0.1.6, security_groups: [open]}
  - {name: lone, host: hv1, subnet: lone, address: 10.0.2.5, security_groups: [open]}
- name: b
  cidrs: [10.0.0.0/16]
  subnets: [{name: app, cidr: 10.0.1.0/24}]
  security_groups: [{name: open, ingress: [{protocol: all, source: 0.0.0.0/0}]}]
  instances: [{name: one, host: hv1, subnet: app, address: 10.0.1.5, security_groups: [open]}]
- name: c
  cidrs: [10.0.0.0/16]
  subnets: [{name: app, cidr: 10.0.1.0/24}]
  security_groups: [{name: open, ingress: [{protocol: all, source: 0.0.0.0/0}]}]
  instances: [{name: one, host: hv1, subnet: app, address: 10.0.1.5, security_groups: [open]}]
"""
SERVICE: Final = "198.18.200.7"  # one of the addresses under which VPCs reach the service
IP_TRANSPARENT: Final = 19  # linux/in.h


class Answering:
    """Listens on a port in an endpoint's VRF on an edge; sends its VRF and both addresses, then echoes."""

    def __init__(self, edge: str, vrf: str, port: int) -> None:
        with in_node(overlay_netns(edge)):
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, vrf.encode() + b"\0")
        self._socket.setsockopt(socket.SOL_IP, IP_TRANSPARENT, 1)
        self._socket.bind(("0.0.0.0", port))
        self._socket.listen(64)
        self._vrf = vrf
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        with suppress(OSError):
            while True:
                taken, peer = self._socket.accept()
                threading.Thread(target=self._serve, args=(taken, peer), daemon=True).start()

    def _serve(self, taken: socket.socket, peer: tuple[str, int]) -> None:
        with taken, suppress(OSError):
            taken.sendall(f"{self._vrf} {peer[0]} {taken.getsockname()[0]}\n".encode())
            while data := taken.recv(1 << 16):
                taken.sendall(data)

    def close(self) -> None:
        self._socket.close()


class Scene:
    """Three VPCs with the same addresses; a and b have an endpoint each."""

    def __init__(self, outskirts: Outskirts) -> None:
        self.outskirts, world = outskirts, outskirts.world
        outskirts.pair_up()
        create_service(world.store, world.caller, name="s3", prefixes=["198.18.200.0/24"], upstream="http://203.0.113.10:9000")
        self.endpoints = {name: outskirts.make_endpoint(name, "s3") for name in "ab"}
        world.store.txn((), [Delete(keys.service("s3"))])  # so that the proxy, which other tests cover, does not listen
        outskirts.settle()
        self.answering = [
            Answering(edge, self.vrf(name), port) for edge in EDGES for name in self.endpoints for port in (22, 80, 443)
        ]

    def vrf(self, name: str) -> str:
        """Return the name of the VRF of a VPC's endpoint."""
        return vrf_name(self.endpoints[name].vni, self.endpoints[name].number)

    def ask(self, name: str, port: int = 80, timeout_s: float = 10.0) -> socket.socket:
        """Return a connection from an instance to the service. Raises OSError."""
        return connected(self.outskirts.place(name), (SERVICE, port), timeout_s=timeout_s)

    def dropped(self, edge: str, reason: str) -> int:
        """Return the number of packets that an edge has dropped for a reason."""
        return self.outskirts.world.counters(edge).get(reason, 0)

    def send(self, edge: str, name: str, packet: bytes, *, sender: str = "hv1") -> None:
        """Let a host send a packet to the MAC of a VPC's endpoint."""
        hosts, endpoint = self.outskirts.world.hosts, self.endpoints[name]
        frame = ethernet(gateway_mac(endpoint.id), router_mac(hosts[sender].vtep), ETH_P_IP, packet)
        send_vxlan(sender, hosts[sender].vtep, hosts[edge].vtep, vxlan(endpoint.vni, frame))


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    outskirts = Outskirts(tmp_path_factory.mktemp("outskirts"))
    found = None
    try:
        outskirts.world.start_agents()
        outskirts.world.apply(CLOUD)
        found = Scene(outskirts)
        yield found
    finally:
        for each in found.answering if found is not None else ():
            each.close()
        outskirts.close()


def test_two_vpcs_with_one_address_are_told_apart_by_the_vrf_that_they_come_to(scene: Scene) -> None:
    for name, source in (("a/one", "10.0.1.5"), ("a/two", "10.0.1.6"), ("b/one", "10.0.1.5")):
        for port in (80, 443):
            with scene.ask(name, port) as asked:
                assert asked.recv(64).decode() == f"{scene.vrf(name[0])} {source} {SERVICE}\n"


def test_much_comes_and_goes_whole(scene: Scene) -> None:
    sent = bytes(range(256)) * 4096
    with scene.ask("a/one") as asked:
        asked.recv(64)
        threading.Thread(target=asked.sendall, args=(sent,), daemon=True).start()
        found = bytearray()
        while len(found) < len(sent):
            found += asked.recv(1 << 16)
    assert bytes(found) == sent


@pytest.mark.parametrize(
    ("name", "port"), [("a/one", 22), ("a/one", 179), ("a/lone", 80), ("c/one", 80)], ids=["ssh", "bgp", "table", "vpc"]
)
def test_nobody_else_and_nothing_else_is_answered(scene: Scene, name: str, port: int) -> None:
    before = sum(scene.dropped(edge, "endpoint_port") for edge in EDGES)
    with pytest.raises(OSError, match=r"timed out|No route to host"):
        scene.ask(name, port, timeout_s=1.5).close()
    dropped = sum(scene.dropped(edge, "endpoint_port") for edge in EDGES) - before
    assert (dropped > 0) is (port != 80)  # packets to port 80 do not reach an edge here


def test_an_endpoint_leads_nowhere_but_to_its_service(scene: Scene) -> None:
    place = scene.outskirts.place("a/two")
    before = {edge: scene.dropped(edge, "no_gateway") for edge in EDGES}
    with PacketListener(BORDER, "to-e1") as one, PacketListener(BORDER, "to-e2") as two, PacketListener(place) as inside:
        for edge in EDGES:
            for target in (SERVER, "10.0.1.6", scene.outskirts.world.hosts["hv2"].vtep, "198.18.201.1"):
                scene.send(edge, "a", udp("10.0.1.5", target, b"by the endpoint"))
        wait_for(
            lambda: all(scene.dropped(edge, "no_gateway") > before[edge] for edge in EDGES),
            "what is for another instance to be dropped",
        )
        assert not any(listener.heard(b"by the endpoint") for listener in (one, two, inside))


def _syn(source: str, port: int) -> bytes:
    """Return the first segment of a connection to the service."""
    head = struct.pack("!HHIIBBHHH", port, 80, 1, 0, 5 << 4, 2, 1024, 0, 0)
    pseudo = packed(source) + packed(SERVICE) + struct.pack("!BBH", 0, socket.IPPROTO_TCP, len(head))
    sum_ = checksum(pseudo + head)
    return ip_packet(source, SERVICE, socket.IPPROTO_TCP, head[:16] + struct.pack("!H", sum_) + head[18:])


def test_who_may_not_speak_as_an_instance_is_not_answered_as_one(scene: Scene) -> None:
    before = scene.dropped("e1", "unverified")
    with PacketListener(scene.outskirts.place("a/one")) as listener:
        for sender in ("hv2", "e2"):
            scene.send("e1", "a", _syn("10.0.1.5", 4242), sender=sender)
        wait_for(lambda: scene.dropped("e1", "unverified") >= before + 2, "both to be dropped")
        assert not listener.heard(struct.pack("!HH", 80, 4242))
        scene.send("e1", "a", _syn("10.0.1.5", 4243))
        wait_for(lambda: listener.heard(struct.pack("!HH", 80, 4243)), "the answer to the instance's own host")


def test_a_flood_of_one_vpc_is_dropped_and_no_other_ones_matter(scene: Scene) -> None:
    hosts, endpoint = scene.outskirts.world.hosts, scene.endpoints["a"]
    ends = gateway_mac(endpoint.id), router_mac(hosts["hv1"].vtep)
    packets = [vxlan(endpoint.vni, ethernet(*ends, ETH_P_IP, _syn("10.0.1.5", 1024 + port))) for port in range(4 * BEGINNINGS)]
    with in_node("hv1"):
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    before = {edge: scene.dropped(edge, "endpoint_floods") for edge in EDGES}

    def flooded(edge: str) -> bool:
        for packet in packets:
            sender.sendto(packet, (hosts[edge].vtep, 4789))
        return scene.dropped(edge, "endpoint_floods") > before[edge]

    with sender:
        sender.bind((hosts["hv1"].vtep, 0))
        for edge in EDGES:
            wait_for(partial(flooded, edge), f"{edge} to drop some of many beginnings")
    with scene.ask("b/one") as asked:
        assert asked.recv(64).startswith(scene.vrf("b").encode())


def test_connections_live_on_when_an_edges_agent_is_killed(scene: Scene) -> None:
    with scene.ask("a/one") as one, scene.ask("a/two") as two:
        for edge in EDGES:
            scene.outskirts.kill_agent(edge)
        for asked in (one, two):
            asked.recv(64)
            asked.sendall(b"still there")
            assert asked.recv(64) == b"still there"
