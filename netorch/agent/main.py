"""The agent as a process: one per host, held by a lock; SIGTERM and SIGINT end it and leave the kernel as it is."""

from __future__ import annotations

import fcntl
import logging
import os
import resource
import select
import signal
import sys
from pathlib import Path

from netorch.agent.flowlog.files import LogFiles
from netorch.agent.flowlog.logger import FlowLogger
from netorch.agent.loop import STORE_PATIENCE_S, Agent
from netorch.agent.snapshot import SnapshotFile
from netorch.compiler.registry import check_coverage, load_compilers
from netorch.errors import NetorchError
from netorch.records.kinds import compiled
from netorch.store import open_store
from netorch.store.modes import make_directory, tighten

TURN_S = 30.0


def run_agent(host_name: str, store_url: str, state_dir: Path, flow_log_dir: Path, verbose: bool = False) -> None:
    """Run the agent of `host_name` until a signal ends it.

    Raises:
      NetorchError: no compiler reads a kind of resource, another agent of this host runs, or the state directory cannot be used.
    """
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    _allow_many_files()
    compilers = load_compilers()
    check_coverage(compilers, compiled())
    lock = _lock(state_dir / f"{host_name}.lock", host_name)
    # Imported here: pyroute2 takes a second to import, and only this process needs it.
    from netorch.drivers.conntrack.sources import KernelFlows
    from netorch.drivers.daemons.sealing import EdgeKey
    from netorch.drivers.linux import LinuxKernel

    kernel = LinuxKernel(host_name, EdgeKey(state_dir / f"{host_name}.key"))
    claim = kernel.claim()  # the lock is another agent's affair where it has another state directory
    stop_fd = _descriptor_of_signals(signal.SIGTERM, signal.SIGINT)
    snapshot = state_dir / f"{host_name}.snapshot"
    tighten(snapshot)
    agent = Agent(
        host_name,
        kernel,
        lambda: open_store(store_url, patience_s=STORE_PATIENCE_S),
        SnapshotFile(snapshot),
        compilers,
        flow_logger=FlowLogger(KernelFlows(host_name), LogFiles(flow_log_dir, host_name)),
    )
    agent.start()
    while not _readable(stop_fd):
        agent.step(TURN_S, stop_fd)
    agent.close()
    claim.close()
    os.close(lock)


def _allow_many_files() -> None:
    """Raise the limit of open files to what the system lets us: each gateway of an edge takes a dozen."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _descriptor_of_signals(*signals: signal.Signals) -> int:
    """Return a descriptor that becomes readable when one of the signals comes; a flag would be slept through by poll(2)."""
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(writer)
    for number in signals:
        signal.signal(number, lambda signum, frame: None)
    return reader


def _readable(descriptor: int) -> bool:
    return bool(select.select([descriptor], [], [], 0)[0])


def _lock(path: Path, host_name: str) -> int:
    try:
        make_directory(path.parent)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise NetorchError(f"agent: {path}: {error.strerror}; choose another --state-dir") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise NetorchError(f"agent: an agent of host {host_name} runs already (it holds {path}); stop that one first") from None
    return descriptor
