"""Hosts and their agents: as threads of this process, or as processes that a test can kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

import nftables
from pyroute2 import IPRoute

from netorch.agent.flowlog.files import LogFiles
from netorch.agent.flowlog.logger import FlowLogger
from netorch.agent.loop import STORE_PATIENCE_S, Agent
from netorch.agent.snapshot import SnapshotFile
from netorch.compiler.registry import load_compilers
from netorch.drivers import netns
from netorch.drivers.conntrack.sources import KernelFlows
from netorch.drivers.daemons.sealing import EdgeKey
from netorch.drivers.linux import LinuxKernel
from netorch.state.op import Op
from netorch.state.owner import overlay_netns
from netorch.store import open_store
from tests.rig.packets import PATIENCE_S

T = TypeVar("T")

UNIT: Final = Path(__file__).parents[2] / "systemd/netorch-agent.service"
_BOUNDING: Final = "CapabilityBoundingSet="


def _one_at_a_time(method: Callable[..., T]) -> Callable[..., T]:
    """Let one thread at a time call a method: libnftables keeps state across contexts, and this process runs several agents."""
    lock = threading.Lock()

    def guarded(*arguments: object, **named: object) -> T:
        with lock:
            return method(*arguments, **named)

    return guarded


nftables.Nftables.cmd = _one_at_a_time(nftables.Nftables.cmd)


class Host:
    """A host: its underlay namespace and its VTEP."""

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.vtep = f"192.0.2.{10 + number}"
        self.fd = netns.make(name)

    @property
    def overlay(self) -> str:
        """Return the name of the namespace that holds the VRFs."""
        return overlay_netns(self.name)

    @contextmanager
    def rtnl(self, *, overlay: bool = False) -> Iterator[IPRoute]:
        """Open an rtnetlink socket in the underlay or the overlay namespace."""
        descriptor = netns.find(self.overlay if overlay else self.name)
        try:
            with netns.inside(descriptor):
                ipr = IPRoute()
            with ipr:
                yield ipr
        finally:
            os.close(descriptor)


class AttentiveAgent(Agent):
    """An agent that can be asked whether it is in the middle of a turn."""

    def __init__(self, host: str, kernel: LinuxKernel, store_path: Path, snapshot: SnapshotFile, flow_logger: FlowLogger) -> None:
        super().__init__(
            host,
            kernel,
            lambda: open_store(str(store_path), patience_s=STORE_PATIENCE_S),
            snapshot,
            load_compilers(),
            flow_logger=flow_logger,
        )
        self.busy = threading.Lock()

    def turn(self) -> None:
        with self.busy:
            super().turn()

    def audit(self) -> None:
        """Read the whole kernel again, between two turns."""
        with self.busy:
            self.reconciler.read_kernel()

    def pending(self) -> list[Op]:
        """Return what an `apply` would do, between two turns: within one, what was compiled is not applied yet."""
        with self.busy:
            return self.reconciler.pending()

    def foreign(self) -> tuple[str, ...]:
        """Return the foreign objects that the agent knows, between two turns."""
        with self.busy:
            return self.reconciler.foreign()

    def has_done(self, revision: int) -> bool:
        """Return whether the agent has acted on everything that the store held at a revision."""
        with self.busy:
            return self.follower.in_sync and self.follower.history.revision >= revision


class AgentThread:
    """An agent in a thread of this process, inside its host's underlay namespace."""

    def __init__(self, host: Host, store_path: Path, state_dir: Path) -> None:
        self._host = host
        self._stop_reader, self._stop_writer = os.pipe()
        self._failure: BaseException | None = None
        self._ready = threading.Event()
        with netns.inside(host.fd):
            flow_logger = FlowLogger(KernelFlows(host.name), LogFiles(state_dir / "flow-logs", host.name))
            snapshot = SnapshotFile(state_dir / f"{host.name}.snapshot")
            kernel = LinuxKernel(host.name, EdgeKey(state_dir / f"{host.name}.key"))
            self.agent = AttentiveAgent(host.name, kernel, store_path, snapshot, flow_logger)
        self._thread = threading.Thread(target=self._run, name=f"agent-{host.name}", daemon=True)
        self._thread.start()
        assert self._ready.wait(PATIENCE_S), f"agent of {host.name} did not start"
        self.check()

    def _run(self) -> None:
        try:
            netns._setns(self._host.fd)  # for the whole life of the thread
            self.agent.start()
            self._ready.set()
            while not self._stopping():
                self.agent.step(1.0, self._stop_reader)
            self.agent.close()
        except BaseException as error:
            self._failure = error
        finally:
            self._ready.set()

    def _stopping(self) -> bool:
        import select

        return bool(select.select([self._stop_reader], [], [], 0)[0])

    def check(self) -> None:
        """Raise the error that ended the agent."""
        if self._failure is not None:
            raise AssertionError(f"agent of {self._host.name} died") from self._failure

    def stop(self) -> None:
        """End the agent as SIGTERM does."""
        os.write(self._stop_writer, b"x")
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        self.check()
        os.close(self._stop_reader)
        os.close(self._stop_writer)


def restricted() -> list[str]:
    """Return a command prefix that limits a command to the capabilities that systemd leaves the agent."""
    lines = UNIT.read_text().splitlines()
    capabilities = [name for line in lines if line.startswith(_BOUNDING) for name in line.removeprefix(_BOUNDING).split()]
    return ["setpriv", "--no-new-privs", f"--bounding-set=-all,+{',+'.join(name[4:].lower() for name in capabilities)}"]


class AgentProcess:
    """An agent in a process of its own, which a test can kill."""

    def __init__(self, host: Host, store: Path | str, state_dir: Path) -> None:
        # Not in the state directory of a file's cloud: a test may fill its disk.
        self.log = (store.parents[1] if isinstance(store, Path) else state_dir) / f"{host.name}.log"
        command = [
            *restricted(),
            sys.executable,
            "-m",
            "netorch",
            "--store",
            str(store),
            "agent",
            "run",
            "--host",
            host.name,
        ]
        command += ["--state-dir", str(state_dir), "--verbose"]
        with netns.inside(host.fd), open(self.log, "ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)

    @property
    def pid(self) -> int:
        """Return the process ID."""
        return self._process.pid

    def is_alive(self) -> bool:
        """Return whether the process runs."""
        return self._process.poll() is None

    def send(self, number: signal.Signals) -> None:
        """Send a signal that does not end the process."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """Send SIGKILL and wait."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        """Send SIGTERM and wait."""
        self._process.terminate()
        code = self._process.wait(PATIENCE_S)  # negative when SIGTERM came before the agent had started
        assert code in (0, -signal.SIGTERM), self.log.read_text()
