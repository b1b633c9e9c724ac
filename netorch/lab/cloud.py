"""What a lab's store is asked while the lab comes up: to take the hosts, and which agents follow it.

A lab without a console has a store of its own, a file that is opened here. In a lab with a console the operator's commands there
make the hosts, and only the console need reach the store. So the console's own command line asks it.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final, Protocol

import msgspec

from netorch.errors import LabError
from netorch.lab.nodes import NETORCH, environment, store_path
from netorch.lab.topology import Node, Topology
from netorch.lab.wiring import in_node
from netorch.model.eni import Role
from netorch.records import keys
from netorch.store import open_store
from netorch.store.base import Store

ASK_S: Final = 60.0  # for the console's command


class Cloud(Protocol):
    """A lab's store."""

    @property
    def pause_s(self) -> float:
        """Return how long to wait between two questions."""

    def following(self) -> set[str]:
        """Return the hosts whose agents follow the store. Raises NetorchError."""

    def close(self) -> None:
        """Close the store."""


class OwnCloud:
    """A lab's own store, new, with a record for each host."""

    pause_s = 0.02

    def __init__(self, topology: Topology, directory: Path) -> None:
        self._store = open_store(str(store_path(directory)), create=True)
        self._hosts = [node.name for node in topology.nodes if node.has_agent]
        register_hosts(self._store, topology)

    def following(self) -> set[str]:
        return {host for host in self._hosts if self._store.get(keys.host_live(host)) is not None}

    def close(self) -> None:
        self._store.close()


class _HostRow(msgspec.Struct):
    """A row of `netorch host list`."""

    name: str
    live: bool


class ConsoleCloud:
    """The store that the console's settings name."""

    pause_s = 1.0  # each question is a process, on the CPUs on which the agents start

    def __init__(self, topology: Topology, directory: Path, console: Node) -> None:
        self._topology, self._console = topology, console
        self._environment = environment(topology, directory, console)

    def following(self) -> set[str]:
        where = f"lab {self._topology.name}: {self._console.name}: netorch host list"
        argv = [*NETORCH, "host", "list", "-o", "json"]
        try:
            with in_node(self._console.name):
                done = subprocess.run(argv, env=self._environment, capture_output=True, text=True, check=False, timeout=ASK_S)
        except subprocess.TimeoutExpired as error:
            raise LabError(f"{where} did not end within {ASK_S:.0f} s; see whether the console reaches the store") from error
        if done.returncode:
            raise LabError(f"{where} exited with status {done.returncode}: {done.stderr.strip()}; see the console's exec")
        return {row.name for row in msgspec.json.decode(done.stdout, type=list[_HostRow]) if row.live}

    def close(self) -> None:
        pass


def cloud_of(topology: Topology, directory: Path) -> Cloud:
    """Return the store of a lab whose nodes' own commands have run. Raises NetorchError."""
    console = topology.console
    return OwnCloud(topology, directory) if console is None else ConsoleCloud(topology, directory, console)


def register_hosts(store: Store, topology: Topology) -> None:
    """Store a record for each host with an agent."""
    from netorch.control.actions.hosts import create_host
    from netorch.records.caller import Caller

    for node in topology.nodes:
        if node.role is not None and node.has_agent:
            create_host(
                store,
                Caller(operator=True),
                name=node.name,
                underlay=node.underlay,
                role=Role(node.role.value),
                pair=node.pair,
                uplink=node.uplink,
                asn=node.asn,
                gateway_asn=node.gateway_asn,
            )
