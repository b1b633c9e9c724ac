"""One-way traffic between instances by the kernel's packet generator."""

from __future__ import annotations

import os
import re
import socket
import struct
import time
from enum import Enum
from pathlib import Path

from datapath_vm.topologies import SIDES, Side, ip
from netorch.drivers import netns
from netorch.state.owner import overlay_netns

PKTGEN = Path("/proc/self/net/pktgen")  # of the namespace of this process
PORT = 9
SETTINGS = ("pkt_size 60", "delay 0")  # 60 bytes and a checksum: 64
SETTINGS6 = ("pkt_size 78",)  # the generator's least for IPv6
FOREIGN_MAC = "02:00:00:00:ff:ff"
FORGED = "10.44.12.77"
SOURCE = 1000
NEW_SOURCE = 2000  # the first; each packet takes the next one
REFUSED_PORT = 10
_SO_RCVBUFFORCE = 33  # asm-generic/socket.h
_FLUSH = struct.pack("=IHHIIBBH", 20, 1 << 8 | 2, 1, 0, 0, socket.AF_UNSPEC, 0, 0)  # CTNETLINK, DELETE of everything, REQUEST


ASSURED_S = 2.1  # the kernel takes UDP for a stream if it is still answered two seconds after its first answer
# Packets that are sent at once when each must arrive: half of what may wait for a processor (net.core.netdev_max_backlog). Where
# receiving them takes longer than sending them, the rest would be lost. Smaller batches take too long: the generator waits an
# eighth of a second after each, and flows that see no packet end after 30 s.
BATCH = 500
ARRIVAL_S = 10.0


class Flow(Enum):
    """The state of the sent packets' connections."""

    ANSWERED = "answered"  # one connection, which has seen an answer
    ONE_WAY = "one way"  # one connection without answers
    NEW = "new"  # each packet is the first of its connection
    LASTING = "lasting"  # connections that have been answered for two seconds: flowtables forward them, where rules let them


EVALUATED = (Flow.ANSWERED, Flow.ONE_WAY, Flow.NEW)  # each packet passes the chains


def deafen_receiver() -> None:
    """Give the receiver another MAC, so that its device counts and drops arriving frames, and nothing answers."""
    receiver = SIDES[1].instance
    ip(receiver, "link set eth0 down", f"link set eth0 address {FOREIGN_MAC}", "link set eth0 up")


def send(
    count: int,
    dst_mac: str,
    *,
    ends: tuple[Side, Side] = (SIDES[0], SIDES[1]),
    source: str = "",
    ports: tuple[int, int] = (SOURCE, PORT),
    flows: int = 1,
    version: int = 4,
) -> float:
    """Send packets and return the nanoseconds per packet. Ports of the initiator, SOURCE and above, take turns in `flows`."""
    sender, receiver = ends
    if version == 4:
        source = source or sender.address
        addresses: tuple[str, ...] = (
            f"src_min {source}",
            f"src_max {source}",
            f"dst_min {receiver.address}",
            f"dst_max {receiver.address}",
        )
    else:
        addresses = (*SETTINGS6, f"src6 {sender.ipv6_address}", f"dst6 {receiver.ipv6_address}")
    spans = [(port, port + flows if port >= SOURCE and flows > 1 else port) for port in ports]
    return generate(
        sender.instance,
        "eth0",
        count,
        f"src_mac {sender.mac}",
        f"dst_mac {dst_mac}",
        *addresses,
        *(f"udp_{which}_min {first}" for which, (first, _) in zip(("src", "dst"), spans, strict=True)),
        *(f"udp_{which}_max {last}" for which, (_, last) in zip(("src", "dst"), spans, strict=True)),
    )


def generate(namespace: str, device: str, count: int, *settings: str) -> float:
    """Send packets from a device with these pktgen settings; return the nanoseconds per packet. Raises RuntimeError."""
    descriptor = netns.find(namespace)
    with netns.inside(descriptor):
        (PKTGEN / "kpktgend_0").write_text("rem_device_all\n")
        (PKTGEN / "kpktgend_0").write_text(f"add_device {device}\n")
        for line in (*SETTINGS, f"count {count}", *settings):
            (PKTGEN / device).write_text(f"{line}\n")
        (PKTGEN / "pgctrl").write_text("start\n")
        # The write returns before the generator's thread runs if the thread gets no processor within an eighth of a second.
        for _ in range(100):
            result = (PKTGEN / device).read_text()
            match = re.search(r"OK: (\d+)\(", result)
            if match is not None:
                break
            time.sleep(0.1)
    os.close(descriptor)
    if match is None:
        raise RuntimeError(f"pktgen: it did not send; it said: {result}")
    return int(match[1]) * 1000 / count


def received(side: Side = SIDES[1]) -> int:
    """Return how many frames an instance's device has counted."""
    return frames_at(side.instance, "eth0")


def frames_at(namespace: str, device: str) -> int:
    """Return how many frames a device has received."""
    descriptor = netns.find(namespace)
    with netns.inside(descriptor):
        lines = Path("/proc/self/net/dev").read_text().splitlines()
    os.close(descriptor)
    (line,) = (line for line in lines if line.strip().startswith(f"{device}:"))
    return int(line.split(":")[1].split()[1])


def forget_flows(*namespaces: str) -> None:
    """Delete the connections of the namespaces, or of both overlays if none is named."""
    for name in namespaces or [overlay_netns(side.host) for side in SIDES]:
        descriptor = netns.find(name)
        with netns.inside(descriptor), socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) as netfilter:
            netfilter.send(_FLUSH)
        os.close(descriptor)


def begin(flow: Flow, dst_mac: str, *, flows: int = 1, version: int = 4) -> None:
    """Prepare the connections for a kind of flow. Raises RuntimeError when no answer arrives."""
    forget_flows()
    if flow in (Flow.ANSWERED, Flow.LASTING):
        _talk(dst_mac, flows, version)
    if flow is Flow.LASTING:
        time.sleep(ASSURED_S)
        for _ in range(2):
            _talk(dst_mac, flows, version)


def _talk(dst_mac: str, flows: int, version: int) -> None:
    """Send a packet and an answer of each connection."""
    sender, receiver = SIDES
    for first in range(SOURCE, SOURCE + flows, BATCH):
        count = min(BATCH, SOURCE + flows - first)
        _send_all(count, dst_mac, (sender, receiver), (first, PORT), version)
        _send_all(count, dst_mac, (receiver, sender), (PORT, first), version)


def _send_all(count: int, dst_mac: str, ends: tuple[Side, Side], ports: tuple[int, int], version: int) -> None:
    """Send a packet of each connection and wait until all have arrived. Raises RuntimeError."""
    before = received(ends[1])
    send(count, dst_mac, ends=ends, ports=ports, flows=count, version=version)
    end = time.monotonic() + ARRIVAL_S
    while received(ends[1]) < before + count:  # not `!=`: the router also resolves addresses
        if time.monotonic() > end:
            raise RuntimeError(f"datapath: of {count} packets to ports {ports} {received(ends[1]) - before} arrived")
        time.sleep(0.01)


def memory_of_flows(flow: Flow, dst_mac: str, flows: int) -> float:
    """Return the bytes of kernel memory that a host takes for each of many connections of a kind."""
    forget_flows()
    time.sleep(ASSURED_S)  # memory of deleted connections is freed a moment later
    before = _slab()
    begin(flow, dst_mac, flows=flows)
    return (_slab() - before) / flows / len(SIDES)


def _slab() -> int:
    """Return the bytes in the kernel's allocator of small objects."""
    (line,) = (line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("Slab:"))
    return int(line.split()[1]) << 10


def shuffle_slabs(number: int, namespace: str = SIDES[0].host) -> None:
    """Allocate and free buffers of packet sizes, in other numbers before each run.

    A packet costs some 300 instructions more if each allocation happens to cross the border of a slab in the kernel's allocator
    (SLUB). That state lasts until something else allocates, and is not part of the measurement.
    """
    descriptor = netns.find(namespace)
    with netns.inside(descriptor), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as queue:
        queue.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 20)
        queue.bind(("127.0.0.1", 0))
        for size in (60, 400, 900):
            for _ in range(20 + 7 * number % 32):
                queue.sendto(bytes(size), queue.getsockname())
    os.close(descriptor)


def measure(dst_mac: str, count: int, runs: int, flow: Flow | None = None, *, flows: int = 1, version: int = 4) -> list[float]:
    """Return the nanoseconds per packet of several runs. Raises RuntimeError when too few runs lose no packet."""
    send(count // 4, dst_mac, version=version)
    values: list[float] = []
    for number in range(3 * runs):
        if flow is not None:
            begin(flow, dst_mac, flows=flows, version=version)
        before = received()
        shuffle_slabs(number)
        if flow is Flow.NEW:
            value = send(count, dst_mac, ports=(NEW_SOURCE, PORT), flows=count, version=version)
        else:
            value = send(count, dst_mac, flows=flows, version=version)
        if received() - before == count:  # otherwise the queue before the receiver overflowed
            values.append(value)
        if len(values) == runs:
            return values
    raise RuntimeError(f"datapath: only {len(values)} of {3 * runs} runs brought all {count} packets to the receiver")


def check_spoofing(dst_mac: str) -> None:
    """Raise RuntimeError if packets with a forged source arrive."""
    _check_nothing_arrives(dst_mac, "with a forged source", source=FORGED)


def check_drop(dst_mac: str) -> None:
    """Raise RuntimeError if packets that no rule permits arrive."""
    _check_nothing_arrives(dst_mac, "that no rule permits", port=REFUSED_PORT)


def _check_nothing_arrives(dst_mac: str, what: str, source: str = "", port: int = PORT) -> None:
    before = received()
    send(100, dst_mac, source=source, ports=(SOURCE, port))
    if received() != before:
        raise RuntimeError(f"datapath: {received() - before} of 100 packets {what} arrived")
