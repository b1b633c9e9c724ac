"""Speed of packets through a tunnel, from the sender to the point of decryption, by netorch's edge and by hand-made ones.

    hv1 eth0 --- eth0 e1 out0 --- eth0 net lan0 --- lan1 lan

The customer's device in `net` and the hypervisor are the same for all edges, on the same processor. For the edge's share, their
cost and the sender's is measured separately and subtracted: then frames are dropped where the edge would receive them, and the
edge's packets are dropped on receipt.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from enum import Enum
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec
from common import Figure
from datapath_vm.topologies import clear, ip, run
from datapath_vm.traffic import FOREIGN_MAC, generate
from edge_parts.hand import forwarding
from edge_parts.records import FIRST_VNI, HYPERVISOR, INSTANCE, VTEPS, fill, put
from edge_parts.wires import EDGE, INSTANCE_MAC, MACS, NET, UPLINK, neighbour, wire

from netorch.agent.loop import Agent
from netorch.agent.snapshot import SnapshotFile
from netorch.compiler.registry import load_compilers
from netorch.drivers import netns
from netorch.drivers.charon.driver import Charon
from netorch.drivers.daemons.sealing import EdgeKey
from netorch.drivers.linux import LinuxKernel
from netorch.model.outside.vpn import DpdAction
from netorch.model.routing.next_hop import gateway_mac
from netorch.state.base import OUTSIDE
from netorch.state.op import Create
from netorch.state.owner import netns_name
from netorch.store import open_store
from netorch.store.base import Delete
from tunnel_parts import hand
from tunnel_parts.ike import ike
from tunnel_parts.records import (
    OPTIONS,
    connection,
    connection_key,
    private_gateway,
    private_gateway_of,
)

ROUNDS: Final = 3  # each round builds all edges
RUNS: Final = 3
PACKETS: Final = 10_000
SIZE: Final = 1_400  # bytes of a frame
GOAL: Final = 0.97
PATIENCE_S: Final = 60.0
POLL_S: Final = 0.005
LATE_S: Final = 5.0  # for packets under way when the generator has ended
LAN: Final = "lan"
SERVER: Final = "10.44.0.9"
LAN_MAC: Final = "02:00:00:00:04:01"
EDGE_ADDRESS: Final = UPLINK.address.partition("/")[0]
_QUIET: Final = msgspec.structs.replace(OPTIONS, dpd_action=DpdAction.NONE)  # there are no answers while frames are dropped


class Way(Enum):
    """The direction of packets."""

    OUT = "VPC to site"
    IN = "site to VPC"


Costs = dict[tuple[str, str, Way], float]  # nanoseconds a packet, by kind of cost, edge and direction


def measure(directory: Path) -> list[Figure]:
    """Build all edges in turns; return how netorch's edge compares in each direction, by the best of all runs."""
    Path("/proc/sys/net/core/netdev_max_backlog").write_text(f"{4 * PACKETS}")  # the sender is faster than the edge
    best: Costs = {}
    edges: dict[str, Callable[[Path], AbstractContextManager[str]]] = {
        "together": partial(_by_hand, EDGE),
        "apart": partial(_by_hand, "out"),
        "netorch": _netorch,
    }
    for number in range(ROUNDS):
        for name, edge in edges.items():
            place = directory / f"s{number}{name}"
            place.mkdir()
            with edge(place) as outside:
                _note(best, ("whole", name, Way.OUT), _least(Way.OUT, (LAN, "lan1")))
                _deafen(outside)
                for way, receiver in ((Way.OUT, (NET, "eth0")), (Way.IN, (HYPERVISOR, "eth0"))):
                    _note(best, ("edge", name, way), _least(way, receiver))
                if name == "together":
                    for way in Way:
                        _note(best, ("ends", "", way), _least_of_ends(way, outside))
            clear()
    return [figure for way in Way for figure in _figures(best, way)]


def _figures(best: Costs, way: Way) -> Iterator[Figure]:
    """Yield the figures of a direction, from sender to receiver and for the edge alone."""
    whole = {name: best["whole" if way is Way.OUT else "edge", name, way] for name in ("apart", "together", "netorch")}
    share = {name: best["edge", name, way] - best["ends", "", way] for name in whole}
    for title, cost, goal in (("throughput", whole, GOAL), ("the edge alone", share, None)):
        own = cost["netorch"]
        for name in ("apart", "together"):
            words = "namespaces" if name == "apart" else "all"
            note = f"{cost[name] / 1e3:.1f} : {own / 1e3:.1f} us a packet, {SIZE * 8e3 / own:,.0f} Mbit/s"
            figure = Figure(name=f"{way.value}, {title} : by hand, {words} {name}", value=cost[name] / own, digits=3, note=note)
            yield msgspec.structs.replace(figure, goal=goal if name == "apart" else None, at_least=True)


def _note(best: Costs, key: tuple[str, str, Way], value: float) -> None:
    best[key] = min(best.get(key, math.inf), value)


def _least(way: Way, receiver: tuple[str, str]) -> float:
    return min(_send(way, receiver) for _ in range(RUNS))


def _least_of_ends(way: Way, outside: str) -> float:
    """Return the least cost of packets that the edge's device drops."""
    place, address, device, mac, receiver = (
        (HYPERVISOR, VTEPS[EDGE], "eth0", MACS[EDGE], (EDGE, "eth0"))
        if way is Way.OUT
        else (NET, EDGE_ADDRESS, "eth0", MACS["out0"], (outside, "out0"))
    )
    ip(place, neighbour(address, FOREIGN_MAC, device))
    value = min(_send(way, receiver) for _ in range(RUNS))
    ip(place, neighbour(address, mac, device))
    return value


def _send(way: Way, receiver: tuple[str, str], count: int = PACKETS) -> float:
    """Send packets; return the nanoseconds per packet from the first arrival on. Raises RuntimeError when packets are lost."""
    sender, device, source, target, mac, port_mac = (
        (HYPERVISOR, "vx0", INSTANCE, SERVER, gateway_mac(private_gateway_of(FIRST_VNI)), INSTANCE_MAC)
        if way is Way.OUT
        else (LAN, "lan1", SERVER, INSTANCE, LAN_MAC, FOREIGN_MAC)
    )
    settings = (
        *(f"pkt_size {SIZE}", f"src_mac {port_mac}", f"dst_mac {mac}"),
        *(f"src_min {source}", f"src_max {source}", f"dst_min {target}", f"dst_max {target}"),
        *("udp_src_min 8000", "udp_src_max 8000", "udp_dst_min 9", "udp_dst_max 9"),
    )
    with Arrivals(receiver, count) as arrivals:
        generate(sender, device, count, *settings)
    if arrivals.found < count:
        raise RuntimeError(f"tunnels: only {arrivals.found} of {count} packets arrived, {way.value}")
    return arrivals.nanoseconds


class Arrivals:
    """Counts and times the frames that a device receives while a `with` block runs and up to 5 s longer.

    The packet generator takes a third of a second to start and to end, so its caller cannot time the frames.
    """

    def __init__(self, receiver: tuple[str, str], count: int) -> None:
        self.found = 0
        self.nanoseconds = math.inf  # per packet
        self._device, self._count = receiver[1], count
        descriptor = netns.find(receiver[0])
        with netns.inside(descriptor):
            self._file = os.open("/proc/self/net/dev", os.O_RDONLY)  # shows this namespace, whichever namespace the reader is in
        os.close(descriptor)
        self._before = self._read()
        self._sent = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._sent.set()
        self._thread.join()
        os.close(self._file)

    def _watch(self) -> None:
        first, begin, over = 0, 0, math.inf
        while self.found < self._count and time.monotonic() < over:
            time.sleep(POLL_S)
            now, self.found = time.perf_counter_ns(), self._read() - self._before
            if not first and self.found:
                first, begin = self.found, now
            if self._sent.is_set():
                over = min(over, time.monotonic() + LATE_S)
        if self.found > first:
            self.nanoseconds = (now - begin) / (self.found - first)

    def _read(self) -> int:
        lines = os.pread(self._file, 1 << 16, 0).decode().splitlines()
        (line,) = (line for line in lines if line.strip().startswith(f"{self._device}:"))
        return int(line.split(":")[1].split()[1])


@contextmanager
def _by_hand(outside: str, directory: Path) -> Iterator[str]:
    """Build the edge by hand and bring its tunnel up; yield the namespace of its uplink."""
    charon = hand.build(directory / "charon", outside)
    with _device(directory):
        _wait_passing(lambda: None)
        yield outside
    charon.kill()
    charon.wait()


@contextmanager
def _netorch(directory: Path) -> Iterator[str]:
    """Let netorch build the edge and bring its tunnel up; yield the namespace of its uplink."""
    wire(FIRST_VNI)
    path, key = str(directory / "netorch.db"), EdgeKey(directory / "e1.key")
    store = open_store(path, create=True)
    fill(store, 1)
    put(store, private_gateway(FIRST_VNI))
    put(store, connection(FIRST_VNI, 1, UPLINK.gateway, key.public, static=True, options=_QUIET))
    descriptor = netns.find(EDGE)
    with netns.inside(descriptor):
        kernel = LinuxKernel(EDGE, key)
    os.close(descriptor)
    agent = Agent(EDGE, kernel, lambda: open_store(path), SnapshotFile(directory / EDGE), load_compilers())
    agent.start()
    agent.records.set_silent(frozenset())  # soon after its start an edge is ready and active, also in its own agent's view
    agent.records.set_standby(frozenset())
    agent.turn()
    if agent.reconciler.problems:
        raise RuntimeError(f"agent of {EDGE}: {agent.reconciler.problems}")
    with _device(directory):
        _wait_passing(lambda: agent.step(0.1))
        yield netns_name(EDGE, OUTSIDE)
    store.txn((), [Delete(connection_key(FIRST_VNI, 1))])
    agent.turn()  # ends its charon
    agent.close()
    store.close()


def _wait_passing(act: Callable[[], object]) -> None:
    """Wait until packets pass in both directions."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        act()
        try:
            for way, receiver in ((Way.OUT, (LAN, "lan1")), (Way.IN, (HYPERVISOR, "eth0"))):
                _send(way, receiver, 10)
        except RuntimeError:
            if time.monotonic() > deadline:
                raise
        else:
            return


def _deafen(outside: str) -> None:
    """Let the customer's device drop the edge's packets as soon as it receives them."""
    ip(outside, neighbour(UPLINK.gateway, FOREIGN_MAC, UPLINK.device))


@contextmanager
def _device(directory: Path) -> Iterator[None]:
    """Let the customer's device initiate the tunnel, with a route to the VPC."""
    run("ip", "netns", "add", LAN)
    run(*f"ip link add lan0 netns {NET} address {LAN_MAC} type veth peer lan1 netns {LAN}".split())
    key = EdgeKey(directory / "device.key")
    end = ike(0, UPLINK.gateway, EDGE_ADDRESS, key.public, initiates=True)
    end = msgspec.structs.replace(end, dpd_action=DpdAction.NONE.value)
    ip(LAN, "link set lan1 addrgenmode none up")
    ip(
        NET,
        f"addr add {UPLINK.gateway}/24 dev eth0",
        neighbour(EDGE_ADDRESS, MACS["out0"], "eth0"),
        "link set lan0 addrgenmode none up",
        f"route add {SERVER}/32 dev lan0",
        neighbour(SERVER, FOREIGN_MAC, "lan0"),
        f"link add site0 mtu 1446 type xfrm if_id {end.if_id}",
        "link set site0 addrgenmode none up",
        "route add 10.0.0.0/16 dev site0",
    )
    forwarding(NET)
    run("bridge", "-n", HYPERVISOR, *_fdb())
    descriptor = netns.find(NET)
    charon = Charon(OUTSIDE, descriptor, directory / "device", key)
    try:
        failures = charon.apply([Create(end)])
        if failures:
            raise RuntimeError(f"tunnels: the device's charon: {failures[0].error}")
        yield
    finally:
        charon.stop()
        charon.close()
        os.close(descriptor)


def _fdb() -> list[str]:
    mac = gateway_mac(private_gateway_of(FIRST_VNI))
    return f"fdb replace {mac} dev vx0 dst {VTEPS[EDGE]} self permanent".split()
