"""Three VPCs in a row that are peers: who reaches whom, by which rules, and how peering ends."""

from __future__ import annotations

import itertools
import os
import socket
import struct

import msgspec
import pytest

from netorch.control.actions import peerings
from netorch.control.actions.enis import modify_network_interface
from netorch.control.actions.memberships import modify_instance_groups
from netorch.control.actions.moves import move_instance
from netorch.control.actions.permissions import Permission, authorize, revoke
from netorch.diagnose.layers import probe_layers
from netorch.drivers import netns
from netorch.drivers.probe.echo import Probe, ask, checksum
from netorch.model.routing.peering import PeeringConnection
from netorch.model.security import Direction, SecurityGroup
from netorch.model.vpc import VpcRoute
from netorch.records import keys
from netorch.records.codec import encode
from netorch.records.inventory import read_inventory
from netorch.store.base import Put
from netorch.trace.codes import Code
from tests.integration.test_trace import traced
from tests.rig.crafted import framed, send_frames
from tests.rig.packets import PATIENCE_S, PacketListener, ip_packet, udp
from tests.rig.world import World, wait_for

pytestmark = pytest.mark.root

LOST_AT_BEST, LOST_AT_WORST = 8, 60  # echoes lost per move, one echo each 5 ms
NUMBERS = {"a": 1, "b": 2, "c": 3}
NEIGHBOURS = {"a": ("b",), "b": ("a", "c"), "c": ("b",)}


def range4(vpc: str) -> str:
    return f"10.{NUMBERS[vpc]}.0.0/16"


def range6(vpc: str) -> str:
    return f"fd00:0:0:{NUMBERS[vpc]}00::/56"


def vpc(name: str, peer: str = "", port: int = 0) -> str:
    """Return a VPC with an instance on each of two hosts; the instances accept all packets."""
    number = NUMBERS[name]
    lines = [
        f"- name: {name}",
        f"  vni: {20000 + number}",
        f"  cidrs: [{range4(name)}]",
        f"  ipv6_cidrs: ['{range6(name)}']",
        "  security_groups:",
        "  - {name: open, ingress: [{protocol: all, source: 0.0.0.0/0}, {protocol: all, source: '::/0'}]}",
        "  - {name: shut}",
        f"  subnets: [{{name: app, cidr: 10.{number}.1.0/24, ipv6_cidr: 'fd00:0:0:{number}01::/64'}}]",
        "  instances:",
    ]
    lines += [
        f"  - {{name: {name}{host}, host: hv{host}, address: 10.{number}.1.{3 + host}, "
        f"ipv6_address: 'fd00:0:0:{number}01::{3 + host}', security_groups: [open]}}"
        for host in (1, 2)
    ]
    if peer:
        lines.append(f"  peerings: [{{name: to-{peer}, peer: {peer}}}]")
    return "\n".join(lines) + "\n"


CLOUD = "vpcs:\n" + vpc("a", "b") + vpc("b", "c") + vpc("c")
ALL = [f"{name}/{name}{host}" for name in NUMBERS for host in (1, 2)]


def connection(world: World, one: str, other: str) -> PeeringConnection:
    found = [half for half in world.vpc(one).each(PeeringConnection) if half.peer.id == world.vpc(other).vpc.record.id]
    return found[0]


def route(world: World, name: str, *routes: tuple[str, str]) -> None:
    """Set the routes of a VPC's main table: destinations and targets."""
    main = world.vpc(name).main_table()
    assert main is not None
    changed = msgspec.structs.replace(main, routes=tuple(VpcRoute(destination=d, target=t) for d, t in routes))
    world.store.txn((), [Put(keys.resource(main.id), encode(changed))])


@pytest.fixture
def cloud(world: World) -> World:
    """Return three VPCs in a row. Each has routes to both others, through its own peering connections."""
    world.start_agents("hv1", "hv2")
    world.apply(CLOUD)
    for name, neighbours in NEIGHBOURS.items():
        ways = {
            other: connection(world, name, other if other in neighbours else neighbours[0]) for other in NUMBERS if other != name
        }
        routes = [(found(other), way.id) for other, way in ways.items() for found in (range4, range6)]
        route(world, name, *routes)
    world.settle()
    return world


def reached(world: World, names: list[str], version: int, tries: int = 3) -> set[tuple[str, str]]:
    """Return the pairs of instances of different VPCs between which echoes are answered."""
    pairs = [pair for pair in itertools.permutations(names, 2) if pair[0][0] != pair[1][0]]
    enis = {name: world.eni(name) for name in names}
    probes = []
    for source, target in pairs:
        address = enis[target].address if version == 4 else enis[target].ipv6_address
        probes.append(Probe(netns=enis[source].instance, destination=address))
    return {pair for pair, answer in zip(pairs, ask(probes, 2.0, tries), strict=True) if answer.ok}


def connect(world: World, source: str, target: str, version: int) -> bool:
    """Return whether a TCP connection carries bytes in both directions."""
    near, far = world.eni(source), world.eni(target)
    address = far.address if version == 4 else far.ipv6_address
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    listener, client = (_socket(eni.instance, family) for eni in (far, near))
    with listener, client:
        listener.bind((address, 8080))
        listener.listen()
        client.settimeout(3.0)
        listener.settimeout(3.0)
        try:
            client.connect((address, 8080))
            server, _ = listener.accept()
            with server:
                server.settimeout(3.0)
                client.sendall(b"to")
                found = server.recv(16)
                server.sendall(found + b"fro")
                return client.recv(16) == b"tofro"
        except TimeoutError:
            return False


def _socket(instance: str, family: int) -> socket.socket:
    descriptor = netns.find(instance)
    with netns.inside(descriptor):
        found = socket.socket(family, socket.SOCK_STREAM)
    os.close(descriptor)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return found


@pytest.mark.parametrize("version", [4, 6])
def test_neighbours_reach_each_other_and_nobody_further(cloud: World, version: int) -> None:
    expected = {pair for pair in itertools.permutations(ALL, 2) if pair[1][0] in NEIGHBOURS[pair[0][0]]}
    found = reached(cloud, ALL, version)
    assert found == expected
    for source, target in (("a/a1", "b/b1"), ("b/b1", "a/a1"), ("a/a1", "b/b2"), ("b/b2", "a/a1"), ("c/c2", "b/b2")):
        assert connect(cloud, source, target, version), (source, target)
    assert [cloud.counters(host).get("invalid", 0) for host in ("hv1", "hv2")] == [0, 0]


def test_both_vpcs_need_a_route(cloud: World) -> None:
    route(cloud, "a")
    cloud.settle()
    assert reached(cloud, ["a/a1", "b/b1", "b/b2"], 4, tries=1) == set()


@pytest.mark.parametrize("there", ["b/b1", "b/b2"])
def test_a_deleted_connection_carries_nothing_more(cloud: World, there: str) -> None:
    stream = cloud.traffic("a/a1", there)
    wait_for(lambda: stream.sent > 50, "some echoes")
    peerings.delete_peering(cloud.store, cloud.caller, connection(cloud, "a", "b").id)
    cloud.settle()
    answered = sum(stream._pinger.answer(sequence).ok for sequence in range(1, stream.sent + 1))
    assert answered > 0
    sent = stream.sent
    wait_for(lambda: stream.sent > sent + 50, "some more echoes")
    late = [sequence for sequence in range(sent + 10, stream.sent) if stream._pinger.answer(sequence).ok]
    stream.stop()
    assert late == []
    assert reached(cloud, ALL, 4, tries=1) == {
        pair for pair in itertools.permutations(ALL, 2) if {pair[0][0], pair[1][0]} == {"b", "c"}
    }


@pytest.mark.parametrize("there", ["a/a1", "a/a2"])
def test_a_rule_may_refer_to_a_peers_group(cloud: World, there: str) -> None:
    groups = {group.name: group.id for group in cloud.vpc("b").each(SecurityGroup)}
    theirs = {group.name: group.id for group in cloud.vpc("a").each(SecurityGroup)}
    modify_instance_groups(cloud.store, cloud.caller, cloud.instance("b/b1").id, [groups["shut"]])
    cloud.settle()
    assert reached(cloud, [there, "b/b1"], 4, tries=1) == {("b/b1", there)}
    rule = Permission(protocol="all", peer=theirs["open"])
    authorize(cloud.store, cloud.caller, groups["shut"], Direction.INGRESS, [rule])
    cloud.settle()
    for version in (4, 6):
        assert reached(cloud, [there, "b/b1"], version) == {("b/b1", there), (there, "b/b1")}
    assert reached(cloud, ["c/c1", "b/b1"], 4, tries=1) == {("b/b1", "c/c1")}
    revoke(cloud.store, cloud.caller, groups["shut"], Direction.INGRESS, [rule])
    cloud.settle()
    assert reached(cloud, [there, "b/b1"], 4, tries=1) == {("b/b1", there)}


def test_nobody_sends_to_a_peer_in_anothers_name(cloud: World) -> None:
    near, far = cloud.eni("a/a1"), cloud.eni("b/b1")
    modify_network_interface(cloud.store, cloud.caller, near.id, source_dest_check=False)
    cloud.settle()
    before = cloud.counters("hv1")
    others = [cloud.eni(name).address for name in ("b/b2", "c/c1", "a/a2")]
    with PacketListener(far.instance) as listener:
        for number, source in enumerate([*others, near.address]):
            send_frames(near.instance, "eth0", [framed(near.mac, udp(source, far.address, b"from %d" % number))])
        assert listener.hears(b"from %d" % len(others), within_s=PATIENCE_S)
        assert not [number for number in range(len(others)) if listener.heard(b"from %d" % number)]
    assert cloud.counters("hv1")["peer_source"] - before["peer_source"] == len(others)
    assert reached(cloud, ["a/a1", "b/b1", "b/b2"], 4) >= {("a/a1", "b/b1"), ("a/a1", "b/b2")}


@pytest.mark.parametrize("speaker", [False, True], ids=["checked", "speaker"])
def test_nobody_sends_to_a_peer_on_another_host_in_the_name_of_the_peers_own(cloud: World, speaker: bool) -> None:
    """The host of b1 also has a1. So it may send to a2 with a's VNI: as a1, or as any address if a1 has no source check."""
    near, far = cloud.eni("b/b1"), cloud.eni("a/a2")
    for eni, check in ((near, False), (cloud.eni("a/a1"), not speaker)):
        modify_network_interface(cloud.store, cloud.caller, eni.id, source_dest_check=check)
    cloud.settle()
    before = cloud.counters("hv1")
    others = [cloud.eni(name) for name in ("a/a1", "c/c1", "b/b2")]
    forged = [(eni.address, far.address) for eni in others] + [(eni.ipv6_address, far.ipv6_address) for eni in others]
    with PacketListener(far.instance) as listener:
        for number, (source, to) in enumerate([*forged, (near.address, far.address)]):
            send_frames(near.instance, "eth0", [framed(near.mac, udp(source, to, b"from %d" % number))])
        assert listener.hears(b"from %d" % len(forged), within_s=PATIENCE_S)
        assert not [number for number in range(len(forged)) if listener.heard(b"from %d" % number)]
    assert cloud.counters("hv1")["peer_source"] - before["peer_source"] == len(forged)


@pytest.mark.parametrize("there", ["a/a1", "a/a2"])
def test_an_icmp_error_to_a_peer_is_about_a_packet_to_its_sender(cloud: World, there: str) -> None:
    """Connection tracking accepts an error for any connection that it quotes: here one in which the peer has no part."""
    near, far = cloud.eni("b/b1"), cloud.eni(there)
    third = cloud.eni("a/a2" if there == "a/a1" else "a/a1")
    modify_network_interface(cloud.store, cloud.caller, near.id, source_dest_check=False)
    cloud.settle()
    before = cloud.counters("hv1")["peer_source"]
    with PacketListener(third.instance) as listener:
        for to in (third, near):
            begun = udp(far.address, to.address, b"begun")
            send_frames(far.instance, "eth0", [framed(far.mac, begun)])
            if to == third:
                assert listener.hears(b"begun", within_s=PATIENCE_S)
    with PacketListener(far.instance) as listener:
        for about, token in ((third, b"forged"), (near, b"honest")):
            quoted = udp(far.address, about.address, token)
            message = struct.pack("!BBHI", 3, 3, 0, 0) + quoted
            message = message[:2] + struct.pack("!H", checksum(message)) + message[4:]
            send_frames(near.instance, "eth0", [framed(near.mac, ip_packet(near.address, far.address, 1, message))])
        assert listener.hears(b"honest", within_s=PATIENCE_S)
        assert not listener.heard(b"forged")
    assert cloud.counters("hv1")["peer_source"] - before == 1


def test_a_restarted_agent_writes_nothing(cloud: World) -> None:
    stream = cloud.traffic("a/a1", "b/b1")
    for name in ("hv1", "hv2"):
        cloud.stop_agent(name)
        cloud.start_agents(name)
        cloud.settle()
        assert cloud.agent(name).reconciler.writes == 0
    assert stream.stop() == 0


@pytest.mark.parametrize("version", [4, 6])
def test_an_instance_that_moves_stays_with_its_peer(cloud: World, version: int) -> None:
    lost = []
    for host in ("hv2", "hv1"):
        stream = cloud.traffic("a/a1", "b/b1")
        move_instance(cloud.store, cloud.caller, cloud.instance("b/b1").id, host)
        cloud.wait_attached()
        lost.append(stream.stop())
        assert connect(cloud, "a/a1", "b/b1", version)
        assert connect(cloud, "b/b1", "a/a1", version)
    assert min(lost) <= LOST_AT_BEST
    assert max(lost) <= LOST_AT_WORST, "on a machine that does something else"


@pytest.mark.parametrize("target", ["b/b1", "b/b2"])
def test_trace_and_ping_agree_with_kernels_and_live_packets(cloud: World, target: str) -> None:
    far = cloud.eni(target)
    for version in (4, 6):
        layers = probe_layers(read_inventory(cloud.store), cloud.caller, "a/a1", target, version=version, count=1, timeout_s=2.0)
        assert [(layer.name, layer.ok) for layer in layers][-1] == ("overlay", True)
    for address in far.addresses:
        found = traced(cloud, "a/a1", address, "udp/53")
        assert (found.reachable, found.disagreement, found.kernel_problem, found.live.arrived) == (True, "", "", True), address
    peerings.delete_peering(cloud.store, cloud.caller, connection(cloud, "a", "b").id)
    cloud.settle()
    for address in far.addresses:
        found = traced(cloud, "a/a1", address, "udp/53")
        assert (found.verdict.code, found.disagreement, found.live.arrived) == (Code.BAD_STATE_ROUTE, "", False), address
