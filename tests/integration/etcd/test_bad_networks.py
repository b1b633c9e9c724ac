"""Hosts whose way to the store breaks: each keeps its kernel, waits without work, and catches up from where it was."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from netorch.agent.following import follower as follower_module
from netorch.cli.main import cli
from netorch.state.base import KernelObject, Key
from netorch.store import open_store
from netorch.store.base import Range
from netorch.store.etcd.store import EtcdStore
from tests.rig.etcd.cluster import running_cluster
from tests.rig.etcd.hosts import PATIENCE_S, Hosts
from tests.rig.etcd.proxy import Proxy

# What the network between a host and its store does.
WAYS: dict[str, Callable[[Proxy], None]] = {
    "hv1": Proxy.refuse,
    "hv2": Proxy.hold,
    "hv3": lambda proxy: proxy.delay(30.0),
    "hv4": lambda proxy: proxy.cut(200),
}
CLOUD = """
vpcs:
- name: acme
  cidrs: [10.44.0.0/16]
  subnets: [{name: app, cidr: 10.44.12.0/24}]
  instances:
"""
AWAY_S = 3.0
TURNS_A_SECOND = 20  # an agent that spins takes thousands
SHARE = 0.5  # of a processor, for all agents together


class Site:
    """Four hosts, each behind a network of its own, and an operator behind none."""

    def __init__(self, port: int, directory: Path) -> None:
        self.url = f"etcd://127.0.0.1:{port}/cloud"
        self.proxies = {name: Proxy(port) for name in WAYS}
        file = directory / "vpc.yaml"
        instances = (f"  - {{name: {name}, host: {name}, address: 10.44.12.{10 * int(name[2:])}}}\n" for name in WAYS)
        file.write_text(CLOUD + "".join(instances))
        for name in WAYS:
            self.run("host", "create", name, "--underlay", f"192.0.2.1{name[2:]}")
        self.run("apply", "-f", str(file), "--no-wait")
        self.hosts = Hosts({name: f"etcd://{proxy.place}/cloud" for name, proxy in self.proxies.items()}, directory)

    def run(self, *arguments: str) -> None:
        done = CliRunner().invoke(cli, ["--store", self.url, *arguments])
        assert done.exit_code == 0, (arguments, done.output, done.exception)

    def more(self, number: int) -> None:
        words = ("--subnet", "app", "--vpc", "acme", "--host", "hv1", "--no-wait")
        self.run("instance", "run", f"more-{number}", *words, "--address", f"10.44.12.{100 + number}")

    def knows(self, name: str, address: str) -> bool:
        """Return whether a host's kernel leads to an address."""
        return any(address in map(str, key) for key in list(self.hosts.kernels[name].objects))

    def all_know(self, number: int) -> bool:
        return all(self.knows(name, f"10.44.12.{100 + number}/32") for name in WAYS)

    def objects(self) -> dict[str, dict[Key, KernelObject]]:
        return {name: dict(kernel.objects) for name, kernel in self.hosts.kernels.items()}

    def close(self) -> None:
        self.hosts.close()
        for proxy in self.proxies.values():
            proxy.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with running_cluster(1) as cluster, contextlib.closing(Site(cluster.members[0].client_port, tmp_path)) as made:
        yield made


def wait(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.05)


@pytest.mark.slow
def test_hosts_behind_bad_networks_wait_without_work_and_catch_up(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower_module, "RETRY_MAX_S", 2.0)
    listed: list[str] = []
    ask = EtcdStore.list

    def note(store: EtcdStore, prefix: str, revision: int = 0) -> Range:
        if not prefix.startswith("hoststat/"):  # what an agent has published
            listed.append(prefix)
        return ask(store, prefix, revision)

    agents = site.hosts.agents
    with site.hosts.alone() as turns:
        site.more(0)
        wait(lambda: site.hosts.in_sync() and site.all_know(0))
        before = site.objects()
        for name, proxy in site.proxies.items():
            WAYS[name](proxy)
        wait(lambda: not any(agent.follower.in_sync for agent in agents.values()))
        turns.clear()
        for proxy in site.proxies.values():
            proxy.accepted = 0
        began, used = time.monotonic(), time.process_time()
        time.sleep(AWAY_S)
        took = time.monotonic() - began
        assert time.process_time() - used < SHARE * took
        assert all(count < TURNS_A_SECOND * took for count in turns.values()), turns
        wait(lambda: all(proxy.accepted > 0 for proxy in site.proxies.values()))
        assert site.objects() == before
        assert all(agent.follower.trouble and not agent.follower.refused for agent in agents.values())

        with monkeypatch.context() as patch:
            patch.setattr(EtcdStore, "list", note)
            site.more(1)
            listed.clear()  # what the command has read
            for proxy in site.proxies.values():
                proxy.forward()
            wait(lambda: site.hosts.in_sync() and site.all_know(1))
            assert listed == []

        for proxy in site.proxies.values():
            proxy.refuse()
        wait(lambda: not any(agent.follower.in_sync for agent in agents.values()))
        site.run("instance", "terminate", "acme/more-0")
        site.more(2)
        with contextlib.closing(open_store(site.url)) as store:
            store.compact(store.revision())
        for proxy in site.proxies.values():
            proxy.forward()
        wait(lambda: site.hosts.in_sync() and site.all_know(2))
        wait(lambda: not any(site.knows(name, "10.44.12.100/32") for name in WAYS))
