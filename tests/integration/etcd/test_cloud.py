"""A cloud whose records are in etcd: the command line and two agents go on while members die."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from netorch.cli.main import cli
from netorch.state.base import KernelObject, Key
from tests.rig.etcd.cluster import Cluster, running_cluster
from tests.rig.etcd.hosts import Hosts

CLOUD = """
vpcs:
- name: acme
  cidrs: [10.44.0.0/16]
  subnets: [{name: app, cidr: 10.44.12.0/24}]
  instances:
  - {name: web-1, host: hv1, address: 10.44.12.4, subnet: app}
  - {name: web-2, host: hv2, address: 10.44.12.5, subnet: app}
"""
WORDS = ("--subnet", "app", "--host", "hv1", "--no-wait")


class Site:
    """Two hosts with kernels in memory, and the command line."""

    def __init__(self, directory: Path, url: str) -> None:
        self._url = url
        self.file = directory / "vpc.yaml"
        self.file.write_text(CLOUD)
        for number in (1, 2):
            self.run("host", "create", f"hv{number}", "--underlay", f"192.0.2.1{number}")
        self.hosts = Hosts(dict.fromkeys(("hv1", "hv2"), url), directory)
        self.kernels, self.until = self.hosts.kernels, self.hosts.until

    def run(self, *arguments: str, code: int = 0) -> str:
        done = CliRunner().invoke(cli, ["--store", self._url, *arguments])
        assert done.exit_code == code, (arguments, done.output, done.exception)
        return done.output

    def know(self, address: str) -> Callable[[], bool]:
        """Return whether the kernels of both hosts have an address."""
        return lambda: all(address in repr(kernel.objects) for kernel in self.kernels.values())

    def objects(self) -> dict[str, dict[Key, KernelObject]]:
        return {name: dict(kernel.objects) for name, kernel in self.kernels.items()}


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with running_cluster() as made:
        yield made


@pytest.fixture
def site(cluster: Cluster, tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path, cluster.url("cloud"))
    yield made
    made.hosts.close()


@pytest.mark.slow
def test_a_cloud_in_etcd_goes_on_while_members_die(cluster: Cluster, site: Site) -> None:
    site.run("apply", "-f", str(site.file), "--no-wait")
    site.until(lambda: site.know("10.44.12.4")() and site.know("10.44.12.5")())
    for number, member in enumerate((cluster.followers()[0], cluster.leader())):
        member.kill()
        site.run("instance", "run", f"more-{number}", *WORDS, "--address", f"10.44.12.{20 + number}")
        site.until(site.know(f"10.44.12.{20 + number}"))
        cluster.start(member)
    site.until(cluster.is_whole)
    assert "more-1" in site.run("instance", "list")

    before = site.objects()
    for member in cluster.members:
        member.kill()
    site.until(lambda: all(not agent.follower.in_sync for agent in site.hosts.agents.values()))
    site.run("vpc", "list", code=1)
    assert site.objects() == before
    for member in cluster.members:
        cluster.start(member)
    site.until(site.hosts.in_sync)
    assert site.objects() == before
    for name in ("more-0", "more-1"):
        site.run("instance", "terminate", name)
    site.run("plan", "-f", str(site.file))
    site.until(lambda: not any("10.44.12.20" in repr(kernel.objects) for kernel in site.kernels.values()))
