"""Under traffic: hosts lose the way to the store, the store loses its records, and the operator puts a backup in its place.

Not one packet is lost, and what is closed stays closed.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from netorch.agent.snapshot import SnapshotFile
from netorch.control.actions.instances import RunRequest, run_instance
from netorch.drivers import netns
from netorch.drivers.probe.echo import Probe, ask
from netorch.model.vpc import Subnet
from netorch.records import keys
from netorch.store import open_store, open_unfinished
from netorch.store.copy import copy_store
from netorch.store.etcd import messages as pb
from netorch.store.etcd.address import parse_address
from netorch.store.etcd.client import Client
from netorch.store.etcd.keyspace import Keyspace
from tests.rig.agents import AgentProcess
from tests.rig.etcd.cluster import Member, running_cluster
from tests.rig.etcd.proxy import Proxy
from tests.rig.world import SAVED_S, World, wait_for

pytestmark = pytest.mark.root

CLOUD = """
vpcs:
- name: acme
  cidrs: [10.44.0.0/16]
  subnets: [{name: app, cidr: 10.44.12.0/24}]
  security_groups:
  - {name: friends, ingress: [{protocol: icmp, source: sg-friends}]}
  - {name: strangers}
  instances:
  - {name: a, host: hv1, address: 10.44.12.4, security_groups: [friends]}
  - {name: b, host: hv2, address: 10.44.12.5, security_groups: [friends]}
  - {name: c, host: hv1, address: 10.44.12.6, security_groups: [strangers]}
"""
LATE = "10.44.12.9"


class Site:
    """Two hosts with agents as processes, each with its own way to one member of etcd."""

    def __init__(self, member: Member, directory: Path) -> None:
        self.url = f"etcd://{member.place}/cloud"
        self.directory = directory
        self.world = World(directory, ("hv1", "hv2"), store=open_store(self.url, create=True))
        self.proxies: dict[str, Proxy] = {}
        for name, host in self.world.hosts.items():
            with netns.inside(host.fd):
                listener = socket.create_server(("127.0.0.1", 0))
            self.proxies[name] = Proxy(member.client_port, listener)
            self.start(name)
        self.wait_live()

    def start(self, name: str) -> None:
        """Start a host's agent."""
        url = f"etcd://{self.proxies[name].place}/cloud"
        self.world.agents[name] = AgentProcess(self.world.hosts[name], url, self.directory)

    def wait_live(self) -> None:
        """Wait until each host's agent follows the store."""
        for name in self.world.hosts:
            wait_for(partial(self.world.store.get, keys.host_live(name)), f"the agent of {name}")

    def kill(self, name: str) -> None:
        agent = self.world.agents.pop(name)
        assert isinstance(agent, AgentProcess)
        agent.kill()

    def log(self, name: str) -> str:
        return (self.directory / f"{name}.log").read_text()

    def says(self, name: str, what: str) -> Callable[[], bool]:
        """Return whether a host's agent has logged a text since this call."""
        known = len(self.log(name))
        return lambda: what in self.log(name)[known:]

    def saved_mappings(self, name: str) -> int:
        """Return how many mappings a host's snapshot has; the agent writes it some time after each change."""
        found = SnapshotFile(self.directory / f"{name}.snapshot").load()
        return 0 if found is None else sum(key.startswith("map/") for key in found.records)

    def delete(self, *ranges: tuple[bytes, bytes]) -> None:
        """Delete ranges of keys in one revision, as `etcdctl del --prefix` does."""
        with contextlib.closing(Client(parse_address(self.url), 10.0)) as client:
            deletions = [pb.DeleteRangeRequest(key=first, range_end=end) for first, end in ranges]
            client.call(pb.TXN, pb.TxnRequest(success=[pb.RequestOp(request_delete_range=each) for each in deletions]))

    def close(self) -> None:
        self.world.close()
        for proxy in self.proxies.values():
            proxy.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with running_cluster(1) as cluster, contextlib.closing(Site(cluster.members[0], tmp_path)) as made:
        yield made


def test_packets_outlive_every_way_to_lose_the_store(site: Site, tmp_path: Path) -> None:
    world = site.world
    world.apply(CLOUD)
    closed = [Probe(netns=world.instance("acme/c").id, destination=world.eni("acme/b").address)]
    assert not ask(closed, 1.0)[0].ok
    traffic = world.traffic("acme/a", "acme/b")

    wait_for(lambda: site.saved_mappings("hv2") == 3, "the snapshot to hold all mappings", SAVED_S)

    # One host's way is dead, the other's is slow; that one's agent is killed, and starts without the store.
    lost = site.says("hv1", "out of sync")
    site.proxies["hv1"].hold()
    site.proxies["hv2"].delay(30.0)
    site.kill("hv2")
    booted = site.says("hv2", "booting from the snapshot")
    site.start("hv2")
    wait_for(booted, "hv2 to boot from its snapshot")
    run_instance(
        world.store,
        world.caller,
        RunRequest(name="late", subnet=next(iter(world.vpc("acme").of(Subnet))), host="hv2", address=LATE),
    )
    wait_for(lost, "hv1 to notice")
    vrf = f"vrf{world.vpc('acme').vni}"
    overlay = world.hosts["hv2"].overlay
    subprocess.run(["ip", "-n", overlay, "route", "del", "10.44.12.6/32", "vrf", vrf], check=True)
    wait_for(lambda: "10.44.12.6" in _routes(overlay, vrf), "hv2 to repair its kernel")
    assert not ask(closed, 1.0)[0].ok
    assert LATE not in _routes(overlay, vrf)
    for proxy in site.proxies.values():
        proxy.forward()
    world.wait_attached()
    wait_for(lambda: LATE in _routes(world.hosts["hv1"].overlay, vrf), "hv1 to catch up")

    # Somebody deletes all records; then all that belongs to the store.
    backup = str(tmp_path / "backup.db")
    _copy(site.url, backup)
    space = Keyspace("cloud")
    reports = [site.says(name, f"host {name} is not in the store") for name in world.hosts]
    site.delete(space.range(""))
    for reported in reports:
        wait_for(reported, "agents to report that their hosts are gone")
    assert not ask(closed, 1.0)[0].ok
    refusals = [site.says(name, "this is another store") for name in world.hosts]
    site.delete(*space.whole())

    # The operator puts a backup in its place. It is another store, so agents follow it only when they are told to.
    _copy(backup, site.url)
    for refused in refusals:
        wait_for(refused, "agents to refuse it")
    for name in world.hosts:
        site.kill(name)
        (tmp_path / f"{name}.snapshot").unlink()
    world.store.close()
    world.store = open_store(site.url)
    for name in world.hosts:
        site.start(name)
    site.wait_live()
    world.wait_attached()
    assert not ask(closed, 1.0)[0].ok
    assert traffic.stop() == 0


def _routes(overlay: str, vrf: str) -> str:
    return subprocess.run(["ip", "-n", overlay, "route", "show", "vrf", vrf], check=True, capture_output=True, text=True).stdout


def _copy(source: str, target: str) -> None:
    with contextlib.closing(open_store(source)) as opened, contextlib.closing(open_unfinished(target, source)) as unfinished:
        copy_store(opened, unfinished)
