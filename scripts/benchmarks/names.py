"""DNS answers to a VPC's instance against the same resolver process asked without netorch: a second, latency, CPU.

The agent is stopped meanwhile, and the process gets one more socket, on loopback: the same work for the same names, without
the instance's port, its chains and the VRF. Everything runs in the lab kernel, whose one processor client and process share. A
round has fewer questions than the process's and the interface's allowances let pass.
"""

from __future__ import annotations

import os
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import dns.message
from common import Figure, best_in_turns, show

from netorch.lab.kernel import run_in_kernel

sys.path.insert(0, str(Path(__file__).parents[2]))  # for tests, whose small cloud is used

from netorch.drivers import netns
from netorch.drivers.services.control import Control
from netorch.drivers.services.driver import services_directory
from netorch.model.services.near import RESOLVER
from netorch.state.base import UNDERLAY
from netorch.state.daemons.services.names import DNS_PORT, NameListener
from tests.rig.world import World

MEMORY_MB: Final = 1_000
QUESTIONS: Final = 128  # in a round
ROUNDS: Final = 5
PAUSE_S: Final = 0.3  # before a round: the allowances count the questions of a quarter of a second
LOOPBACK: Final = "127.0.0.1"
RECORDS: Final = 800
CLOUD: Final = """
vpcs:
- name: acme
  cidrs: [10.0.0.0/16]
  enable_dns_hostnames: true
  subnets: [{name: app, cidr: 10.0.1.0/24}]
  instances: [{name: a, host: hv1, address: 10.0.1.5}]
private_zones:
- name: corp.example
  vpcs: [acme]
  records:
"""
NAMES: Final = {
    "address": "ip-10-0-1-9.compute.internal",
    f"zone of {RECORDS} record sets": "host-99.corp.example",
    "unknown name of it": "nothing.corp.example",
}


class Way:
    """A socket connected to the resolver."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        sock.settimeout(5.0)

    def one_by_one(self, question: bytes) -> list[float]:
        """Return the seconds of each answer in a round."""
        taken = []
        for _ in range(QUESTIONS):
            begin = time.perf_counter()
            self._sock.send(question)
            self._sock.recv(4096)
            taken.append(time.perf_counter() - begin)
        return taken

    def at_once(self, question: bytes) -> None:
        """Ask all questions of a round, then take the answers."""
        for _ in range(QUESTIONS):
            self._sock.send(question)
        for _ in range(QUESTIONS):
            self._sock.recv(4096)


def cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def speed(pid: int, ways: dict[str, Way]) -> Iterator[Figure]:
    """Yield the cost of answers."""
    for what, name in NAMES.items():
        question = dns.message.make_query(name, "A").to_wire()
        latency = {way: statistics.median(ways[way].one_by_one(question)) for way in ways}
        before = cpu_s(pid)
        actions: dict[str, Callable[[], object]] = {way: partial(ways[way].at_once, question) for way in ways}
        taken = dict.fromkeys(ways, float("inf"))
        for _ in range(ROUNDS):
            time.sleep(PAUSE_S)
            taken = {way: min(taken[way], found) for way, found in best_in_turns(actions, 1).items()}
        cpu = (cpu_s(pid) - before) / (ROUNDS * QUESTIONS * len(ways))
        note = f"{QUESTIONS / taken['instance']:,.0f} a second, direct {QUESTIONS / taken['direct']:,.0f}"
        yield Figure(name=f"{what}: answers", value=taken["direct"] / taken["instance"], unit="of direct", note=note)
        added = (latency["instance"] - latency["direct"]) * 1e3
        yield Figure(
            name=f"{what}: added latency", value=added, unit="ms", note=f"median; direct {latency['direct'] * 1e3:.2f} ms"
        )
        yield Figure(name=f"{what}: CPU of the process", value=cpu * 1e3, unit="ms an answer")


@contextmanager
def served() -> Iterator[tuple[int, dict[str, Way]]]:
    """Run a host with an instance; yield the PID of the resolver's process, and the ways to it."""
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        world = World(Path(directory), ("hv1",), serves=True)
        stack.callback(world.close)
        world.start_agents()
        records = (f"  - {{name: host-{k}, type: A, values: [10.0.1.{k % 250}]}}\n" for k in range(RECORDS))
        world.apply(CLOUD + "".join(records))
        world.settle()
        instance = netns.find(world.instance("acme/a").id)
        stack.callback(os.close, instance)
        with netns.inside(instance):
            inside = stack.enter_context(closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)))
        inside.connect((RESOLVER, DNS_PORT))
        world.stop_agent("hv1")
        vni = world.vpc("acme").vni
        udp = stack.enter_context(closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)))
        udp.bind((LOOPBACK, 0))
        tcp = stack.enter_context(closing(socket.create_server((LOOPBACK, 0))))
        with Control(services_directory("hv1", UNDERLAY) / "control", 10.0) as control:
            control.greet()
            control.put(NameListener(vni=vni, ifname="lo", addresses=(LOOPBACK,)), [udp, tcp])
            pid = control.pid()
        direct = stack.enter_context(closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)))
        direct.connect(udp.getsockname())
        yield pid, {"direct": Way(direct), "instance": Way(inside)}


def main(arguments: Sequence[str]) -> int:
    """Run this file in the lab kernel, or the part for this process."""
    if list(arguments) != ["--inside"]:
        return run_in_kernel([sys.executable, __file__, "--inside"], memory_mb=MEMORY_MB)
    with served() as (pid, ways):
        return int(show("names", list(speed(pid, ways))) > 0)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
