"""Whatever happens to a tunnel, no packet of a customer leaves an edge in plain text."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from netorch.agent.service.restore import restore
from netorch.agent.snapshot import SnapshotFile
from netorch.compiler.registry import load_compilers
from netorch.drivers import netns
from netorch.drivers.charon.driver import RUN
from netorch.drivers.daemons.sealing import EdgeKey
from netorch.drivers.linux import LinuxKernel
from netorch.model.outside.vpn import VpnConnection
from netorch.records import keys
from netorch.state.base import OUTSIDE
from netorch.state.names import tunnel_name
from netorch.state.owner import netns_name, overlay_netns
from netorch.state.rooted import Xfrm
from netorch.store.base import Delete, Put
from tests.integration.edges.vpn.sites import PORT, SERVER, Stage
from tests.rig.outskirts import BORDER, EDGES
from tests.rig.packets import PacketListener
from tests.rig.world import wait_for

pytestmark = pytest.mark.root

SECRET = b"a customer's own words"
ESP = b"\x32"  # IP protocol 50
MANY = 200  # datagrams sent meanwhile


@contextmanager
def nothing_plain(stage: Stage) -> Iterator[Callable[[], None]]:
    """Let a's instance talk to its site; check that no edge's uplink shows the payload. Yields a function that waits for more."""
    done, sent = threading.Event(), [0]

    def talk() -> None:
        with stage.sender("a/one") as sender:
            while not done.is_set():
                with suppress(OSError):
                    sender.sendto(SECRET, (SERVER, PORT))
                sent[0] += 1
                time.sleep(0.002)

    def wait_for_more() -> None:
        begin = sent[0]
        wait_for(lambda: sent[0] >= begin + MANY, "datagrams to be sent")

    with ExitStack() as stack:
        ears = [stack.enter_context(PacketListener(BORDER, f"to-{edge}")) for edge in EDGES]
        thread = threading.Thread(target=talk, daemon=True)
        thread.start()
        try:
            wait_for_more()
            yield wait_for_more
            wait_for_more()
        finally:
            done.set()
            thread.join()
        frames = [frame for ear in ears for frame in ear.take()]
    assert [frame for frame in frames if SECRET in frame] == []
    assert any(frame[23:24] == ESP for frame in frames)  # the packets left as ESP


def outside(edge: str, *words: str) -> None:
    subprocess.run(["ip", "-n", netns_name(edge, OUTSIDE), *words], check=True)


def flush_states(stage: Stage) -> None:
    for edge in EDGES:
        outside(edge, "xfrm", "state", "flush")


def flush_policies(stage: Stage) -> None:
    for edge in EDGES:
        outside(edge, "xfrm", "policy", "flush")


def flush_both(stage: Stage) -> None:
    flush_policies(stage)
    flush_states(stage)


def kill_charon(stage: Stage) -> None:
    for edge in EDGES:
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                if f"STRONGSWAN_CONF={RUN / edge}".encode() in path.read_bytes():
                    os.kill(int(path.parent.name), signal.SIGKILL)
            except OSError:
                continue


def kill_charon_and_flush(stage: Stage) -> None:
    kill_charon(stage)
    flush_both(stage)


def delete_devices(stage: Stage) -> None:
    connection = next(stage.outskirts.world.vpc("a").each(VpnConnection))
    for place, edge in enumerate(EDGES):
        ifname = tunnel_name(connection.vni, connection.id, place)
        subprocess.run(["ip", "-n", overlay_netns(edge), "link", "del", ifname], check=True)


@pytest.mark.parametrize(
    "befalls",
    [flush_states, flush_policies, flush_both, kill_charon, kill_charon_and_flush, delete_devices],
    ids=lambda found: found.__name__,
)
def test_nothing_leaves_in_plain_text(stage: Stage, befalls: Callable[[Stage], None]) -> None:
    with nothing_plain(stage):
        befalls(stage)
    begin_again(stage)


def begin_again(stage: Stage) -> None:
    """Bring a's tunnels up again; b's do not matter here."""
    stage.sites["a"].device.begin_again()
    stage.wait_up("a")


def test_nothing_leaves_in_plain_text_while_edges_boot(stage: Stage) -> None:
    """Both lose their power; then netorch-restore.service and the agent run, with a delay between them."""
    world = stage.outskirts.world
    with nothing_plain(stage) as wait_for_more:
        for edge in EDGES:
            stage.outskirts.lose_power(edge)
        for edge in EDGES:
            with netns.inside(world.hosts[edge].fd):
                kernel = LinuxKernel(edge, EdgeKey(world.directory / f"{edge}.key"))
            assert restore(edge, kernel, SnapshotFile(world.directory / f"{edge}.snapshot"), load_compilers()) == {}
            kernel.close()
        wait_for_more()
        world.start_agents(*EDGES)
    begin_again(stage)


def test_nothing_leaves_in_plain_text_when_a_connection_is_deleted(stage: Stage) -> None:
    world = stage.outskirts.world
    connection = next(world.vpc("a").each(VpnConnection))
    key = keys.resource(connection.id)
    found = world.store.get(key)
    assert found is not None
    with nothing_plain(stage) as wait_for_more:
        world.store.txn((), [Delete(key)])
        world.settle()
        wait_for_more()
        held = world.reader("e1").dump(frozenset({Xfrm.kind})).values()
        assert not any(isinstance(obj, Xfrm) and obj.vni == connection.vni for obj in held)
    world.store.txn((), [Put(key, found.value)])
    begin_again(stage)
