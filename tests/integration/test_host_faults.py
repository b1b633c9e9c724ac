"""Faults of a host itself, under traffic: full disks and tables, a stopped agent, a clock that jumps.

No packet is lost and no other VPC is touched; the agent reports what is wrong, and completes everything once it can.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Final

import pytest
from pyroute2 import IPRoute

from netorch.agent.snapshot import SnapshotFile
from netorch.control.actions.instances import Placed, RunRequest, run_instance, terminate_instance
from netorch.control.views.health import read_health
from netorch.drivers import netns
from netorch.model.eni import EniState
from netorch.model.vpc import Subnet
from netorch.records import keys
from netorch.store.sqlite.store import SqliteStore
from tests.rig.agents import AgentProcess
from tests.rig.packets import PATIENCE_S
from tests.rig.world import SAVED_S, World, wait_for

pytestmark = pytest.mark.root

CLOUD = """
vpcs:
- name: acme
  cidrs: [10.44.0.0/16]
  subnets: [{name: app, cidr: 10.44.12.0/24}]
  instances:
  - {name: a, host: hv1, address: 10.44.12.4}
  - {name: b, host: hv2, address: 10.44.12.5}
- name: late
  cidrs: [10.44.0.0/16]
  subnets: [{name: app, cidr: 10.44.12.0/24}]
"""
MOST_MOUNTS = Path("/proc/sys/fs/mount-max")
MOST_NAMESPACES = Path("/proc/sys/user/max_net_namespaces")
NEIGHBOURS = Path("/proc/sys/net/ipv4/neigh/default/gc_thresh3")
MS_RDONLY, MS_REMOUNT = 0x1, 0x20  # linux/mount.h
YEAR_S = 365 * 86400.0


_libc = ctypes.CDLL(None, use_errno=True)


class Site:
    """Two hosts; hv1's agent is a process with its state on a small disk of its own."""

    def __init__(self, directory: Path) -> None:
        self.world = World(directory, ("hv1", "hv2"))
        self.state = directory / "state"
        self.state.mkdir()
        self.mount(0)
        self.world.start_agents("hv2")
        self.start()
        self.world.apply(CLOUD)
        self._runs = 0

    def mount(self, flags: int) -> None:
        """Mount the small disk, or change it. A fork for mount(8) costs much in the lab kernel."""
        assert _libc.mount(b"none", bytes(self.state), b"tmpfs", flags, b"size=1m") == 0, ctypes.get_errno()

    def start(self) -> None:
        """Start hv1's agent."""
        self.agent = AgentProcess(self.world.hosts["hv1"], self.world.store_path, self.state)
        self.world.agents["hv1"] = self.agent

    def stop_agent(self) -> None:
        """Stop hv1's agent by SIGSTOP, but not in the middle of a commit: then nobody could write to SQLite."""
        store = self.world.store
        assert isinstance(store, SqliteStore)
        with store._revision_file.locked(PATIENCE_S):
            self.agent.send(signal.SIGSTOP)
            stat = Path(f"/proc/{self.agent.pid}/stat")
            wait_for(lambda: stat.read_text().rpartition(") ")[2].startswith("T"), "the agent to stand still")

    def run(self) -> Placed:
        """Run another instance on hv1, in a VPC that has no traffic."""
        self._runs += 1
        subnet = next(iter(self.world.vpc("late").of(Subnet)))
        return run_instance(self.world.store, self.world.caller, RunRequest(name=f"late-{self._runs}", subnet=subnet, host="hv1"))

    def is_attached(self, placed: Placed) -> bool:
        """Return whether hv1 reports an interface as attached."""
        found = self.world.inventory().eni_status.get(("hv1", placed.eni.id))
        return found is not None and found.state is EniState.ATTACHED

    def problems(self) -> str:
        """Return what `netorch status` complains of."""
        return "\n".join(read_health(self.world.store, time.time()).problems)

    def saved(self, placed: Placed) -> bool:
        """Return whether hv1's snapshot is sound and has an interface."""
        found = SnapshotFile(self.state / "hv1.snapshot").load()
        return found is not None and keys.placement("hv1", placed.eni.id) in found.records

    def close(self) -> None:
        """Remove everything."""
        try:
            self.world.close()
        finally:
            assert _libc.umount2(bytes(self.state), 0) == 0, ctypes.get_errno()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("faults"))
    yield made
    made.close()


@contextmanager
def undisturbed(site: Site) -> Iterator[None]:
    """Assert that traffic of another VPC loses nothing meanwhile, and that all is well afterwards."""
    traffic = site.world.traffic("acme/a", "acme/b")
    try:
        yield
        wait_for(lambda: site.problems() == "", "no problem to be left")
    finally:
        lost = traffic.stop()
    assert lost == 0


def test_a_full_or_read_only_disk_keeps_the_last_snapshot_and_the_agent_goes_on(site: Site) -> None:
    with undisturbed(site):
        first = site.run()
        wait_for(lambda: site.saved(first), "a snapshot", SAVED_S)
        filler = site.state / "filler"
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))
        second = site.run()
        wait_for(lambda: site.is_attached(second), "the agent to go on")
        wait_for(lambda: "the snapshot cannot be written (No space left on device)" in site.problems(), "the agent to say so")
        assert site.saved(first)
        assert not site.saved(second)

        site.agent.kill()
        site.mount(MS_REMOUNT | MS_RDONLY)
        site.start()
        wait_for(lambda: "the snapshot cannot be written (Read-only file system)" in site.problems(), "an agent on such a disk")
        assert site.saved(first)
        site.mount(MS_REMOUNT)
        filler.unlink()
        wait_for(lambda: site.saved(second), "the snapshot to be written later", SAVED_S)


def test_an_agent_that_was_stopped_while_the_world_went_on_catches_up(site: Site) -> None:
    store = site.world.store
    with undisturbed(site):
        gone = site.run()
        wait_for(lambda: site.is_attached(gone), "an instance")
        site.stop_agent()
        live = store.get(keys.host_live("hv1"))
        assert live is not None
        store.revoke(live.lease)  # as after its time
        assert "host hv1: its agent is not running" in site.problems()
        terminate_instance(store, site.world.caller, gone.instance.id)
        come = site.run()
        store.compact(store.revision())
        site.agent.send(signal.SIGCONT)
        wait_for(lambda: site.is_attached(come), "the agent to catch up")


@contextmanager
def at_most(path: Path, count: int) -> Iterator[None]:
    """Lower one of the machine's limits."""
    before = path.read_text()
    path.write_text(str(count))
    try:
        yield
    finally:
        path.write_text(before)


@contextmanager
def no_descriptor_left(pid: int) -> Iterator[None]:
    """Lower a process's limit of open files to the lowest number that is free: the limit is one of numbers, not of files."""
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    taken = {int(name) for name in os.listdir(f"/proc/{pid}/fd")}
    for _ in range(10):  # the agent may hold another file for a moment
        time.sleep(0.05)
        taken &= {int(name) for name in os.listdir(f"/proc/{pid}/fd")}
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (min({*range(len(taken) + 1)} - taken), hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))


LIMITS: Final[dict[str, tuple[Callable[[int], AbstractContextManager[None]], str]]] = {
    "mounts": (lambda pid: at_most(MOST_MOUNTS, len(Path(f"/proc/{pid}/mountinfo").read_text().splitlines())), "No space left"),
    "namespaces": (lambda pid: at_most(MOST_NAMESPACES, 0), "No space left"),
    "descriptors": (no_descriptor_left, "Too many open files"),
}


@pytest.mark.parametrize("what", LIMITS)
def test_a_full_table_of_the_kernel_costs_only_what_needs_room(site: Site, what: str) -> None:
    limit, said = LIMITS[what]
    pid = site.agent.pid
    with undisturbed(site):
        with limit(pid):
            late = site.run()
            wait_for(lambda: said in site.problems(), "the agent to say what is full")
            assert not site.is_attached(late)
        wait_for(lambda: site.is_attached(late), "the agent to complete it")
    assert site.agent.is_alive()


def test_a_full_neighbour_table_stops_no_interface(site: Site) -> None:
    with at_most(NEIGHBOURS, 0):
        late = site.run()
        wait_for(lambda: site.is_attached(late), "permanent entries, which need no room")
        wait_for(lambda: site.problems() == "", "no problem")
    wait_for(lambda: site.world.reaches("acme/a", "acme/b"), "the underlay's own neighbours")


def test_an_underlay_that_repeats_and_reorders_packets_loses_none_and_one_that_flaps_comes_back(site: Site) -> None:
    reader = site.world.reader("hv1")
    with netns.inside(site.world._spine):
        spine = IPRoute()
    with spine:
        port = spine.link_lookup(ifname="to-hv1")[0]
        spine.tc("add", "netem", port, "1:", delay=10_000, duplicate=100, prob_reorder=100, gap=3)
        with undisturbed(site):
            late = site.run()
            wait_for(lambda: site.is_attached(late), "the agent to go on")
        spine.tc("del", "netem", port, "1:")  # drops what it holds
        before = reader.dump().keys()
        for state in ("down", "up") * 3:
            spine.link("set", index=port, state=state)
        spine.route("replace", dst=f"{site.world.hosts['hv1'].vtep}/32", oif=port, scope=253)
    wait_for(lambda: site.world.reaches("acme/a", "acme/b"), "packets to pass again")
    assert reader.dump().keys() == before


@pytest.mark.skipif("User Mode Linux" not in Path("/proc/cpuinfo").read_text(), reason="it would set this machine's clock")
def test_a_clock_that_jumps_by_years_changes_nothing(site: Site) -> None:
    offset = time.time() - time.monotonic()
    with undisturbed(site):
        try:
            for years in (10, -20):
                time.clock_settime(time.CLOCK_REALTIME, time.monotonic() + offset + years * YEAR_S)
                late = site.run()
                wait_for(lambda placed=late: site.is_attached(placed), f"the agent to go on {years} years from now")  # type: ignore[misc]
                wait_for(lambda: site.problems() == "", "no problem")
        finally:
            time.clock_settime(time.CLOCK_REALTIME, time.monotonic() + offset)
