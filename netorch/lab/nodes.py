"""What runs in a lab's nodes: their environment, their own commands, agents, and everything that ends with the lab."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from netorch.drivers import netns
from netorch.errors import LabError
from netorch.lab.kernel import SYSTEM_PATH
from netorch.lab.topology import Node, Topology, env_name
from netorch.lab.wiring import in_node
from netorch.store.modes import DIRECTORY_MODE

NETORCH: Final = (sys.executable, "-P", "-m", "netorch")
EXEC_S = 120.0  # for one command of a node's exec
AGENT_STOP_S = 5.0
POLL_S = 0.02
_SAID_BYTES = 4000  # of a failed command's output


def store_path(directory: Path) -> Path:
    """Return the path of the store of a lab without a console."""
    return directory / "store.db"


def _own_directory(directory: Path, node: Node) -> Path:
    """Return the directory of a node's settings and state. All nodes share one file system."""
    return directory / "nodes" / node.name


def _settings_path(directory: Path, node: Node) -> Path:
    return _own_directory(directory, node) / "netorch.toml"


def make_own_directories(topology: Topology, directory: Path) -> None:
    """Create the nodes' own directories, each with the settings of a machine of its own: a store that nothing else uses."""
    (directory / "nodes").mkdir(mode=DIRECTORY_MODE)
    for node in topology.nodes:
        _own_directory(directory, node).mkdir(mode=DIRECTORY_MODE)
        _settings_path(directory, node).write_text(f'store = "{_own_directory(directory, node) / "netorch.db"}"\n')


def environment(topology: Topology, directory: Path, node: Node | None, base: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment of a command in the lab: the caller's, the node's, containerlab's variables, the lab's.

    Without a console the lab's own store is that of all nodes. With one each node's settings name its store, because hosts have
    identities of their own.
    """
    env = dict(base)
    env.pop("NETORCH_LAB", None)  # it redirects the command line into a lab: these commands are already inside
    env.pop("NETORCH_STORE", None)
    # `netorch` is the running one, even when its directory is not on the caller's PATH.
    env["PATH"] = f"{Path(sys.executable).parent}:{env.get('PATH', '')}:{SYSTEM_PATH}"
    env["NETORCH_CONFIG"] = os.devnull  # the machine's settings do not apply in the lab
    if node is not None:
        env |= {**node.env, **{env_name(label): value for label, value in node.labels.items()}}
        env["CLAB_LABEL_CLAB_NODE_NAME"] = env["NETORCH_HOST"] = node.name
        env["NETORCH_CONFIG"] = str(_settings_path(directory, node))
        env["NETORCH_STATE_DIR"] = str(_own_directory(directory, node))
    if topology.console is None:
        env["NETORCH_STORE"] = str(store_path(directory))
    env["NETORCH_LAB_DIR"] = str(directory)
    env["NETORCH_FLOW_LOG_DIR"] = str(directory / "flow-logs")
    return env


def run_commands(node: Node, topology: Topology, directory: Path, cwd: Path) -> None:
    """Run a node's exec lines. Raises LabError for the first that fails."""
    env = environment(topology, directory, node)
    for argv in node.exec:
        try:
            status, said = _run_command(node, argv, env, cwd)
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


def agent_log(host: str, directory: Path) -> Path:
    """Return the path of an agent's log."""
    return directory / f"{host}.log"


def start_agent(node: Node, topology: Topology, directory: Path) -> int:
    """Start a host's agent as a daemon and return its process id."""
    argv = [*NETORCH, "agent", "run", "--host", node.name]
    write = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    with in_node(node.name):
        return os.posix_spawn(
            argv[0],
            argv,
            environment(topology, directory, node),
            setsid=True,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(agent_log(node.name, directory)), write, 0o644),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
        )


def alive(pid: int) -> bool:
    """Return whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


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


def kill_inside(names: Iterable[str]) -> None:
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
