"""Edges that announce their pool to a border router, which also runs bird."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from netorch.control.actions.outside.drains import drain_host
from netorch.diagnose.host.drift import find_drift
from netorch.drivers.bird import password
from netorch.drivers.bird.control import BirdError, Control
from netorch.drivers.bird.driver import RUN
from netorch.errors import ApiError
from netorch.lab.wiring import in_node
from netorch.model.outside.public import AddressPool
from netorch.records import keys
from netorch.records.codec import encode
from netorch.state.base import OUTSIDE
from netorch.state.daemons.bgp import Announcement
from netorch.state.op import Create
from netorch.state.owner import netns_name
from netorch.store.base import Delete
from tests.integration.edges.border import same
from tests.integration.edges.conftest import PUBLIC
from tests.integration.edges.speaking import ADDRESSES, Speaking
from tests.rig.outskirts import EDGES, INTERNET, POOL, POOL6, SERVER, UPLINKS
from tests.rig.world import wait_for

pytestmark = pytest.mark.root

SECRET = "a secret of the border's"


@pytest.fixture(autouse=True)
def settled(speaking: Speaking) -> None:
    speaking.wait_for_both()


def bird_of(edge: str) -> int:
    """Return the process ID of an edge's bird."""
    with Control(RUN / edge / "bird.ctl", 5.0) as control:
        return control.pid()


def is_other(before: int) -> bool:
    """Return whether the first edge's bird is a new process; False while there is none."""
    try:
        return bird_of("e1") != before
    except BirdError:
        return False


def is_well(speaking: Speaking) -> None:
    """Wait until the first edge's agent has no problem: it forgets one in the turn that repairs it."""
    wait_for(lambda: speaking.world.agent("e1").reconciler.problems == {}, "no problem to be left")


def test_both_edges_announce_the_pool_and_nothing_else(speaking: Speaking) -> None:
    wait_for(lambda: all(speaking.border.announced(edge) == {POOL, POOL6} for edge in EDGES), "both pools, and nothing else")
    wait_for(lambda: speaking.states() == {edge: ["Established"] for edge in EDGES}, "the status")
    assert speaking.outskirts.ping(INTERNET, PUBLIC["a/one"]).ok
    assert speaking.outskirts.ping("a/one", SERVER).ok


def test_drift_sees_what_somebody_does_to_a_daemon(speaking: Speaking) -> None:
    store, agent = speaking.world.store, speaking.world.agent("e1")
    with agent.busy, in_node("e1"):  # meanwhile it repairs nothing
        assert find_drift("e1", store).operations == []
        with Control(RUN / "e1" / "bird.ctl", 5.0) as control:
            control.greet()
            control.ask("disable announced4")
        assert find_drift("e1", store).operations == [Create(Announcement(prefix=POOL))]
    agent.audit()
    speaking.wait_for_both()


def test_linux_on_an_edge_learns_no_route_and_others_reach_no_port(speaking: Speaking) -> None:
    where = netns_name("e1", OUTSIDE)
    shown = subprocess.run(["ip", "-n", where, "route"], check=True, capture_output=True, text=True).stdout
    assert "bird" not in shown
    assert "proto 12" not in shown
    command = ["ip", "netns", "exec", INTERNET, "timeout", "1", "bash", "-c", f"</dev/tcp/{ADDRESSES['e1']}/179"]
    assert subprocess.run(command, check=False, capture_output=True).returncode == 124, "dropped, not refused"


def test_an_edge_without_a_session_is_left_by_hosts_and_its_partner_is_not_drained(speaking: Speaking) -> None:
    """The border router ends the session; all cables, and everything that the edge can see of the uplink, stay as they are."""
    world = speaking.world
    vteps = {edge: world.hosts[edge].vtep for edge in EDGES}

    def silent() -> frozenset[str]:
        return world.agent("hv1").records.seats.silent

    wait_for(lambda: not silent(), "both edges to be ready", 60.0)
    speaking.border.ask("disable e1")
    started = time.monotonic()
    try:
        wait_for(lambda: silent() == {vteps["e1"]}, "hv1 to leave e1", 60.0)
        print(f"left after {time.monotonic() - started:.2f} s")
        said = f"it has no BGP session with {UPLINKS['e1'].gateway}"
        wait_for(lambda: world.inventory().agents["e1"].not_ready == said, "the status")
        with pytest.raises(ApiError, match=f"e1, the other edge of its pair, is not ready: {said}"):
            drain_host(world.store, world.caller, "e2")
        assert speaking.outskirts.ping("a/one", SERVER).ok
        speaking.border.ask("disable e2")
        wait_for(lambda: silent() == set(vteps.values()), "hv1 to hear nobody", 60.0)
    finally:
        for edge in EDGES:
            speaking.border.ask(f"enable {edge}")
    speaking.wait_for_both()
    wait_for(lambda: not silent(), "both edges to be ready", 60.0)


def test_a_silent_edge_is_left_by_bfd(speaking: Speaking) -> None:
    pid = bird_of("e1")
    os.kill(pid, signal.SIGSTOP)
    started = time.monotonic()
    try:
        wait_for(lambda: speaking.border.next_hops(POOL) == {ADDRESSES["e2"]}, "e1 to be left", 60.0)
        print(f"left after {time.monotonic() - started:.2f} s")
        assert "BFD" in speaking.border.session("e1")
        assert speaking.outskirts.ping(INTERNET, PUBLIC["a/one"]).ok
    finally:
        with suppress(ProcessLookupError):  # the process may have been replaced
            os.kill(pid, signal.SIGCONT)
    speaking.wait_for_both()


def test_an_edge_without_its_link_is_left(speaking: Speaking) -> None:
    where = netns_name("e2", OUTSIDE)
    speaking.world.stop_agent("e2")  # the agent would set the link up again
    subprocess.run(["ip", "-n", where, "link", "set", "out0", "down"], check=True)
    started = time.monotonic()
    wait_for(lambda: speaking.border.next_hops(POOL) == {ADDRESSES["e1"]}, "e2 to be left", 60.0)
    print(f"left after {time.monotonic() - started:.2f} s")
    speaking.world.start_agents("e2")
    speaking.wait_for_both()


def test_a_killed_bird_is_started_again(speaking: Speaking) -> None:
    before, since = bird_of("e1"), speaking.border.since("e1")
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: is_other(before) and speaking.border.since("e1") != same(since), "another bird, in another session", 60.0)
    speaking.wait_for_both()
    is_well(speaking)


def test_a_bird_that_hangs_is_replaced(speaking: Speaking) -> None:
    before = bird_of("e1")
    os.kill(before, signal.SIGSTOP)
    wait_for(lambda: not Path(f"/proc/{before}").exists(), "its end", 60.0)
    speaking.wait_for_both()
    is_well(speaking)


def test_a_killed_agent_ends_no_session_and_the_next_one_writes_nothing(speaking: Speaking) -> None:
    with speaking.border.patient():
        before, since = bird_of("e1"), speaking.border.since("e1")
        speaking.outskirts.kill_agent("e1")
        assert bird_of("e1") == before
        assert speaking.border.since("e1") == same(since)


def test_a_pool_that_is_added_is_announced_in_the_same_session(speaking: Speaking) -> None:
    with speaking.border.patient():
        since = speaking.border.since("e1")
        more = AddressPool(name="more", pair="west", cidrs=("192.0.3.0/24",))
        speaking.outskirts.put(keys.pool("more"), encode(more))
        wait_for(lambda: speaking.border.announced("e1") == {POOL, POOL6, "192.0.3.0/24"}, "the announcement")
        speaking.world.store.txn((), [Delete(keys.pool("more"))])
        wait_for(lambda: speaking.border.announced("e1") == {POOL, POOL6}, "the withdrawal")
        assert speaking.border.since("e1") == same(since)


def test_a_wrong_password_keeps_a_session_down_and_status_says_so(speaking: Speaking) -> None:
    speaking.border.use_password(SECRET)
    for edge in EDGES:
        wait_for(lambda: not speaking.border.established(edge), "the session's end", 60.0)  # noqa: B023 - called before the next turn
        wait_for(lambda: [text for text in speaking.problems(edge) if "password" in text], "the status", 60.0)  # noqa: B023
    password.FILE.parent.mkdir(exist_ok=True)
    password.FILE.touch(0o600)
    password.FILE.write_text("another\n")
    wait_for(lambda: speaking.world.agent("e1").reconciler.problems == {}, "the new password")
    assert not speaking.border.established("e1")
    password.FILE.write_text(f"{SECRET}\n")
    speaking.wait_for_both()
    wait_for(lambda: not speaking.problems("e1"), "the status")
    for edge in EDGES:
        agent = speaking.world.agent(edge)
        with agent.busy:
            everything = [str(obj) for found in agent.reconciler.slices.values() for obj in found.actual.values()]
        assert SECRET not in "".join(everything)
        assert (RUN / edge / "bird.conf").stat().st_mode & 0o777 == 0o600
    assert SECRET.encode() not in speaking.world.store_path.read_bytes()
