"""One VPC fills a host's connection table with real packets; other VPCs and its own existing connections are not affected."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from netorch.control.views.health import HostHealth, read_health
from netorch.diagnose.flows import Wanted, Watcher
from netorch.diagnose.trace import trace
from netorch.drivers import netns
from netorch.drivers.linux import LinuxKernel
from netorch.model.status import AgentStatus
from netorch.records.caller import Caller
from netorch.state.base import OVERLAY
from netorch.store import open_store
from netorch.trace.codes import Code
from tests.rig.agents import AgentProcess
from tests.rig.world import World, wait_for

pytestmark = [pytest.mark.root, pytest.mark.slow]

CLOUD = """
vpcs:
- name: greedy
  cidrs: [10.44.0.0/16]
  subnets: [{name: app, cidr: 10.44.12.0/24}]
  instances:
  - {name: a, host: hv1, address: 10.44.12.4}
  - {name: b, host: hv1, address: 10.44.12.5}
  - {name: far, host: hv2, address: 10.44.12.6}
- name: modest
  cidrs: [10.44.0.0/16]
  subnets: [{name: app, cidr: 10.44.12.0/24}]
  instances:
  - {name: a, host: hv1, address: 10.44.12.4}
  - {name: b, host: hv1, address: 10.44.12.5}
"""
MOST = 400
TALK, FILL = 7000, 7001  # ports: TALK for two-way traffic, FILL for connections that are only opened
SYSCTLS = Path("/proc/sys/net/netfilter")


class Ends:
    """Sockets in instances, for real two-way traffic."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._open: list[socket.socket] = []
        self._listeners: dict[str, tuple[socket.socket, socket.socket]] = {}

    def open(self, name: str, kind: socket.SocketKind) -> socket.socket:
        """Return a socket in an instance."""
        fd = netns.find(self._world.instance(name).id)
        try:
            with netns.inside(fd):
                made = socket.socket(socket.AF_INET, kind)
        finally:
            os.close(fd)
        made.settimeout(1.0)
        self._open.append(made)
        return made

    def address(self, name: str, port: int = TALK) -> tuple[str, int]:
        return self._world.eni(name).address, port

    def listen(self, name: str) -> None:
        """Let an instance accept TCP connections and receive UDP."""
        for port in (FILL, TALK):
            stream, datagrams = self.open(name, socket.SOCK_STREAM), self.open(name, socket.SOCK_DGRAM)
            for made in (stream, datagrams):
                made.bind(self.address(name, port))
            stream.listen(500)
            self._listeners[name] = stream, datagrams

    def hears(self, name: str, source: str | socket.socket) -> bool:
        """Return whether a datagram arrives; it opens a connection unless the socket has sent before."""
        sender = self.open(source, socket.SOCK_DGRAM) if isinstance(source, str) else source
        sender.sendto(b"hello", self.address(name))
        try:
            return self._listeners[name][1].recv(100) == b"hello"
        except TimeoutError:
            return False

    def connects(self, source: str, name: str) -> tuple[socket.socket, socket.socket]:
        """Return both ends of a new TCP connection."""
        client = self.open(source, socket.SOCK_STREAM)
        client.connect(self.address(name))
        self._open.append(self._listeners[name][0].accept()[0])
        return client, self._open[-1]

    def fill(self, source: str, name: str, count: int) -> None:
        """Open so many connections, half of them by TCP."""
        for number in range(count):
            if number % 2:
                self.open(source, socket.SOCK_DGRAM).sendto(b"fill", self.address(name, FILL))
            else:
                made = self.open(source, socket.SOCK_STREAM)
                made.setblocking(False)
                made.connect_ex(self.address(name, FILL))

    def settle(self, source: str, name: str, count: int) -> None:
        """Open so many connections with traffic in both directions, so that the kernel evicts none of them."""
        for _ in range(count):
            self.connects(source, name)

    def flood(self, source: str, name: str, count: int) -> None:
        """Open so many connections from one socket, faster than the agent looks; they need not be closed."""
        sender = self.open(source, socket.SOCK_DGRAM)
        for number in range(count):
            sender.sendto(b"fill", self.address(name, 10000 + number))

    def close(self) -> None:
        for made in self._open:
            made.close()


@contextmanager
def small_tables() -> Iterator[None]:
    """Limit connection tables to few connections, with a usual number of buckets."""
    wanted = {SYSCTLS / "nf_conntrack_max": str(MOST), SYSCTLS / "nf_conntrack_buckets": "512"}
    before = {path: path.read_text() for path in wanted}
    for path, value in wanted.items():
        path.write_text(value)
    try:
        yield
    finally:
        for path, value in before.items():
            path.write_text(value)


@contextmanager
def overlay_kernel(world: World) -> Iterator[LinuxKernel]:
    """Open a second kernel object for hv1, besides its agent's."""
    with netns.inside(world.hosts["hv1"].fd):
        kernel = LinuxKernel("hv1")
    try:
        yield kernel
    finally:
        kernel.close()


@pytest.fixture
def ends(world: World) -> Iterator[Ends]:
    """The cloud, whose agents are a process and a thread; unanswered datagrams stay tracked for ten minutes."""
    world.start_agents("hv2")
    world.start_process("hv1")
    world.apply(CLOUD)
    overlay = netns.find(world.hosts["hv1"].overlay)
    with netns.inside(overlay):
        (SYSCTLS / "nf_conntrack_udp_timeout").write_text("600")
    os.close(overlay)
    with small_tables(), closing(Ends(world)) as ends:
        ends.listen("greedy/b")
        ends.listen("modest/b")
        yield ends


def refused(world: World) -> bool:
    return world.counters("hv1").get("allowance", 0) > 0


def said_by(world: World, agent: AgentProcess) -> AgentStatus | None:
    """Return an agent's status, or None while the status is still an earlier agent's."""
    status = world.inventory().agents.get("hv1")
    return status if status is not None and status.pid == agent.pid else None


def refusals(world: World, act: Callable[[], bool]) -> set[tuple[str, str, str, str, str]]:
    """Return the refusals that `netorch flows` shows while an attempt fails."""
    watcher = Watcher(world.inventory(), world.caller, Wanted(verdict="drop"))
    watcher.listen()
    assert not act()
    told = {(one.vpc, one.host, one.source_instance, one.destination_instance, one.reason) for one in watcher.follow(1.0)}
    watcher.close()
    return told


def hv1(world: World) -> HostHealth:
    return next(host for host in read_health(world.store, time.time()).hosts if host.name == "hv1")


def problems(world: World) -> list[str]:
    """Return the problems; no agent was ever started on hv3."""
    return [problem for problem in read_health(world.store, time.time()).problems if not problem.startswith("host hv3:")]


def test_a_vpc_that_fills_the_table_is_refused_and_nobody_and_nothing_else(world: World, ends: Ends) -> None:
    client, server = ends.connects("greedy/a", "greedy/b")
    stream = ends.open("greedy/a", socket.SOCK_DGRAM)
    stream.connect(ends.address("greedy/b"))
    assert ends.hears("greedy/b", stream)
    ends.fill("greedy/a", "greedy/b", 300)
    wait_for(lambda: not ends.hears("greedy/b", "greedy/a"), "the first refusal")
    assert refused(world)
    with pytest.raises(TimeoutError):
        ends.connects("greedy/a", "greedy/b")
    client.send(b"still here")
    assert server.recv(100) == b"still here"
    server.send(b"so am I")
    assert client.recv(100) == b"so am I"
    assert ends.hears("greedy/b", stream)  # unanswered, yet not a new connection
    for _ in range(5):
        assert ends.hears("modest/b", "modest/a")
        ends.connects("modest/a", "modest/b")
    assert world.counters("hv1")["table_full"] == 0


def test_a_refusal_is_told_by_status_flows_and_trace(world: World, ends: Ends) -> None:
    ends.fill("greedy/a", "greedy/b", 250)
    wait_for(lambda: not ends.hears("greedy/b", "greedy/a"), "the first refusal")
    text = (
        "host hv1: VPC greedy holds more connections than the host's table has free and cannot open new ones; see netorch flows"
    )
    wait_for(lambda: text in problems(world), "the problem in status")
    assert 50 <= hv1(world).table_percent <= 100  # a whole number: 251 of 500 gives 50
    told = refusals(world, lambda: ends.hears("greedy/b", "greedy/a"))
    assert told == {("default/greedy", "hv1", "a", "b", "allowance")}
    with closing(open_store(str(world.store_path))) as store:
        report = trace(store, world.inventory(), Caller(operator=True), "greedy/a", "greedy/b", "udp/7000", timeout_s=1.0)
        other = trace(store, world.inventory(), Caller(operator=True), "modest/a", "modest/b", "udp/7000", timeout_s=1.0)
    assert (report.verdict.code, report.disagreement) == (Code.CONNECTION_ALLOWANCE, "")
    assert set(report.live.drops) == {("hv1", "allowance")}
    assert (other.verdict.code, other.disagreement) == (None, "")


def test_a_packet_from_another_host_is_refused_where_the_table_is_full(world: World, ends: Ends) -> None:
    ends.fill("greedy/a", "greedy/b", 250)
    wait_for(lambda: not ends.hears("greedy/b", "greedy/a"), "the first refusal")
    told = refusals(world, lambda: ends.hears("greedy/b", "greedy/far"))
    assert ("default/greedy", "hv1", "far", "b", "allowance") in told
    assert world.counters("hv2")["allowance"] == 0


def test_who_holds_little_begins_connections_in_a_table_that_somebody_was_quick_to_fill(world: World, ends: Ends) -> None:
    ends.connects("modest/a", "modest/b")
    ends.flood("greedy/a", "greedy/b", 2 * MOST)
    with overlay_kernel(world) as kernel:
        wait_for(kernel.trackers[OVERLAY].refused, "a refusal")
        for _ in range(5):
            ends.connects("modest/a", "modest/b")
            assert len(kernel.trackers[OVERLAY].refused()) == 1


def test_what_a_full_table_turns_away_is_counted(world: World, ends: Ends) -> None:
    agent = world.agents["hv1"]
    assert isinstance(agent, AgentProcess)
    agent.kill()
    with pytest.raises(TimeoutError):
        ends.settle("greedy/a", "greedy/b", 2 * MOST)
    assert world.counters("hv1")["table_full"] > 0
    world.start_process("hv1")
    wait_for(lambda: hv1(world).dropped.get("table_full"), "the counter in status")
    wait_for(lambda: hv1(world).table_percent == 100, "how full the table is, in status")


def test_nobody_is_refused_for_long_without_an_agent_and_the_next_one_goes_on(world: World, ends: Ends) -> None:
    ends.fill("greedy/a", "greedy/b", 250)
    wait_for(lambda: not ends.hears("greedy/b", "greedy/a"), "the first refusal")
    agent = world.agents["hv1"]
    assert isinstance(agent, AgentProcess)
    agent.kill()
    wait_for(lambda: ends.hears("greedy/b", "greedy/a"), "the end of the refusal", timeout_s=30)
    agent = world.start_process("hv1")
    wait_for(lambda: not ends.hears("greedy/b", "greedy/a"), "the next refusal")
    status = wait_for(lambda: said_by(world, agent), "the agent's word")
    assert status is not None
    assert (status.writes, status.repaired) == (0, 0)
    with overlay_kernel(world) as kernel:
        (zone,) = kernel.trackers[OVERLAY].refused()
        kernel.trackers[OVERLAY].forget(kernel.trackers[OVERLAY].flows(zone))
    wait_for(lambda: ends.hears("greedy/b", "greedy/a"), "room for the VPC again")
    wait_for(lambda: not problems(world), "nothing wrong in status")
