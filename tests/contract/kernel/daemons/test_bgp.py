"""A routing daemon's sessions and announcements: read back, kept across agents, restored after changes by others."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from netorch.drivers.base import Gone, KernelEvent, Lost
from netorch.drivers.bird import password
from netorch.drivers.bird.border import Border
from netorch.plan.diff import diff
from netorch.state.base import OUTSIDE, KernelObject
from netorch.state.daemons.bgp import Announcement, BgpPeer
from netorch.state.link import LOOPBACK, AdminUp
from netorch.state.netns import Namespace
from netorch.state.op import Create, Delete, Replace
from tests.contract.kernel.daemons import birds
from tests.contract.kernel.stands import Stand, by_key, create, events_of, missing, refusals, there
from tests.rig.world import wait_for

PEER = BgpPeer(local="198.18.0.21", local_asn=64601, remote="198.18.0.254", remote_asn=64512, local6="2001:db8::21")
POOL, SECOND, POOL6 = (Announcement(prefix=prefix) for prefix in ("198.51.100.0/24", "203.0.113.0/24", "2001:db8:1::/48"))
OUTSIDE_NAMESPACE = Namespace(label=OUTSIDE)
ALL: tuple[KernelObject, ...] = (OUTSIDE_NAMESPACE, AdminUp(netns=OUTSIDE, ifname=LOOPBACK), PEER, POOL, SECOND, POOL6)


@pytest.fixture(autouse=True)
def no_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(password, "FILE", tmp_path / "bgp-password")


def of_bird(stand: Stand) -> set[KernelObject]:
    return {obj for obj in stand.kernel.dump().values() if obj.kind in Border.kinds}


def lost(stand: Stand) -> bool:
    """Return whether an event says that all objects of the daemon must be read again."""
    seen: list[KernelEvent] = events_of(stand.kernel)
    return Lost(Border.kinds) in seen


def test_what_is_announced_is_read_back(stand: Stand) -> None:
    assert stand.kernel.apply(diff(by_key(*ALL), {})) == []
    assert of_bird(stand) == {PEER, POOL, SECOND, POOL6}
    assert [(session.router, session.asn) for session in stand.kernel.border_sessions()] == [(PEER.remote, PEER.remote_asn)]


def test_a_restarted_agent_takes_the_daemon_over(stand: Stand) -> None:
    create(stand.kernel, *ALL)
    with stand.restarted() as kernel:
        assert {obj for obj in kernel.dump().values() if obj.kind in Border.kinds} == {PEER, POOL, SECOND, POOL6}
        assert kernel.apply([Delete(SECOND)]) == []
    assert of_bird(stand) == {PEER, POOL, POOL6}


def test_a_prefix_is_withdrawn_and_a_session_changed(stand: Stand) -> None:
    create(stand.kernel, *ALL)
    other = BgpPeer(local=PEER.local, local_asn=PEER.local_asn, remote=PEER.remote, remote_asn=64513)
    assert stand.kernel.apply([Replace(PEER, other), Delete(POOL), Delete(POOL)]) == []
    assert of_bird(stand) == {other, SECOND, POOL6}


def test_what_is_done_here_is_no_event(stand: Stand) -> None:
    create(stand.kernel, *ALL)
    stand.kernel.events()
    assert stand.kernel.apply([Delete(POOL)]) == []
    assert stand.kernel.events() == []


def test_a_killed_daemon_is_an_event_and_started_again(stand: Stand) -> None:
    create(stand.kernel, *ALL)
    stand.kernel.events()
    birds.kill(stand, Border)
    wait_for(lambda: lost(stand), "the event")
    assert of_bird(stand) == set()
    assert stand.kernel.apply(missing(stand.kernel, *ALL)) == []
    assert of_bird(stand) == {PEER, POOL, SECOND, POOL6}


def test_a_daemon_with_somebody_else_s_file_has_nothing_of_ours_until_it_is_put_right(stand: Stand) -> None:
    create(stand.kernel, *ALL)
    birds.reconfigure(stand, Border)
    assert of_bird(stand) == set()
    assert stand.kernel.apply(missing(stand.kernel, *ALL)) == []
    assert of_bird(stand) == {PEER, POOL, SECOND, POOL6}


def test_what_somebody_switches_off_is_switched_on_again(stand: Stand) -> None:
    create(stand.kernel, *ALL)
    birds.switch_off(stand, POOL)
    assert of_bird(stand) == {PEER, POOL6}
    create(stand.kernel, POOL, SECOND)
    assert of_bird(stand) == {PEER, POOL, SECOND, POOL6}


@pytest.mark.parametrize(
    "wrong",
    [
        Announcement(prefix="203.0.113.1/24"),
        BgpPeer(local=PEER.local, local_asn=0, remote="198.18.0.253", remote_asn=64512),
        BgpPeer(local=PEER.local, local_asn=64601, remote="198.18.0.253", remote_asn=1 << 32),
    ],
    ids=["host bits", "no AS number", "too large an AS number"],
)
def test_what_the_daemon_cannot_parse_is_refused_and_nothing_else(stand: Stand, wrong: KernelObject) -> None:
    create(stand.kernel, *ALL)
    new = Announcement(prefix="192.0.2.0/24")
    assert refusals(stand.kernel, Create(new), Create(wrong), Delete(POOL)) == [(wrong, errno.EINVAL)]
    assert of_bird(stand) == {PEER, new, SECOND, POOL6}


def test_the_daemon_goes_with_its_namespace(stand: Stand) -> None:
    create(stand.kernel, *ALL)
    stand.kernel.events()
    assert stand.kernel.apply([Delete(OUTSIDE_NAMESPACE), Delete(POOL)]) == []
    assert {Gone(obj.key, obj.vni) for obj in (PEER, POOL, SECOND, POOL6)} <= set(events_of(stand.kernel))
    assert not there(stand.kernel, PEER)
    create(stand.kernel, *ALL)
    assert of_bird(stand) == {PEER, POOL, SECOND, POOL6}
