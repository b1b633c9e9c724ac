"""Uplinks: host devices that move to the outside namespace, and back."""

from __future__ import annotations

import errno

import pytest

from netorch.plan.diff import diff
from netorch.state.base import OUTSIDE, KernelObject
from netorch.state.l3 import IPV6_METRIC, MAIN_TABLE, Address, Route
from netorch.state.link import LOOPBACK, AdminUp, Sysctl, Uplink
from netorch.state.netns import Namespace
from netorch.state.op import Create, Delete
from netorch.state.sysctls import namespace_sysctls
from tests.contract.kernel.stands import Stand, by_key, create, events_of, missing, news, refusals, there

NAME = "up0"
NAMESPACE, UPLINK = Namespace(label=OUTSIDE), Uplink(ifname=NAME)
ON_IT: tuple[KernelObject, ...] = (
    Sysctl(netns=OUTSIDE, path=f"ipv6/conf/{NAME}/disable_ipv6", value="0", ifname=NAME),
    Address(netns=OUTSIDE, ifname=NAME, address="198.18.0.21/24"),
    Address(netns=OUTSIDE, ifname=NAME, address="2001:db8::21/64"),
    AdminUp(netns=OUTSIDE, ifname=NAME),
    Route(netns=OUTSIDE, table=MAIN_TABLE, dst="0.0.0.0/0", ifname=NAME, via="198.18.0.254"),
    Route(netns=OUTSIDE, table=MAIN_TABLE, dst="::/0", ifname=NAME, via="2001:db8::1", metric=IPV6_METRIC),
)
ALL = (NAMESPACE, *namespace_sysctls(OUTSIDE), AdminUp(netns=OUTSIDE, ifname=LOOPBACK), UPLINK, *ON_IT)


@pytest.fixture
def edge(stand: Stand) -> Stand:
    """A host whose uplink is in use."""
    stand.host_gets(NAME)
    create(stand.kernel, *ALL)
    return stand


def test_an_uplink_is_moved_and_bears_addresses_and_default_routes(edge: Stand) -> None:
    assert missing(edge.kernel, *ALL) == []
    assert not edge.has_device(NAME)
    assert news(edge.kernel) == []


def test_it_is_given_back(edge: Stand) -> None:
    rest = by_key(*(obj for obj in ALL if obj not in (UPLINK, *ON_IT)))
    assert edge.kernel.apply(diff(rest, by_key(*ALL))) == []
    assert edge.has_device(NAME)
    assert not [obj for obj in (UPLINK, *ON_IT) if there(edge.kernel, obj)]
    assert edge.kernel.apply(missing(edge.kernel, *ALL)) == []
    assert missing(edge.kernel, *ALL) == []


def test_it_is_given_back_when_the_namespace_goes(edge: Stand) -> None:
    assert edge.kernel.apply(diff({}, by_key(*ALL))) == []
    assert edge.has_device(NAME)
    assert not [obj for obj in edge.kernel.dump().values() if obj.netns == OUTSIDE or obj == NAMESPACE]


def test_a_restarted_agent_reads_it(edge: Stand) -> None:
    before = edge.kernel.dump()
    with edge.restarted() as kernel:
        assert kernel.dump() == before


def test_one_that_somebody_takes_the_mark_from_gets_it_again(edge: Stand) -> None:
    edge.kernel.events()
    edge.foreigner_unmarks(UPLINK)
    assert events_of(edge.kernel)
    ops = missing(edge.kernel, *ALL)
    assert Create(UPLINK) in ops
    assert edge.kernel.apply(ops) == []
    assert missing(edge.kernel, *ALL) == []


@pytest.mark.parametrize("victim", [obj for obj in ON_IT if not isinstance(obj, Sysctl)], ids=lambda obj: obj.text())
def test_what_somebody_deletes_of_it_is_an_event_and_comes_back(edge: Stand, victim: KernelObject) -> None:
    edge.kernel.events()
    edge.foreigner_deletes(victim)
    assert events_of(edge.kernel)
    ops = missing(edge.kernel, *ALL)
    assert Create(victim) in ops
    assert edge.kernel.apply(ops) == []
    assert missing(edge.kernel, *ALL) == []


def test_one_that_the_host_does_not_have_is_refused(stand: Stand) -> None:
    create(stand.kernel, NAMESPACE)
    assert refusals(stand.kernel, Create(UPLINK)) == [(UPLINK, errno.ENODEV)]
    assert not there(stand.kernel, UPLINK)
    stand.host_gets(NAME)
    create(stand.kernel, UPLINK)
    assert missing(stand.kernel, UPLINK) == []


def test_what_is_given_back_twice_is_given_back(edge: Stand) -> None:
    assert edge.kernel.apply([Delete(UPLINK), Delete(UPLINK)]) == []
    assert edge.has_device(NAME)
