"""A real etcd cluster on loopback. Tests kill, stop and restart its members."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import grpc
import pytest

from netorch.store.etcd import messages as pb

LEADERLESS_S = 30.0
LEAST_PROGRESS_MS = 100  # etcd raises a smaller interval to this: api/v3rpc/watch.go, minWatchProgressInterval
ROOM_BYTES = 1 << 30  # a member preallocates 128 MiB for its log
_MEMORY = Path("/dev/shm")


class Member:
    """A member of the cluster; its data survive the process."""

    def __init__(self, name: str, directory: Path, files: Sequence[str], progress_ms: int) -> None:
        self.name = name
        self.client_port, self.peer_port = _free_ports(2)
        self.directory = directory / name
        self._files, self._progress_ms = files, progress_ms
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.client_port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def peer(self) -> str:
        scheme = "https" if "--peer-cert-file" in self._files else "http"
        return f"{scheme}://127.0.0.1:{self.peer_port}"

    def start(self, cluster: str) -> None:
        scheme = "https" if "--cert-file" in self._files else "http"
        client, peer = f"{scheme}://{self.place}", self.peer
        command = [
            "etcd", "--name", self.name, "--data-dir", str(self.directory), "--initial-cluster", cluster,
            "--listen-client-urls", client, "--advertise-client-urls", client,
            "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
            "--heartbeat-interval", "50", "--election-timeout", "500",
            # Debian's etcd is too old for progress requests (docs/design/store.md), so it sends notifications on its own.
            "--experimental-watch-progress-notify-interval", f"{self._progress_ms}ms",
            *self._files,
        ]  # fmt: skip
        environment = {"PATH": os.environ["PATH"], "ETCD_UNSUPPORTED_ARCH": os.uname().machine}
        with open(self.directory.with_suffix(".log"), "ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """Kill the member, stopped or not, as a power failure does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def status(self) -> pb.Message | None:
        """Return the status that the member reports, or None while it does not answer."""
        with grpc.insecure_channel(self.place, [("grpc.enable_http_proxy", 0)]) as channel, contextlib.suppress(grpc.RpcError):
            path, answer = pb.STATUS
            status = channel.unary_unary(path, pb.StatusRequest.SerializeToString, answer.FromString)
            return status(pb.StatusRequest(), timeout=1.0, wait_for_ready=True)
        return None


class Cluster:
    """Members that know each other."""

    def __init__(self, directory: Path, size: int, files: Sequence[str], progress_ms: int) -> None:
        self.members = [Member(f"m{n}", directory, files, progress_ms) for n in range(size)]
        self._text = ",".join(f"{member.name}={member.peer}" for member in self.members)
        for member in self.members:
            member.start(self._text)

    def url(self, name: str) -> str:
        return f"etcd://{','.join(member.place for member in self.members)}/{name}"

    def start(self, member: Member) -> None:
        member.start(self._text)

    def leader(self) -> Member:
        """Return the leader; wait until there is one."""
        give_up = time.monotonic() + LEADERLESS_S
        while time.monotonic() < give_up:
            for member in self.members:
                status = member.status()
                if status is not None and status.leader and status.leader == status.header.member_id:
                    return member
            time.sleep(0.05)
        raise AssertionError("the cluster has no leader")

    def followers(self) -> list[Member]:
        leader = self.leader()
        return [member for member in self.members if member is not leader]

    def is_whole(self) -> bool:
        """Return whether all members answer and follow the same leader."""
        found = [member.status() for member in self.members]
        return all(found) and len({status.leader for status in found if status} - {0}) == 1

    def close(self) -> None:
        for member in self.members:
            member.kill()


@contextlib.contextmanager
def running_cluster(size: int = 3, files: Sequence[str] = (), progress_ms: int = LEAST_PROGRESS_MS) -> Iterator[Cluster]:
    """Run a cluster with its data in memory if the machine has room: tests kill etcd, not the machine.

    With `files`, options that name certificates, clients speak TLS.
    """
    if shutil.which("etcd") is None:
        pytest.fail("there is no etcd; install Debian's package etcd-server, as scripts/test does")
    has_room = _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > ROOM_BYTES
    with tempfile.TemporaryDirectory(prefix="netorch-etcd-", dir=_MEMORY if has_room else None) as directory:
        cluster = Cluster(Path(directory), size, files, progress_ms)
        try:
            if not files:
                cluster.leader()
            yield cluster
        finally:
            cluster.close()


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
