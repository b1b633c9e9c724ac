"""An edge between a hypervisor and the internet, and one-way packets through the edge, by the kernel's packet generator.

    hv1 eth0 --- eth0 e1 out0 --- eth0 net

The hypervisor's VXLAN device and both receivers are hand-made and the same for every edge. The edge knows the receivers under
another MAC than they have: they count and drop arriving frames at once, and nothing answers.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from ipaddress import ip_address
from typing import Final

import msgspec
from datapath_vm.topologies import ip, run
from datapath_vm.traffic import FOREIGN_MAC, frames_at, generate, shuffle_slabs

from edge_parts.records import EDGES, HYPERVISOR, INSTANCE, PUBLIC, UPLINKS, VTEPS, gateway_of, nat_of
from netorch.drivers import netns
from netorch.model.routing.next_hop import gateway_mac

EDGE: Final = EDGES[0]
NET: Final = "net"
UPLINK: Final = UPLINKS[EDGE]
SERVER: Final = "203.0.113.10"
MACS: Final = {HYPERVISOR: "02:00:00:00:00:01", EDGE: "02:00:00:00:00:02", "out0": "02:00:00:00:00:03", NET: "02:00:00:00:00:04"}
INSTANCE_MAC: Final = "02:00:00:00:01:05"
INSTANCE_PORT: Final = 8000  # a port that a NAT gateway keeps
SERVER_PORT: Final = 9
_ETH_P_ALL: Final = 3


class Way(Enum):
    """The direction of packets through an edge."""

    OUT = "out"
    IN = "in"


class Ends(msgspec.Struct, frozen=True, kw_only=True):
    """The sender and the receiver of packets in one direction, and the packets' contents."""

    sender: tuple[str, str]  # namespace and device
    receiver: tuple[str, str]
    sender_mac: str
    edge_mac: str  # destination of the frames
    source: str
    destination: str
    ports: tuple[int, int]  # source (or the first one when each packet opens a connection), destination
    translated: str  # the address that arriving packets must contain


def ends(way: Way, gateway: str, private: str = INSTANCE, public: str = PUBLIC) -> Ends:
    """Return the ends of a way through a gateway with this id, between the internet and an instance with these addresses."""
    if way is Way.OUT:
        return Ends(
            sender=(HYPERVISOR, "vx0"),
            receiver=(NET, "eth0"),
            sender_mac=INSTANCE_MAC,
            edge_mac=gateway_mac(gateway),
            source=private,
            destination=SERVER,
            ports=(INSTANCE_PORT, SERVER_PORT),
            translated=public,
        )
    return Ends(
        sender=(NET, "eth0"),
        receiver=(HYPERVISOR, "eth0"),
        sender_mac=MACS[NET],
        edge_mac=MACS["out0"],
        source=SERVER,
        destination=public,
        ports=(SERVER_PORT, INSTANCE_PORT),
        translated=private,
    )


def wire(vni: int) -> None:
    """Make the three namespaces, and the hypervisor's VXLAN device for a VPC."""
    for name in (HYPERVISOR, EDGE, NET):
        run("ip", "netns", "add", name)
        ip(name, "link set lo up")
    hypervisor, edge = VTEPS[HYPERVISOR], VTEPS[EDGE]
    pair = "eth0 netns {} mtu 1550 address {} type veth peer eth0 netns {} mtu 1550 address {}"
    run(*f"ip link add {pair.format(HYPERVISOR, MACS[HYPERVISOR], EDGE, MACS[EDGE])}".split())
    run(*f"ip link add out0 netns {EDGE} address {MACS['out0']} type veth peer eth0 netns {NET} address {MACS[NET]}".split())
    for name, vtep in ((HYPERVISOR, hypervisor), (EDGE, edge)):
        ip(name, f"addr add {vtep}/24 dev eth0", "link set eth0 addrgenmode none up")
    ip(EDGE, "link set out0 addrgenmode none", neighbour(hypervisor, FOREIGN_MAC, "eth0"))
    ip(NET, "link set eth0 addrgenmode none up")
    ip(HYPERVISOR, neighbour(edge, MACS[EDGE], "eth0"))
    tunnel(vni)


def tunnel(vni: int) -> None:
    """Replace the hypervisor's VXLAN device by that of a VPC, with FDB entries for the VPC's gateways."""
    hypervisor, edge = VTEPS[HYPERVISOR], VTEPS[EDGE]
    subprocess.run(["ip", "-n", HYPERVISOR, "link", "delete", "vx0"], stderr=subprocess.DEVNULL, check=False)
    ip(
        HYPERVISOR,
        f"link add vx0 mtu 1500 type vxlan id {vni} dstport 4789 local {hypervisor} nolearning",
        "link set vx0 addrgenmode none up",
    )
    for gateway in (gateway_of(vni), nat_of(vni)):
        run(*f"bridge -n {HYPERVISOR} fdb add {gateway_mac(gateway)} dev vx0 dst {edge} self permanent".split())


def neighbour(address: str, mac: str, device: str) -> str:
    """Return the `ip` line that makes a permanent neighbour."""
    return f"neigh replace {address} lladdr {mac} dev {device} nud permanent"


def send(count: int, found: Ends, *, source: str = "", each_new: bool = False) -> float:
    """Send packets one way and return the nanoseconds per packet. `each_new` takes a higher source port for each."""
    source = source or found.source
    first, port = found.ports
    last = first + count if each_new else first
    return generate(
        *found.sender,
        count,
        f"src_mac {found.sender_mac}",
        f"dst_mac {found.edge_mac}",
        *(f"src_min {source}", f"src_max {source}", f"dst_min {found.destination}", f"dst_max {found.destination}"),
        *(f"udp_src_min {first}", f"udp_src_max {last}", f"udp_dst_min {port}", f"udp_dst_max {port}"),
    )


def measure(found: Ends, count: int, runs: int, forget: Callable[[], object] | None = None) -> list[float]:
    """Return the nanoseconds per packet of several runs. Raises RuntimeError when too few runs lose no packet.

    With `forget`, which deletes the edge's connections before each run, each packet is the first of its connection.
    """
    send(count // 4, found, each_new=forget is not None)
    values: list[float] = []
    for number in range(3 * runs):
        if forget is not None:
            forget()
        before = frames_at(*found.receiver)
        shuffle_slabs(number, HYPERVISOR)
        value = send(count, found, each_new=forget is not None)
        if frames_at(*found.receiver) - before == count:  # otherwise a queue on the way overflowed
            values.append(value)
        if len(values) == runs:
            return values
    raise RuntimeError(f"edge: only {len(values)} of {3 * runs} runs brought all {count} packets to {found.receiver[0]}")


def measure_ends(way: Way, gateway: str, count: int, runs: int) -> list[float]:
    """Return the same for packets with another MAC, which the edge drops as soon as it receives their frames."""
    found = ends(way, gateway)
    if way is Way.IN:
        return measure(msgspec.structs.replace(found, edge_mac=FOREIGN_MAC, receiver=(EDGE, "out0")), count, runs)
    ip(HYPERVISOR, neighbour(VTEPS[EDGE], FOREIGN_MAC, "eth0"))
    values = measure(msgspec.structs.replace(found, receiver=(EDGE, "eth0")), count, runs)
    ip(HYPERVISOR, neighbour(VTEPS[EDGE], MACS[EDGE], "eth0"))
    return values


def check(found: Ends) -> None:
    """Raise RuntimeError unless a packet arrives translated and most packets with a forged source do not arrive."""
    with _listening(*found.receiver) as listener:
        send(1, found)
        try:
            while ip_address(found.translated).packed not in listener.recv(2048):
                pass  # the kernel sends frames of its own now and then
        except TimeoutError:
            raise RuntimeError(f"edge: nothing arrived at {found.receiver[0]} that bears {found.translated}") from None
    before = frames_at(*found.receiver)
    send(100, found, source="10.0.200.77")
    arrived = frames_at(*found.receiver) - before
    if arrived > 50:
        raise RuntimeError(f"edge: {arrived} of 100 packets with a forged source arrived at {found.receiver[0]}")


@contextmanager
def _listening(namespace: str, device: str) -> Iterator[socket.socket]:
    descriptor = netns.find(namespace)
    with netns.inside(descriptor):
        listener = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
    os.close(descriptor)
    with listener:
        listener.bind((device, _ETH_P_ALL))
        listener.settimeout(5.0)
        yield listener
