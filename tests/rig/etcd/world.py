"""A cloud of real hosts whose store is in etcd: each host's agent, a process, has its own way to each member."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Final

from netorch.drivers import netns
from netorch.store import open_store
from tests.rig.agents import AgentProcess, Host
from tests.rig.etcd.cluster import Cluster, running_cluster
from tests.rig.etcd.proxy import Proxy
from tests.rig.world import World

_NAME: Final = "world"
_PROGRESS_MS: Final = 200  # each agent has a dozen watches, and the lab kernel has one processor


@contextmanager
def world_on_etcd(directory: Path, members: int = 1) -> Iterator[World]:
    """Run three hosts with their agents."""
    with ExitStack() as stack:
        cluster = stack.enter_context(running_cluster(members, progress_ms=_PROGRESS_MS))
        world = World(directory, store=open_store(cluster.url(_NAME), create=True))
        ways = ExitStack()
        stack.enter_context(ways)  # a world ends its agents before their ways
        stack.callback(world.close)
        for host in world.hosts.values():
            url = f"etcd://{','.join(_ways(cluster, host, ways))}/{_NAME}"
            world.agents[host.name] = AgentProcess(host, url, directory)
        yield world


def _ways(cluster: Cluster, host: Host, stack: ExitStack) -> Iterator[str]:
    """Yield a place on the host's loopback for each member."""
    for member in cluster.members:
        with netns.inside(host.fd):
            listener = socket.create_server(("127.0.0.1", 0))
        yield stack.enter_context(closing(Proxy(member.client_port, listener))).place
