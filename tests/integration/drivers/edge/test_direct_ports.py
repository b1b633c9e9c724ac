"""Raw frames at a Direct Connect port: only those with the VLAN of a virtual interface, and no other tag, reach its VPC."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator
from functools import partial

import nftables
import pytest

from edges.direct_ports import interface_filters, port_objects, service_tag_objects
from edges.outside_rules import PORTS, outside_tables
from netorch.drivers import netns
from netorch.drivers.linux import LinuxKernel
from netorch.lab.wiring import in_node
from netorch.model.eni import Uplink as DeclaredUplink
from netorch.plan.diff import diff
from netorch.state.base import OUTSIDE, KernelObject
from netorch.state.l3 import MAIN_TABLE, Address, Route
from netorch.state.link import LOOPBACK, OUTSIDE_GROUP, AdminUp, CableEnd, Settings, Uplink, vrf_of
from netorch.state.names import outside_cable, priority_vlan_names, service_vlan_name, vlan_name
from netorch.state.netns import Namespace
from netorch.state.nft import NftElement
from netorch.state.op import Create, Delete
from netorch.state.owner import netns_name, overlay_netns
from netorch.state.rooted import Rooted, Vlan
from netorch.state.sysctls import namespace_sysctls
from netorch.state.tc import TcFilter
from tests.contract.kernel.stands import by_key
from tests.rig.hosts import create, foreigner, host, host_objects
from tests.rig.packets import ETH_P_ARP, ETH_P_IP, PacketListener, arp, ip_packet, mac_bytes, send_frame, udp
from tests.rig.world import wait_for

pytestmark = pytest.mark.root

NAME, SITE, PORT, WIRE = "edge", "site", "port0", "wire0"
OVERLAY_NAME, OUTSIDE_NAME = overlay_netns(NAME), netns_name(NAME, OUTSIDE)
VNI, VRF = 5000, vrf_of(5000)
POOL, PUBLIC, OWN = "198.51.100.0/24", "198.51.100.5", "198.18.0.21"
UPLINK = DeclaredUplink(device="up0", address=f"{OWN}/24", gateway="198.18.0.254")
SERVICE = service_vlan_name(PORT, 300)
INNER, OUTER = outside_cable(VNI, "igw-001388abcdef00001")
PLAIN, STACKED = vlan_name(VNI, "dxvif-001388abcdef00001"), vlan_name(VNI, "dxvif-001388bbcdef00001")
NEAR = {PLAIN: "169.254.50.1", STACKED: "169.254.51.1"}
MAC, THEIRS = "06:00:00:00:00:50", "06:00:00:00:00:51"  # of the port; of the customer's router
C, S = 0x8100, 0x88A8

Tags = tuple[tuple[int, int], ...]
WAY: dict[str, Tags] = {PLAIN: ((C, 101),), STACKED: ((S, 300), (C, 5))}  # the tags of each virtual interface
ASTRAY: tuple[Tags, ...] = (
    (),
    ((C, 0),),
    ((S, 0),),
    ((C, 999),),
    ((S, 999),),
    ((C, 4095),),
    ((S, 101),),
    ((C, 300),),
    ((S, 300),),
    ((C, 5),),
    ((C, 0), (C, 101)),
    ((S, 0), (C, 101)),
    ((C, 0), (C, 0), (C, 101)),
    ((C, 0), (S, 300), (C, 5)),
    ((S, 0), (S, 300), (C, 5)),
    ((C, 101), (C, 0)),
    ((C, 101), (S, 0)),
    ((C, 101), (C, 101)),
    ((C, 101), (C, 999)),
    ((C, 999), (C, 101)),
    ((S, 300), (C, 0)),
    ((S, 300), (S, 0)),
    ((S, 300), (S, 5)),
    ((S, 300), (C, 101)),
    ((S, 300), (C, 999)),
    ((S, 300), (C, 0), (C, 5)),
    ((S, 300), (C, 5), (C, 0)),
    ((S, 300), (C, 5), (S, 0)),
    ((S, 300), (C, 5), (C, 7)),
    ((S, 999), (C, 5)),
)


def interface(ifname: str, lower: str, vlan: int) -> tuple[KernelObject, ...]:
    return (
        Vlan(vni=VNI, ifname=ifname, lower=lower, vlan=vlan, mtu=1500, vrf=VRF.ifname),
        *interface_filters(VNI, ifname),
        Address(vni=VNI, ifname=ifname, address=f"{NEAR[ifname]}/30"),
        Settings(vni=VNI, ifname=ifname),
        AdminUp(vni=VNI, ifname=ifname),
    )


ALL = by_key(
    *host_objects(),
    Namespace(label=OUTSIDE),
    *namespace_sysctls(OUTSIDE),
    *outside_tables(UPLINK, [POOL]),
    AdminUp(netns=OUTSIDE, ifname=LOOPBACK),
    Uplink(ifname="up0"),
    Address(netns=OUTSIDE, ifname="up0", address=UPLINK.address),
    AdminUp(netns=OUTSIDE, ifname="up0"),
    Route(netns=OUTSIDE, table=MAIN_TABLE, dst="0.0.0.0/0", ifname="up0", via=UPLINK.gateway),
    *port_objects(PORT),
    *service_tag_objects(PORT, 300),
    VRF,
    AdminUp(vni=VNI, ifname=VRF.ifname),
    *interface(PLAIN, PORT, 101),
    *interface(STACKED, SERVICE, 5),
    CableEnd(vni=VNI, ifname=INNER, lladdr=THEIRS, mtu=1500, vrf="", peer=OUTER, peer_netns=OUTSIDE),
    CableEnd(netns=OUTSIDE, vni=VNI, ifname=OUTER, lladdr=MAC, mtu=1500, vrf="", peer=INNER, group=OUTSIDE_GROUP),
    AdminUp(vni=VNI, ifname=INNER),
    AdminUp(netns=OUTSIDE, vni=VNI, ifname=OUTER),
    Route(netns=OUTSIDE, vni=VNI, table=MAIN_TABLE, dst=f"{PUBLIC}/32", ifname=OUTER),
)


@pytest.fixture
def kernel() -> Iterator[LinuxKernel]:
    with host(NAME) as kernel:
        os.close(netns.make(SITE))
        try:
            foreigner(f"u-{NAME}", f"link add {PORT} address {MAC} type veth peer name {WIRE} address {THEIRS} netns {SITE}")
            foreigner(f"u-{NAME}", "link add up0 type veth peer name border")
            foreigner(SITE, f"link set {WIRE} up")
            assert [str(failure.error) for failure in kernel.apply(diff(ALL, {}))] == []
            rules = " ".join(f'iifname "{device}" counter;' for device in NEAR)
            # A table of another program, which counts the packets that Linux assigns to the VPC.
            nft(OVERLAY_NAME, f"table inet watch {{ chain c {{ type filter hook prerouting priority -450; {rules} }}; }}")
            wait_for_carrier()
            yield kernel
        finally:
            netns.remove(SITE)


def wait_for_carrier() -> None:
    """Wait until both ends of the wire carry: a worker of the kernel lets a device send only some time after it is up."""
    for name, ifname in ((SITE, WIRE), (OUTSIDE_NAME, PORT)):
        wait_for(partial(carries, name, ifname), f"the carrier of {ifname}")


def carries(name: str, ifname: str) -> bool:
    return " state UP " in foreigner(name, f"link show dev {ifname}")


def nft(name: str, command: str) -> str:
    """Return nft's output in this process: a process for each of many looks would cost more than the packets."""
    with in_node(name):
        context = nftables.Nftables()
        context.set_json_output(True)
        code, printed, error = context.cmd(command)
    assert code == 0, error
    return str(printed)


def seen() -> dict[str, int]:
    """Return the number of IP packets that reached the VPC, by virtual interface."""
    told = json.loads(nft(OVERLAY_NAME, "list table inet watch"))["nftables"]
    rules = [item["rule"]["expr"] for item in told if "rule" in item]
    return {device["match"]["right"]: counted["counter"]["packets"] for device, counted in rules}


def has_seen(device: str, number: int) -> bool:
    return seen()[device] == number


def frame(tags: Tags, ethertype: int, payload: bytes, to: str = MAC) -> bytes:
    heads = b"".join(struct.pack("!HH", kind, number) for kind, number in tags)
    return mac_bytes(to) + mac_bytes(THEIRS) + heads + struct.pack("!H", ethertype) + payload


def echo(destination: str, mark: bytes) -> bytes:
    message = struct.pack("!BBHHH", 8, 0, 0, 1, 1) + mark
    total = sum(struct.unpack(f"!{len(message) // 2}H", message))
    total = (total & 0xFFFF) + (total >> 16)
    checked = message[:2] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + message[4:]
    return ip_packet(f"{destination.rpartition('.')[0]}.2", destination, 1, checked)


def send(tags: Tags, mark: bytes = b"astray") -> None:
    """Send requests that any host that receives them would answer, to every address and to all."""
    for to in (MAC, "ff:ff:ff:ff:ff:ff"):
        for address in (*NEAR.values(), OWN):
            question = arp(1, THEIRS, f"{address.rpartition('.')[0]}.2", "00:00:00:00:00:00", address)
            send_frame(SITE, WIRE, frame(tags, ETH_P_ARP, question, to))
            send_frame(SITE, WIRE, frame(tags, ETH_P_IP, echo(address, mark), to))
        send_frame(SITE, WIRE, frame(tags, ETH_P_IP, udp("192.168.7.7", "10.0.1.5", mark), to))
        send_frame(SITE, WIRE, frame(tags, ETH_P_IP, udp("192.168.7.7", PUBLIC, mark), to))


def send_right(device: str) -> None:
    """Send a packet through a virtual interface and wait for it: all earlier packets were accepted or dropped by then."""
    before = seen()[device]
    send_frame(SITE, WIRE, frame(WAY[device], ETH_P_IP, udp("192.168.7.7", "192.168.8.8", b"right!")))
    wait_for(lambda: seen()[device] == before + 1, f"a packet by {device}")


def answers(wire: PacketListener) -> list[bytes]:
    return [found for found in wire.take() if found[6:12] == mac_bytes(MAC)]


@pytest.mark.parametrize("device", NEAR, ids=["port", "service tag"])
def test_what_comes_by_the_vlan_of_a_virtual_interface_is_taken_and_answered(kernel: LinuxKernel, device: str) -> None:
    address = NEAR[device]
    question = arp(1, THEIRS, f"{address[:-1]}2", "00:00:00:00:00:00", address)
    with PacketListener(SITE, WIRE) as wire:
        send_frame(SITE, WIRE, frame(WAY[device], ETH_P_ARP, question))
        send_frame(SITE, WIRE, frame(WAY[device], ETH_P_IP, echo(address, b"right!")))
        found: list[bytes] = []

        def is_answered() -> bool:
            found.extend(answers(wire))
            return any(b"right!" in each for each in found)

        wait_for(is_answered, "an answer to the echo")
        assert any(arp(2, MAC, address, THEIRS, f"{address[:-1]}2") in each for each in found)
    assert seen()[device] == 1


def test_what_comes_by_another_way_reaches_no_vpc_and_gets_no_answer(kernel: LinuxKernel) -> None:
    with PacketListener(SITE, WIRE) as wire, PacketListener(OVERLAY_NAME, INNER) as cable:
        for number, tags in enumerate(ASTRAY, 1):
            send(tags)
            for device in NEAR:
                send_right(device)
            assert (tags, seen()) == (tags, dict.fromkeys(NEAR, number))
            assert (tags, answers(wire)) == (tags, [])
            assert not cable.hears(b"astray", within_s=0.02), tags


def test_untagged_packets_are_counted_and_no_error_in_another_s_name_passes(kernel: LinuxKernel) -> None:
    """An ICMP error that quotes a packet of a public address passes through the uplink, whatever its source."""
    quoted = udp(PUBLIC, "203.0.113.10", b"astray")
    error = ip_packet("10.1.1.1", PUBLIC, 1, struct.pack("!BBHI", 3, 3, 0, 0) + quoted)
    element = NftElement(netns=OUTSIDE, family="inet", set=PORTS, items=(PORT,))
    with PacketListener(OVERLAY_NAME, INNER) as cable:
        before = kernel.counters()["untagged"]
        send_frame(SITE, WIRE, frame((), ETH_P_IP, error))
        wait_for(lambda: kernel.counters()["untagged"] == before + 1, "the packet was counted")
        assert not cable.hears(b"astray", within_s=0.05)
        assert kernel.apply([Delete(element)]) == []
        foreigner(OUTSIDE_NAME, f"neigh replace {PUBLIC} lladdr {THEIRS} dev {OUTER}")
        send_frame(SITE, WIRE, frame((), ETH_P_IP, error))
        assert cable.hears(b"astray", within_s=5)  # so the port's set is what drops it
        create(kernel, element)


@pytest.mark.parametrize("lower", [PORT, SERVICE], ids=["port", "service tag"])
def test_devices_of_vlan_0_that_somebody_takes_away_or_up_are_put_right(kernel: LinuxKernel, lower: str) -> None:
    first, second = priority_vlan_names(lower)
    foreigner(OUTSIDE_NAME, f"link del {first}")
    foreigner(OUTSIDE_NAME, f"link set {second} up")
    names = {first, second}
    found = kernel.dump()
    up = AdminUp(netns=OUTSIDE, ifname=second)
    assert up.key in found
    actual = {key: obj for key, obj in found.items() if key in ALL or getattr(obj, "ifname", "") in names}
    wanted = {key: obj for key, obj in ALL.items() if key in actual or isinstance(obj, Rooted)}
    ops = diff(wanted, {key: obj for key, obj in actual.items() if not isinstance(obj, Settings) or key in wanted})
    assert {Delete(up), Create(ALL["link", OUTSIDE, first])} <= set(ops)
    assert kernel.apply(ops) == []
    assert up.key not in kernel.dump()
    send(((C, 0), *WAY[PLAIN]))
    send(((S, 300), (C, 0), (C, 5)))
    for device in NEAR:
        send_right(device)
    assert seen() == dict.fromkeys(NEAR, 1)


def test_a_port_says_nothing_by_itself(kernel: LinuxKernel) -> None:
    with PacketListener(SITE, WIRE) as wire:
        for command in ("down", "up"):
            foreigner(OUTSIDE_NAME, f"link set {PORT} {command}")
        wait_for_carrier()
        for device in NEAR:
            send_right(device)
        assert answers(wire) == []


def test_each_guard_is_needed(kernel: LinuxKernel) -> None:
    """Linux by itself removes a tag of VLAN 0, outer or inner, and continues with the next header."""
    filters = [obj for obj in ALL.values() if isinstance(obj, TcFilter)]
    devices = [ALL["link", OUTSIDE, name] for lower in (PORT, SERVICE) for name in priority_vlan_names(lower)]
    assert kernel.apply([Delete(obj) for obj in (*filters, *devices)]) == []
    ways: dict[str, list[Tags]] = {
        PLAIN: [((C, 0), (C, 101)), ((S, 0), (C, 101)), ((C, 101), (C, 0))],
        STACKED: [((S, 300), (C, 0), (C, 5)), ((S, 300), (C, 5), (S, 0))],
    }
    for device, hidden in ways.items():
        for number, tags in enumerate(hidden, 1):
            send_frame(SITE, WIRE, frame(tags, ETH_P_IP, udp("192.168.7.7", "10.0.1.5", b"astray")))
            wait_for(partial(has_seen, device, number), f"a packet by {tags}")
