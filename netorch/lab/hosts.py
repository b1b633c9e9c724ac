"""The hosts of a lab in the current kernel: namespaces, cables, the nodes' own commands, and an agent on each host.

A lab owns the namespaces named after its nodes, the overlays `netorch-<host>` and instance namespaces created by its agents,
and the processes inside them. `destroy` removes only these, as listed in the lab's directory. A link's end on the machine
itself disappears with its other end.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence, Sized
from contextlib import closing
from pathlib import Path

import msgspec

from netorch.drivers import netns
from netorch.drivers.bird.driver import border_directory, customers_directory
from netorch.drivers.charon.driver import RUN as CHARON_RUN
from netorch.drivers.services.driver import services_directory
from netorch.errors import LabError, NetorchError
from netorch.lab.cloud import Cloud, cloud_of
from netorch.lab.nodes import (
    agent_log,
    alive,
    environment,
    kill_inside,
    make_own_directories,
    run_commands,
    start_agent,
    stop,
)
from netorch.lab.topology import Node, Topology
from netorch.lab.wiring import bring_up, cabled, in_node, make_links, make_namespaces
from netorch.model.ids import is_id
from netorch.state.base import OUTSIDE, UNDERLAY
from netorch.state.owner import label_of, overlay_netns
from netorch.store.modes import DIRECTORY_MODE, make_directory

RECORD = "lab.json"
AGENT_START_S = 120.0  # per agent, until it follows the store: a lab may have many


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A running lab, as known to `destroy` and all other functions outside `build`."""

    topology: Topology
    file: str
    agents: dict[str, int] = {}  # host -> process id

    def node(self, name: str) -> Node:
        """Return a node.

        Raises LabError when no node has that name.
        """
        for node in self.topology.nodes:
            if node.name == name:
                return node
        names = ", ".join(node.name for node in self.topology.nodes)
        raise LabError(f"lab {self.topology.name}: there is no node {name!r}; there are {names}")

    def place(self, name: str | None) -> Node | None:
        """Return the node in which a command runs if this node, or none, was named. None: where the whole lab is visible.

        Raises LabError when no node has that name.
        """
        return self.topology.console if name is None else self.node(name)


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A node for display. `agent` is running, dead, or empty for a node without an agent."""

    node: str
    role: str
    underlay: str
    agent: str
    pid: int | None
    links: list[str]


def read_record(directory: Path) -> Record:
    """Return the record of the lab in a directory. Raises LabError when there is none."""
    try:
        return msgspec.json.decode((directory / RECORD).read_bytes(), type=Record)
    except (OSError, msgspec.MsgspecError) as error:
        raise LabError(f"lab {directory.name}: it is not up here ({error}); start it with netorch lab up FILE") from error


def build(topology: Topology, directory: Path, file: str, progress: Callable[[str], None] = lambda _step: None) -> Record:
    """Build a lab and return when every agent follows the store. A lab that cannot be completed is removed again.

    `progress` gets the name of each next step.

    Raises:
      LabError: a node's command or an agent failed, or a namespace with a node's name exists.
    """
    for node in topology.nodes:
        if (netns.RUN_NETNS / node.name).exists():
            raise LabError(
                f"lab {topology.name}: namespace {node.name} exists already; take the other lab down, or rename the node"
            )
    make_directory(directory.parent)
    directory.mkdir(mode=DIRECTORY_MODE)
    record = Record(topology=topology, file=file)
    _write(record, directory)
    try:
        progress(f"making {_count(topology.nodes, 'node')} and {_count(topology.links, 'link')}")
        make_own_directories(topology, directory)
        make_namespaces(topology)
        make_links(topology)
        bring_up(topology)
        for node in topology.nodes:
            if node.exec:
                progress(f"{node.name}: running {_count(node.exec, 'command')}")
            run_commands(node, topology, directory, Path(file).parent)
        with closing(cloud_of(topology, directory)) as cloud:
            record = msgspec.structs.replace(record, agents=_start_agents(topology, directory))
            _write(record, directory)
            if record.agents:
                progress(f"waiting for {_count(record.agents, 'agent')} to follow the store")
            await_agents(cloud, record, directory)
    except BaseException:
        destroy(directory)
        raise
    return record


def _count(things: Sized, word: str) -> str:
    return f"{len(things)} {word}" + ("" if len(things) == 1 else "s")


def _write(record: Record, directory: Path) -> None:
    new = directory / f"{RECORD}.new"
    new.write_bytes(msgspec.json.encode(record))
    new.replace(directory / RECORD)


def _start_agents(topology: Topology, directory: Path) -> dict[str, int]:
    return {node.name: start_agent(node, topology, directory) for node in topology.nodes if node.has_agent}


def await_agents(cloud: Cloud, record: Record, directory: Path) -> None:
    """Return when every agent follows the store. While one still may start, the store may fail to answer.

    Raises:
      NetorchError: an agent ended, or did not follow the store in time, or the store does not answer.
    """
    deadline = time.monotonic() + AGENT_START_S
    waiting = dict(record.agents)
    while waiting:
        try:
            following = cloud.following()
        except NetorchError:
            if time.monotonic() > deadline:
                raise
            following = set()
        for host, pid in list(waiting.items()):
            if host in following:
                del waiting[host]
                deadline = time.monotonic() + AGENT_START_S
            elif not alive(pid) or time.monotonic() > deadline:
                log = agent_log(host, directory).read_text(errors="replace").strip().splitlines()
                why = "ended" if not alive(pid) else f"did not follow the store within {AGENT_START_S:.0f} s"
                raise LabError(
                    f"lab {record.topology.name}: the agent of {host} {why}: {' | '.join(log[-5:])}; see netorch doctor"
                )
        time.sleep(cloud.pause_s)


def rows(record: Record) -> list[Row]:
    """Return the lab's nodes as they are now."""
    cables: dict[str, list[str]] = {node.name: [] for node in record.topology.nodes}
    for link in record.topology.links:
        for near in link.ends:
            far = next((f"{end.node}:{end.interface}" for end in link.ends if end is not near), "nothing")
            if near.node in cables:
                cables[near.node].append(f"{near.interface} -- {far}")
    result = []
    for node in record.topology.nodes:
        pid = record.agents.get(node.name)
        state = "" if pid is None else "running" if alive(pid) else "dead"
        result.append(
            Row(
                node=node.name,
                role=node.role.value if node.role else "",
                underlay=node.underlay,
                agent=state,
                pid=pid,
                links=cables[node.name],
            )
        )
    return result


def restart_agent(directory: Path, host: str) -> int:
    """Start a host's agent again after it ended; return its process id. Raises LabError when it runs or has no agent."""
    record = read_record(directory)
    node = record.node(host)
    pid = record.agents.get(host)
    if pid is None or alive(pid):
        why = "has no agent" if pid is None else f"has an agent, process {pid}; stop that one first"
        raise LabError(f"lab {record.topology.name}: {host} {why}")
    new = start_agent(node, record.topology, directory)
    _write(msgspec.structs.replace(record, agents={**record.agents, host: new}), directory)
    return new


def destroy(directory: Path) -> None:
    """Stop a lab's processes and remove its namespaces and its directory. Raises LabError when there is no lab."""
    record = read_record(directory)
    stop(record.agents.values())
    overlays = [overlay_netns(host) for host in record.agents]
    names = [*(node.name for node in record.topology.nodes), *overlays]
    names += [path.name for path in netns.RUN_NETNS.iterdir() if any(label_of(path.name, host) for host in record.agents)]
    names += _instance_namespaces(overlays)
    kill_inside(names)
    for name in names:
        netns.remove(name)
    for host in record.agents:
        services = (services_directory(host, label) for label in (UNDERLAY, OUTSIDE))
        for place in (border_directory(host), customers_directory(host), CHARON_RUN / host, *services):
            shutil.rmtree(place, ignore_errors=True)
    shutil.rmtree(directory)


def _instance_namespaces(overlays: Sequence[str]) -> list[str]:
    """Return the namespaces that agents have made for instances: they have the other ends of ports, and are named by ids."""
    found = {name for overlay in overlays for name in cabled(overlay)}
    return sorted(name for name in found if is_id(name, "i"))


def run(
    record: Record, directory: Path, node: str | None, argv: Sequence[str], variables: Mapping[str, str] | None = None
) -> int:
    """Run a command with the caller's terminal in a node's namespace, or in its place without one; return its exit status."""
    where = record.place(node)
    env = {**environment(record.topology, directory, where), **(variables or {})}
    try:
        if where is None:
            return subprocess.run(argv, env=env, check=False).returncode
        with in_node(where.name):
            return subprocess.run(argv, env=env, check=False).returncode
    except FileNotFoundError as error:
        raise LabError(f"lab {record.topology.name}: {argv[0]}: there is no such command") from error
