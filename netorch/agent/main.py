"""The agent as a process: one per host, held by a lock. SIGTERM and SIGINT end it and leave the kernel as it is."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import select
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from netorch.agent.flowlog.files import LogFiles
from netorch.agent.flowlog.logger import FlowLogger
from netorch.agent.loop import STORE_PATIENCE_S, Agent
from netorch.agent.service.exporter import OFF, Exporter, exposition
from netorch.agent.service.metrics import Seen, metrics_of
from netorch.agent.service.notify import ServiceManager
from netorch.agent.service.restore import restore
from netorch.agent.snapshot import SnapshotFile
from netorch.compiler.base import Compiler
from netorch.compiler.registry import check_coverage, load_compilers
from netorch.errors import NetorchError
from netorch.records.kinds import compiled
from netorch.state.base import HOST_SLICE
from netorch.state.owner import overlay_netns
from netorch.store import certificate_of, open_store
from netorch.store.aside import OpenedAside
from netorch.store.modes import make_directory, tighten

if TYPE_CHECKING:
    from netorch.agent.tasks.renewal import Renewal
    from netorch.drivers.linux import LinuxKernel

TURN_S = 30.0
STORE_OPEN_S = 0.5  # probes and repair wait so long for a store that is being opened


def run_agent(host_name: str, store_url: str, state_dir: Path, flow_log_dir: Path, metrics: str = OFF) -> None:
    """Run the agent of `host_name` until a signal ends it; `metrics` is the address that serves them.

    Raises:
      NetorchError: no compiler reads a kind of resource, another agent of this host runs, or the state directory is unusable.
    """
    manager = ServiceManager()
    compilers = _compilers()
    with _kernel_of(host_name, state_dir) as kernel:
        # Imported late: pyroute2 takes a second to import, and only this process needs it.
        from netorch.drivers.conntrack.sources import KernelFlows

        stop_fd = _descriptor_of_signals(signal.SIGTERM, signal.SIGINT)
        agent = Agent(
            host_name,
            kernel,
            OpenedAside(lambda: open_store(store_url, patience_s=STORE_PATIENCE_S), STORE_OPEN_S),
            _snapshot_of(host_name, state_dir),
            compilers,
            flow_logger=FlowLogger(KernelFlows(host_name), LogFiles(flow_log_dir, host_name)),
        )
        renewal = _renewal(store_url)
        if renewal is not None:
            agent.tasks.insert(0, renewal)
        if metrics != OFF:
            agent.tasks.append(Exporter(metrics, lambda: exposition(metrics_of(_seen(agent, renewal)))))
        agent.start()
        manager.ready()
        while not _readable(stop_fd):
            manager.alive()
            agent.step(min(TURN_S, manager.every_s), stop_fd)
        manager.stopping()
        agent.close()


def _renewal(store_url: str) -> Renewal | None:
    """Return the task that renews this host's certificate; without a certificate the agent does not load the library for it."""
    if certificate_of(store_url) is None:
        return None
    from netorch.agent.tasks.renewal import Renewal, own_directory

    directory = own_directory(store_url)
    return Renewal(directory) if directory is not None else None


def _seen(agent: Agent, renewal: Renewal | None) -> Seen:
    return Seen(
        host=agent.host_name,
        status=agent.status.of_agent(),
        in_sync=agent.follower.in_sync,
        revision=agent.follower.history.revision,
        degraded=sum(slice_id > HOST_SLICE for slice_id in agent.reconciler.problems),
        mappings={vni: len(records.mappings) for vni, records in agent.records.vpcs.items()},
        published=agent.publisher.records(),
        certificate_expires=renewal.expires if renewal is not None else 0.0,
    )


def restore_host(host_name: str, state_dir: Path) -> dict[int, str]:
    """Restore a host at boot; return why slices are degraded. Does nothing on a host that already has its namespace.

    Raises:
      NetorchError: as `run_agent`, and as `restore`: then the kernel holds nothing that carries packets.
    """
    from netorch.drivers import netns

    if netns.exists(overlay_netns(host_name)):
        return {}  # the host is not booting: its kernel state is newer than the snapshot
    with _kernel_of(host_name, state_dir) as kernel:
        problems = restore(host_name, kernel, _snapshot_of(host_name, state_dir), _compilers())
        kernel.close()
    return problems


def _compilers() -> Sequence[Compiler]:
    compilers = load_compilers()
    check_coverage(compilers, compiled())
    return compilers


def _snapshot_of(host_name: str, state_dir: Path) -> SnapshotFile:
    path = state_dir / f"{host_name}.snapshot"
    tighten(path)
    return SnapshotFile(path)


@contextmanager
def _kernel_of(host_name: str, state_dir: Path) -> Iterator[LinuxKernel]:
    """Yield the host's kernel, locked for this process. Raises NetorchError."""
    _allow_many_files()
    lock = _lock(state_dir / f"{host_name}.lock", host_name)
    # Imported late for the same reason as in `run_agent`.
    from netorch.drivers.daemons.sealing import EdgeKey
    from netorch.drivers.linux import LinuxKernel

    kernel = LinuxKernel(host_name, EdgeKey(state_dir / f"{host_name}.key"))
    claim = kernel.claim()  # the lock does not stop an agent with another state directory
    yield kernel
    claim.close()
    os.close(lock)


def _allow_many_files() -> None:
    """Raise the limit of open files to the hard limit: each gateway of an edge takes a dozen."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _descriptor_of_signals(*signals: signal.Signals) -> int:
    """Return a descriptor that becomes readable on a signal. A flag is not enough: poll(2) would sleep through it."""
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
        descriptor = _opened(path)
    except OSError as error:
        raise NetorchError(f"agent: {path}: {error.strerror}; choose another --state-dir") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise NetorchError(
            f"agent: an agent of host {host_name} is already running (it holds {path}); stop that agent first"
        ) from None
    return descriptor


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno != errno.EROFS or not path.exists():
            raise
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # enough for flock(2): an agent starts on a read-only disk, too
