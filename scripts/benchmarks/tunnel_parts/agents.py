"""The work of an edge's agent beside few and many tunnels: one more connection, a restart of the agent and of charon."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from unittest.mock import patch

import msgspec
from _agent import AgentProcess, Started
from common import Figure, growth
from edge_parts.changes import Change, Edge, underlays
from edge_parts.records import EDGES, FIRST_VNI, fill, put

from netorch.drivers.bird import control as bird
from netorch.drivers.charon import control as charon
from netorch.drivers.charon.driver import RUN
from netorch.drivers.daemons.sealing import EdgeKey
from netorch.store import open_store
from netorch.store.base import Delete, Store
from tunnel_parts.records import connection, connection_key, device_address, place, private_gateway, vpcs_of

NAME: Final = EDGES[0]
MORE: Final = 5  # connections that come while the edge works
PATIENCE_S: Final = 120.0


class Told(msgspec.Struct):
    """The number of requests to the daemons."""

    vici: int = 0  # packets to charon, except queries for its SAs
    configures: int = 0  # of bird


class Measured(msgspec.Struct, kw_only=True):
    """The measurements with one number of connections."""

    connections: int
    built: Started
    again: Started  # a restart
    more: Change
    vici: set[int]  # messages for one more connection
    configures: set[int]
    reloaded: float  # seconds from the death of charon until it has all connections again


def measure(connections: int, directory: Path) -> Measured:
    """Build an edge with so many tunnels, add more, and restart the agent and charon. No device answers."""
    directory.mkdir(parents=True)
    path = directory / "netorch.db"
    store = open_store(str(path), create=True)
    fill(store, vpcs_of(connections + MORE))
    public = EdgeKey(directory / f"{NAME}.key").public
    for number in range(vpcs_of(connections + MORE)):
        put(store, private_gateway(FIRST_VNI + number))
    for number in range(connections):
        _connect(store, number, public)
    with underlays():
        first = AgentProcess(f"u-{NAME}", path, directory, NAME)
        first.end()
        again = AgentProcess(f"u-{NAME}", path, directory, NAME)
        again.end()
        edge = Edge(NAME, path, directory)
        more, vici, configures = Change(), set[int](), set[int]()
        for number in range(connections, connections + MORE):
            _connect(store, number, public)
            with _counted() as told:
                more.note(*edge.act())
            vici.add(told.vici)
            configures.add(told.configures)
        reloaded = _reload(edge, connections + MORE)
        _remove(store, edge, connections + MORE)
        edge.agent.close()
    store.close()
    return Measured(
        connections=connections,
        built=first.started,
        again=again.started,
        more=more,
        vici=vici,
        configures=configures,
        reloaded=reloaded,
    )


def _connect(store: Store, number: int, public: str) -> None:
    vpc, own = place(number)
    put(store, connection(FIRST_VNI + vpc, own, device_address(number), public))


def _reload(edge: Edge, connections: int) -> float:
    """Kill charon; return the seconds until the agent has loaded all connections into another one."""
    socket = RUN / NAME / "charon.vici"
    with charon.Control(socket, 5.0) as control:
        pid = control.pid()
    begin = time.perf_counter()
    os.kill(pid, signal.SIGKILL)
    while time.perf_counter() - begin < PATIENCE_S:
        edge.agent.step(0.1)
        try:
            with charon.Control(socket, 5.0) as control:
                if control.pid() != pid and len(control.ask("get-conns")["conns"]) == connections:
                    return time.perf_counter() - begin
        except charon.CharonError:
            pass
    raise RuntimeError(f"tunnels: charon has not all of {connections} connections again after {PATIENCE_S:.0f} s")


def _remove(store: Store, edge: Edge, connections: int) -> None:
    """Delete all connections, which ends both daemons."""
    for number in range(connections):
        vpc, own = place(number)
        store.txn((), [Delete(connection_key(FIRST_VNI + vpc, own))])
    edge.act()


@contextmanager
def _counted() -> Iterator[Told]:
    """Count the requests to daemons during the block."""
    told = Told()
    say, ask = charon.Control._send, bird.Control.ask

    def counted_say(self: charon.Control, packet: bytes) -> None:
        told.vici += b"list-sa" not in packet  # the agent lists SAs each second
        say(self, packet)

    def counted_ask(self: bird.Control, command: str, patience_s: float | None = None) -> list[str]:
        told.configures += command == "configure"
        return ask(self, command, patience_s)

    with patch.object(charon.Control, "_send", counted_say), patch.object(bird.Control, "ask", counted_ask):
        yield told


def figures(found: Measured) -> list[Figure]:
    """Return the figures for one number of connections."""
    built, more = found.built, found.more
    parts = ", ".join(f"{name} {seconds:.2f}" for name, seconds in sorted(built.drivers.items(), key=lambda item: -item[1])[:6])
    return [
        Figure(name="build of an edge", value=built.seconds, unit="s", note=f"{built.objects:,} objects"),
        Figure(name="  thereof in the kernel and daemons", value=built.applied_s, unit="s", note=parts),
        Figure(name="agent's memory a tunnel", value=built.rss / found.connections / 1024, unit="KiB", digits=1),
        Figure(name="restart of the agent", value=found.again.seconds, unit="s"),
        Figure(name="writes of a restart", value=found.again.writes, goal=0, digits=0),
        Figure(
            name="one more connection: operations", value=max(more.operations), digits=0, note=f"at least {min(more.operations)}"
        ),
        Figure(name="  vici messages", value=max(found.vici), digits=0, note=f"at least {min(found.vici)}"),
        Figure(name="  bird configures", value=max(found.configures), goal=1, digits=0),
        Figure(name="  store to charon, least of several", value=min(more.seconds) * 1e3, unit="ms"),
        Figure(name="charon killed, until all are loaded again", value=found.reloaded, unit="s"),
    ]


def growth_figures(few: Measured, many: Measured) -> list[Figure]:
    """Return how much more one connection costs beside many than beside few, and how times grow."""
    pairs = {
        "operations": (few.more.operations, many.more.operations),
        "vici messages": (few.vici, many.vici),
        "bird configures": (few.configures, many.configures),
    }
    memory = (many.built.rss - few.built.rss) / (many.connections - few.connections) / 1024
    times = {
        "build of an edge": (few.built.seconds, many.built.seconds),
        "restart of the agent": (few.again.seconds, many.again.seconds),
        "charon killed, until all are loaded again": (few.reloaded, many.reloaded),
    }
    sizes = (few.connections, many.connections)
    return [
        *(
            Figure(name=f"one more connection: {name} beyond those", value=max(other) - max(one), goal=0, digits=0)
            for name, (one, other) in pairs.items()
        ),
        Figure(name="agent's memory of each more", value=memory, unit="KiB", digits=1),
        *(
            Figure(name=name, value=growth(sizes, each), unit="exponent", note=f"{each[0]:.2f} s, {each[1]:.2f} s")
            for name, each in times.items()
        ),
    ]
