"""The hosts of a lab in the current kernel: namespaces, cables, the nodes' own commands, and an agent on each host.

A lab owns the namespaces named after its nodes, the overlays `netorch-<host>` and instance namespaces created by its agents,
and the processes inside them. `destroy` removes only these, as listed in the lab's directory. A link's end on the machine
itself disappears with its other end.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from contextlib import suppress
from pathlib import Path

import msgspec

from netorch.drivers import netns
from netorch.drivers.bird.driver import border_directory, customers_directory
from netorch.drivers.charon.driver import RUN as CHARON_RUN
from netorch.drivers.services.driver import services_directory
from netorch.errors import LabError, NetorchError
from netorch.lab.kernel import SYSTEM_PATH
from netorch.lab.topology import Node, Topology, env_name
from netorch.lab.wiring import bring_up, in_node, make_links, make_namespaces
from netorch.model.eni import Attachment, Instance, Role
from netorch.records import keys
from netorch.state.base import OUTSIDE, UNDERLAY
from netorch.state.owner import label_of
from netorch.store import open_store
from netorch.store.base import Store
from netorch.store.modes import DIRECTORY_MODE, make_directory

RECORD = "lab.json"
EXEC_S = 60.0  # for one command of a node's exec
AGENT_START_S = 60.0  # per agent, until it follows the store: a lab may have many
AGENT_STOP_S = 5.0
POLL_S = 0.02
_SAID_BYTES = 4000  # of a failed command's output


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


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A node for display. `agent` is running, dead, or empty for a node without an agent."""

    node: str
    role: str
    underlay: str
    agent: str
    pid: int | None
    links: list[str]


def store_path(directory: Path) -> Path:
    """Return the path of a lab's store."""
    return directory / "store.db"


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
        make_namespaces(topology)
        make_links(topology)
        bring_up(topology)
        for node in topology.nodes:
            if node.exec:
                progress(f"{node.name}: running {_count(node.exec, 'command')}")
            _run_commands(node, record, directory)
        store = open_store(str(store_path(directory)), create=True)
        try:
            register_hosts(store, topology)
            record = msgspec.structs.replace(record, agents=_start_agents(topology, directory))
            _write(record, directory)
            if record.agents:
                progress(f"waiting for {_count(record.agents, 'agent')} to follow the store")
            _await_agents(store, record, directory)
        finally:
            store.close()
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


def environment(directory: Path, node: Node | None, base: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment of a command in the lab: the caller's, the node's, containerlab's variables, the lab's store."""
    env = dict(base)
    env.pop("NETORCH_LAB", None)  # it redirects the command line into a lab: these commands are already inside
    # `netorch` is the running one, even when its directory is not on the caller's PATH.
    env["PATH"] = f"{Path(sys.executable).parent}:{env.get('PATH', '')}:{SYSTEM_PATH}"
    if node is not None:
        env |= {**node.env, **{env_name(label): value for label, value in node.labels.items()}}
        env["CLAB_LABEL_CLAB_NODE_NAME"] = env["NETORCH_HOST"] = node.name
    env["NETORCH_STORE"] = str(store_path(directory))
    env["NETORCH_FLOW_LOG_DIR"] = str(directory / "flow-logs")
    env["NETORCH_CONFIG"] = os.devnull  # the machine's settings do not apply in the lab
    return env


def _run_commands(node: Node, record: Record, directory: Path) -> None:
    topology, env = record.topology, environment(directory, node)
    for argv in node.exec:
        try:
            status, said = _run_command(node, argv, env, Path(record.file).parent)
        except OSError as error:
            raise LabError(
                f"lab {topology.name}: {node.name}: {argv[0]}: {error.strerror}; install it, or correct exec"
            ) from error
        if status is None:
            what = f"{shlex.join(argv)!r} has run for {EXEC_S:.0f} s; let exec start what stays in the background, with &"
            raise LabError(f"lab {topology.name}: {node.name}: {what}")
        if status:
            what = f"{shlex.join(argv)!r} exited with status {status}: {said}"
            raise LabError(f"lab {topology.name}: {node.name}: {what}; correct exec in the topology file")


def _run_command(node: Node, argv: Sequence[str], env: Mapping[str, str], cwd: Path) -> tuple[int | None, str]:
    """Run a command in a node; return its exit status (None if it was killed after EXEC_S) and its output.

    The output goes to a file: a pipe would have to be read until the last background process of the command closes it.
    """
    with tempfile.TemporaryFile() as output:
        with in_node(node.name):
            process = subprocess.Popen(
                argv, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        try:
            status: int | None = process.wait(EXEC_S)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        output.seek(max(0, output.seek(0, os.SEEK_END) - _SAID_BYTES))
        return status, output.read().decode(errors="replace").strip()


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


def agent_command(host: str, directory: Path) -> list[str]:
    """Return the command line of a host's agent."""
    return [sys.executable, "-P", "-m", "netorch", "agent", "run", "--host", host, "--state-dir", str(directory / "agents")]


def agent_log(host: str, directory: Path) -> Path:
    """Return the path of an agent's log."""
    return directory / f"{host}.log"


def start_agent(node: Node, directory: Path) -> int:
    """Start a host's agent as a daemon and return its process id."""
    argv = agent_command(node.name, directory)
    write = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    with in_node(node.name):
        return os.posix_spawn(
            argv[0],
            argv,
            environment(directory, node),
            setsid=True,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(agent_log(node.name, directory)), write, 0o644),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
        )


def _start_agents(topology: Topology, directory: Path) -> dict[str, int]:
    return {node.name: start_agent(node, directory) for node in topology.nodes if node.has_agent}


def _await_agents(store: Store, record: Record, directory: Path) -> None:
    deadline = time.monotonic() + AGENT_START_S
    waiting = dict(record.agents)
    while waiting:
        for host, pid in list(waiting.items()):
            if store.get(keys.host_live(host)) is not None:
                del waiting[host]
                deadline = time.monotonic() + AGENT_START_S
            elif not alive(pid) or time.monotonic() > deadline:
                log = agent_log(host, directory).read_text(errors="replace").strip().splitlines()
                why = "ended" if not alive(pid) else f"did not follow the store within {AGENT_START_S:.0f} s"
                raise LabError(
                    f"lab {record.topology.name}: the agent of {host} {why}: {' | '.join(log[-5:])}; see netorch doctor"
                )
        time.sleep(POLL_S)


def alive(pid: int) -> bool:
    """Return whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


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
    new = start_agent(node, directory)
    _write(msgspec.structs.replace(record, agents={**record.agents, host: new}), directory)
    return new


def destroy(directory: Path) -> None:
    """Stop a lab's processes and remove its namespaces and its directory. Raises LabError when there is no lab."""
    record = read_record(directory)
    stop(record.agents.values())
    names = [*(node.name for node in record.topology.nodes), *(f"netorch-{host}" for host in record.agents)]
    names += [path.name for path in netns.RUN_NETNS.iterdir() if any(label_of(path.name, host) for host in record.agents)]
    names += _instance_namespaces(directory)
    _kill_inside(names)
    for name in names:
        netns.remove(name)
    for host in record.agents:
        services = (services_directory(host, label) for label in (UNDERLAY, OUTSIDE))
        for place in (border_directory(host), customers_directory(host), CHARON_RUN / host, *services):
            shutil.rmtree(place, ignore_errors=True)
    shutil.rmtree(directory)


def stop(pids: Iterable[int]) -> None:
    """End processes: by SIGTERM, then by SIGKILL."""
    pids = list(pids)
    for number, patience_s in ((signal.SIGTERM, AGENT_STOP_S), (signal.SIGKILL, AGENT_STOP_S)):
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        deadline = time.monotonic() + patience_s
        while any(map(alive, pids)) and time.monotonic() < deadline:
            time.sleep(POLL_S)
        pids = [pid for pid in pids if alive(pid)]


def _instance_namespaces(directory: Path) -> list[str]:
    from netorch.records.inventory import read_inventory

    try:
        store = open_store(str(store_path(directory)))
        try:
            inventory = read_inventory(store)
        finally:
            store.close()
    except NetorchError:
        return []  # a lab without a readable store must still be removable
    return [
        instance.id
        for vpc in inventory.vpcs.values()
        for instance in vpc.each(Instance)
        if instance.attachment is Attachment.NETNS
    ]


def _kill_inside(names: Iterable[str]) -> None:
    """Kill all remaining processes in the namespaces, e.g. a shell or a test server."""
    inodes = set()
    for name in names:
        with suppress(OSError):
            inodes.add((netns.RUN_NETNS / name).stat().st_ino)
    victims = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and _namespace(entry) in inodes]
    for pid in victims:
        if pid != os.getpid():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _namespace(process: Path) -> int:
    try:
        return (process / "ns" / "net").stat().st_ino
    except OSError:
        return -1


def run(
    record: Record, directory: Path, node: str | None, argv: Sequence[str], variables: Mapping[str, str] | None = None
) -> int:
    """Run a command with the caller's terminal in a node's namespace, or outside all of them; return its exit status."""
    where = record.node(node) if node is not None else None
    env = {**environment(directory, where), **(variables or {})}
    try:
        if where is None:
            return subprocess.run(argv, env=env, check=False).returncode
        with in_node(where.name):
            return subprocess.run(argv, env=env, check=False).returncode
    except FileNotFoundError as error:
        raise LabError(f"lab {record.topology.name}: {argv[0]}: there is no such command") from error
