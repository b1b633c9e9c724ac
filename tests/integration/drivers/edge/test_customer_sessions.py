"""The life of sessions with customers' routers: changes, keys, failures of a router or of bird."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

import msgspec
import pytest

from netorch.drivers.base import LearnedChanged, Lost
from netorch.drivers.bird.control import BirdError, Control
from netorch.drivers.bird.customers import Customers as Trade
from netorch.drivers.bird.driver import customers_directory
from netorch.drivers.daemons.sealing import EdgeKey
from netorch.model.outside.secrets import Secret, seal
from netorch.model.status import ESTABLISHED
from netorch.state.daemons.bgp import CustomerPeer
from netorch.state.op import Create, Delete, Replace
from tests.integration.drivers.edge.customers import HOST, RANGES, VPN, A, B, Customers, Edge, table_of
from tests.integration.edges.border import same
from tests.rig.hosts import restarted
from tests.rig.world import wait_for

pytestmark = pytest.mark.root

SITE = "192.168.1.0/24"
FIRST, SECOND, OF_B = "x-0013880000001", "x-0013880000002", "x-0013890000004"
KEY, OTHER_KEY = "tiger-of-the-first", "lion-of-nobody"
FILE = customers_directory(HOST) / "bird.conf"


def test_a_session_stays_while_others_come_change_and_go(edge: Edge, customers: Customers) -> None:
    stays, changes = customers.make(FIRST, A, SITE), customers.make(SECOND, A, SITE, net=11)
    of_b = customers.make(OF_B, B, SITE, bfd=True)
    peer, other = stays.peer("stays"), changes.peer("changes")
    edge.add(peer)
    edge.wait_for(peer)
    since, since_there, process = edge.since(peer), stays.since(), edge.pid()
    wait_for(lambda: stays.told() == set(RANGES[A]), "what the first one is told")

    edge.add(other, of_b.peer("of_b"))
    edge.wait_for(other, of_b.peer("of_b"))
    since_changed = changes.since()
    changed = msgspec.structs.replace(other, metric=1000, announces=("10.0.0.0/16", "10.9.0.0/16"))
    edge.apply(Replace(other, changed))
    wait_for(lambda: changes.told() == {"10.0.0.0/16", "10.9.0.0/16"}, "the announcements")
    wait_for(lambda: edge.learned(A) == {SITE: (1001, SECOND)}, "the other metric")
    assert stays.told() == set(RANGES[A])
    assert changes.since() == same(since_changed), "what a VPC's further range changes needs no other session"
    edge.apply(Delete(changed), Delete(of_b.peer("of_b")))
    wait_for(lambda: (edge.learned(A), edge.learned(B)) == ({SITE: (VPN + 1, FIRST)}, {}), "the first one's route alone")
    assert (edge.since(peer), stays.since(), edge.pid()) == (same(since), same(since_there), process)
    assert edge.peers() == {peer}


def test_a_restarted_agent_ends_no_session(edge: Edge, customers: Customers) -> None:
    customer = customers.make(FIRST, A, SITE)
    peer = customer.peer("of_a")
    edge.add(peer)
    edge.wait_for(peer)
    since = customer.since()
    with restarted(HOST) as kernel:
        assert {obj for obj in kernel.dump().values() if isinstance(obj, CustomerPeer)} == {peer}
        assert kernel.customer_sessions()[peer.name].state == ESTABLISHED
        assert kernel.learned(table_of(A)) == edge.kernel.learned(table_of(A))
    assert customer.since() == same(since)


def test_a_session_has_its_key_and_nobody_sees_it(edge: Edge, customers: Customers, tmp_path: Path) -> None:
    signed, plain = customers.make(FIRST, A, SITE, password=KEY), customers.make(OF_B, B, SITE)
    wrong = signed.peer("of_a", secret=edge.seal(OTHER_KEY))
    edge.add(wrong, plain.peer("of_b"))
    edge.wait_for(plain.peer("of_b"))
    wait_for(lambda: "key" in edge.state(wrong).reason, "the reason")
    assert edge.state(wrong).state != ESTABLISHED
    right = signed.peer("of_a", secret=edge.seal(KEY))
    edge.apply(Replace(wrong, right))
    edge.wait_for(right)

    head, _, rest = FILE.read_text().partition("\n")
    assert (KEY in head, KEY in rest) == (False, True)
    assert FILE.stat().st_mode & 0o777 == 0o600
    assert edge.peers() == {right, plain.peer("of_b")}
    with restarted(HOST) as kernel:  # without a key, like the kernel object of a command
        assert set(kernel.dump().values()) >= {right, plain.peer("of_b")}
    assert KEY not in f"{edge.peers()} {edge.kernel.customer_sessions()}"


def test_a_key_that_was_edited_is_drift(edge: Edge, customers: Customers) -> None:
    customer = customers.make(FIRST, A, SITE, password=KEY)
    peer, other = customer.peer("of_a", secret=edge.seal(KEY)), customers.make(OF_B, B).peer("of_b")
    edge.add(peer, other)
    edge.wait_for(peer)
    FILE.write_text(FILE.read_text().replace(KEY, OTHER_KEY))
    assert edge.peers() == {msgspec.structs.replace(peer, other_password=True), other}
    edge.apply(Replace(msgspec.structs.replace(peer, other_password=True), peer))
    assert edge.peers() == {peer, other}
    edge.wait_for(peer)


def test_a_key_that_cannot_be_opened_keeps_nobody_else_waiting(edge: Edge, customers: Customers, tmp_path: Path) -> None:
    customer = customers.make(FIRST, A, SITE)
    peer = customer.peer("of_a")
    strange = seal(EdgeKey(tmp_path / "another.key").public, Secret(md5=KEY))
    wrong = customers.make(OF_B, B)
    secrets = (strange, edge.seal(""), edge.seal('a"; include "/etc/shadow'))
    refused = [wrong.peer(f"of_b{number}", secret=secret) for number, secret in enumerate(secrets)]
    failures = edge.kernel.apply([Create(refused[0]), Create(peer), *map(Create, refused[1:])])
    assert [failure.op.obj for failure in failures] == refused
    assert all(KEY not in str(failure.error) and "shadow" not in str(failure.error) for failure in failures)
    edge.wait_for(peer)
    assert edge.peers() == {peer}


def test_a_silent_router_is_noticed_by_bfd(edge: Edge, customers: Customers) -> None:
    """Without BFD the session would last until the hold time of 30 s is over, which would also be the reason given."""
    silent, other = customers.make(FIRST, A, SITE, bfd=True), customers.make(OF_B, B, SITE, bfd=True)
    peer, of_b = silent.peer("of_a"), other.peer("of_b")
    edge.add(peer, of_b)
    edge.wait_for(peer, of_b)
    wait_for(lambda: all("Up" in "".join(each.ask("show bfd sessions")) for each in (silent, other)), "BFD")
    wait_for(lambda: edge.learned(A) and edge.learned(B), "the routes")
    since = edge.since(of_b)
    edge.events()
    silent.signal(signal.SIGSTOP)
    wait_for(lambda: LearnedChanged(table_of(A)) in edge.events(), "the event")
    wait_for(lambda: edge.learned(A) == {}, "the withdrawal")
    assert "BFD" in edge.state(peer).reason
    assert edge.since(of_b) == same(since)
    silent.signal(signal.SIGCONT)
    edge.wait_for(peer)


def test_routes_outlive_a_killed_bird_and_the_next_one_has_them_with_its_sessions(edge: Edge, customers: Customers) -> None:
    a, b = customers.make(FIRST, A, SITE), customers.make(OF_B, B, SITE)
    peer, of_b = a.peer("of_a"), b.peer("of_b")
    edge.add(peer, of_b)
    edge.wait_for(peer, of_b)
    wait_for(lambda: edge.learned(A) and edge.learned(B), "the routes")
    edge.events()
    os.kill(edge.pid(), signal.SIGKILL)
    wait_for(lambda: Lost(Trade.kinds) in edge.events(), "the event")
    assert edge.peers() == set()
    assert edge.state(peer).state == "Down"
    assert edge.learned(A) == {SITE: (VPN + 1, FIRST)}
    assert edge.way(A, "192.168.1.1") == FIRST
    edge.add(peer)  # the other one is no longer wanted
    edge.wait_for(peer)
    wait_for(lambda: edge.learned(A) == {SITE: (VPN + 1, FIRST)}, "the route")
    assert edge.learned(B) == {}, "nobody would remove it"
    assert edge.peers() == {peer}


def test_routes_of_a_killed_bird_go_with_the_last_session(edge: Edge, customers: Customers) -> None:
    customer = customers.make(FIRST, A, SITE)
    peer = customer.peer("of_a")
    edge.add(peer)
    wait_for(lambda: edge.learned(A), "the route")
    os.kill(edge.pid(), signal.SIGKILL)
    edge.events()
    edge.apply(Delete(peer))
    assert edge.learned(A) == {}
    wait_for(lambda: LearnedChanged(table_of(A)) in edge.events(), "the event")


def test_what_is_changed_while_bird_is_dead_takes_nothing_from_others(edge: Edge, customers: Customers) -> None:
    """The agent learns of bird's end by an event, and may be about to change something else."""
    peer = customers.make(FIRST, A, SITE).peer("of_a")
    edge.add(peer)
    edge.wait_for(peer)
    os.kill(edge.pid(), signal.SIGKILL)
    of_b = customers.make(OF_B, B, SITE).peer("of_b")
    edge.add(of_b)
    edge.wait_for(peer, of_b)
    assert edge.peers() == {peer, of_b}


def test_a_change_finds_a_bird_that_is_late_once_and_ends_no_session(
    edge: Edge, customers: Customers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that stalls keeps bird from answering in time: that is no reason to kill it."""
    peer, of_b = customers.make(FIRST, A, SITE).peer("of_a"), customers.make(OF_B, B, SITE).peer("of_b")
    edge.add(peer)
    edge.wait_for(peer)
    before, since = edge.pid(), edge.since(peer)
    late, greet = [BirdError("bird does not answer", errno.ETIMEDOUT)], Control.greet

    def greet_late(control: Control) -> None:
        if late:
            raise late.pop()
        greet(control)

    monkeypatch.setattr(Control, "greet", greet_late)
    edge.add(of_b)
    assert late == []
    edge.wait_for(of_b)
    assert (edge.pid(), edge.since(peer)) == (before, same(since))


def test_a_router_without_bfd_has_a_session_all_the_same(edge: Edge, customers: Customers) -> None:
    peer = msgspec.structs.replace(customers.make(FIRST, A, SITE).peer("of_a"), bfd=True)
    edge.add(peer)
    edge.wait_for(peer)
    wait_for(lambda: edge.learned(A) == {SITE: (VPN + 1, FIRST)}, "the route")


def test_a_bird_that_hangs_is_noticed_and_replaced(edge: Edge, customers: Customers) -> None:
    customer = customers.make(FIRST, A, SITE)
    peer = customer.peer("of_a")
    edge.add(peer)
    edge.wait_for(peer)
    before = edge.pid()
    edge.events()
    os.kill(before, signal.SIGSTOP)
    wait_for(lambda: edge.state(peer).state == "Down" or None, "the state")
    assert Lost(Trade.kinds) in edge.events()
    assert edge.peers() == set()
    edge.add(peer)
    edge.wait_for(peer)
    assert edge.pid() != before
    wait_for(lambda: edge.learned(A) == {SITE: (VPN + 1, FIRST)}, "the route")
