"""A process with many agents that follow a store and do nothing else; it reports what they have received.

Each agent is a thread with a connection, a follower and records of its own, as in an agent's process.
"""

from __future__ import annotations

import logging
import os
import select
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any, Final

import grpc
import msgspec

from netorch.agent.following.follower import Follower
from netorch.agent.loop import STORE_PATIENCE_S
from netorch.agent.main import STORE_OPEN_S
from netorch.agent.records import Records
from netorch.agent.report import COUNT_EVERY_S
from netorch.store import open_store
from netorch.store.aside import OpenedAside
from netorch.store.base import Range
from netorch.store.etcd import stream, watch
from netorch.store.etcd.store import EtcdStore

CATCH_UP_S: Final = 2.0
GRPC_WAKES_S: Final = 5.0
TURN_S: Final = COUNT_EVERY_S  # an agent wakes so often, if nothing happens


def host_name(number: int) -> str:
    """Return the name of a host."""
    return f"h{number:04d}"


class Delivery(msgspec.Struct, frozen=True, array_like=True):
    """A revision of a mapping that an agent has decoded, and when, by the monotonic clock."""

    revision: int
    at: float


class Report(msgspec.Struct, kw_only=True):
    """What the agents of a process have received since the last report, and what they hold."""

    in_sync: int
    deliveries: list[Delivery]
    listings: int
    listed: int  # keys
    received: int  # bytes of all open connections since they were opened
    rss: int  # bytes


class NotingRecords(Records):
    """Records that note the revisions of changed mappings."""

    def __init__(self, host_name: str) -> None:
        super().__init__(host_name)
        self.noted: list[int] = []

    def put(self, key: str, value: bytes, revision: int) -> None:
        """Store a record."""
        super().put(key, value, revision)
        if key.startswith("map/"):
            self.noted.append(revision)


class FollowingAgent(threading.Thread):
    """The part of an agent that follows the store."""

    def __init__(self, host: str, url: str) -> None:
        super().__init__(name=host, daemon=True)
        self._records = NotingRecords(host)
        self._followed: tuple[int, frozenset[str]] = (-1, frozenset())
        opened = OpenedAside(lambda: open_store(url, patience_s=STORE_PATIENCE_S), STORE_OPEN_S)
        self.follower = Follower(self._records, opened, self._prefixes)
        self.deliveries: list[Delivery] = []

    def _prefixes(self) -> frozenset[str]:
        if self._followed[0] != self._records.prefix_changes:
            self._followed = self._records.prefix_changes, frozenset(self._records.prefixes)
        return self._followed[1]

    def run(self) -> None:
        """Follow the store as an agent's turns do."""
        while True:
            self.follower.pull(time.monotonic())
            self._records.take_dirty()
            at, noted = time.monotonic(), self._records.noted
            self.deliveries += [Delivery(revision, at) for revision in noted]
            noted.clear()
            poller = select.poll()
            if (descriptor := self.follower.fileno()) is not None:
                poller.register(descriptor, select.POLLIN)
            poller.poll(TURN_S * 1000)


class PatientStream(stream.Stream):
    """A stream that requests progress: of versions that may answer too early only when its watches have had time to catch up."""

    def __init__(self, *arguments: Any) -> None:  # noqa: ANN401 - a Stream's
        super().__init__(*arguments)
        self._caught_up_at = time.monotonic() + (0.0 if self.can_ask else CATCH_UP_S)
        self.can_ask = True

    def ask_progress(self) -> None:
        """Request progress, or leave it for the next time."""
        if time.monotonic() >= self._caught_up_at:
            super().ask_progress()


class Listed:
    """Counts the listings that etcd answers, without those of the agents' audits, which compare one revision."""

    def __init__(self) -> None:
        self.listings = self.keys = 0
        listing, lock = EtcdStore.list, threading.Lock()

        def counted(store: EtcdStore, prefix: str, revision: int = 0) -> Range:
            found = listing(store, prefix, revision)
            if not revision:
                with lock:
                    self.listings, self.keys = self.listings + 1, self.keys + len(found.kvs)
            return found

        EtcdStore.list = counted  # type: ignore[assignment,method-assign]


def received_bytes() -> int:
    """Return the bytes that this process has received on its open TCP connections. tcp(7); struct tcp_info in linux/tcp.h."""
    total = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            if not os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                continue
            with socket.socket(fileno=os.dup(int(name))) as known:
                if known.family in (socket.AF_INET, socket.AF_INET6) and known.type == socket.SOCK_STREAM:
                    total += int.from_bytes(known.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)[128:136], sys.byteorder)
        except OSError:
            continue  # it was closed meanwhile
    return total


def run_agents(url: str, first: int, count: int) -> None:
    """Run the agents of some hosts; report for each byte of stdin."""
    logging.disable(logging.WARNING)  # each agent tells of the restart
    watch.Stream = PatientStream  # type: ignore[assignment,attr-defined]
    # Two threads of each connection wake ten times a second for signals, which only a main thread gets. 1,000 agents on one
    # machine would do little else.
    grpc._common.MAXIMUM_WAIT_TIMEOUT = GRPC_WAKES_S
    listed = Listed()
    agents = [FollowingAgent(host_name(number), url) for number in range(first, first + count)]
    for agent in agents:
        agent.start()
    while os.read(sys.stdin.fileno(), 1):
        deliveries = []
        for agent in agents:
            deliveries += (taken := agent.deliveries.copy())
            del agent.deliveries[: len(taken)]
        report = Report(
            in_sync=sum(agent.follower.in_sync for agent in agents),
            deliveries=deliveries,
            listings=listed.listings,
            listed=listed.keys,
            received=received_bytes(),
            rss=int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"),
        )
        print(msgspec.json.encode(report).decode(), flush=True)


if __name__ == "__main__":
    run_agents(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
