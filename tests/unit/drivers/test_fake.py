"""What the fake kernel offers to tests, beyond the contract that it shares with Linux."""

from __future__ import annotations

import errno
import select
from collections.abc import Iterator

import msgspec
import pytest

from netorch.drivers.base import Gone, Lost, Seen, Underlay
from netorch.drivers.fake.kernel import FakeKernel
from netorch.state.base import OVERLAY
from netorch.state.l3 import UNREACHABLE, UNREACHABLE_METRIC, Route
from netorch.state.link import AdminUp, Inside, VethPort, Vrf
from netorch.state.nft import NFT_KINDS, NftTable
from netorch.state.op import Create, Delete, Failure, Replace

VRF = Vrf(vni=5000, ifname="vrf5000", table=5000)
UP = AdminUp(vni=5000, ifname="vrf5000")
ROUTE = Route(vni=5000, table=5000, dst="10.0.0.0/8", type=UNREACHABLE, metric=UNREACHABLE_METRIC)
INSIDE = Inside(ifname="eth0", lladdr="06:00:00:00:00:01", addresses=(), gateways=())
PORT = VethPort(
    vni=5000,
    ifname="v-0013880000001",
    lladdr="02:4e:54:ff:ff:01",
    mtu=1500,
    vrf="vrf5000",
    instance_netns="container",
    make_netns=False,
    inside=INSIDE,
)


@pytest.fixture
def kernel() -> Iterator[FakeKernel]:
    kernel = FakeKernel([VRF])
    yield kernel
    kernel.close()


def readable(kernel: FakeKernel) -> bool:
    return bool(select.select([kernel.fileno()], [], [], 0)[0])


def errnos(failures: list[Failure]) -> list[int]:
    return [failure.error.errno for failure in failures]


def test_a_failure_asked_for_comes_once_and_names_the_operation(kernel: FakeKernel) -> None:
    kernel.fail_next("route", errno.ENOBUFS)
    failures = kernel.apply([Create(ROUTE), Create(UP)])
    assert errnos(failures) == [errno.ENOBUFS]
    assert str(failures[0].error).startswith("create route unreachable 10.0.0.0/8")
    assert kernel.apply([Create(ROUTE)]) == []


def test_only_what_was_carried_out_counts_as_applied(kernel: FakeKernel) -> None:
    kernel.fail_next("up", errno.EPERM, times=2)
    kernel.apply([Create(UP), Create(ROUTE), Create(UP)])
    assert kernel.applied == [Create(ROUTE)]


def test_a_disturbance_is_an_event_and_wakes_the_reader(kernel: FakeKernel) -> None:
    assert not readable(kernel)
    kernel.disturb(Create(ROUTE))
    assert readable(kernel)
    assert kernel.events() == [Seen(ROUTE)]
    assert not readable(kernel)
    kernel.disturb(Delete(ROUTE))
    assert kernel.events() == [Gone(ROUTE.key, ROUTE.vni)]


def test_a_disturbance_that_changes_nothing_is_no_event(kernel: FakeKernel) -> None:
    kernel.disturb(Create(VRF))
    assert kernel.events() == []


def test_a_device_that_somebody_deletes_calls_for_a_new_dump(kernel: FakeKernel) -> None:
    kernel.apply([Create(UP)])
    kernel.disturb(Delete(VRF))
    assert kernel.events() == [Lost()]
    assert kernel.dump() == {}


def test_a_disturbed_table_is_dumped_again_alone(kernel: FakeKernel) -> None:
    table = NftTable(netns=OVERLAY, family="inet", body="")
    kernel.disturb(Create(table))
    assert kernel.events() == [Lost(NFT_KINDS)]
    assert kernel.dump(NFT_KINDS) == {table.key: table}


def test_a_dump_outdates_earlier_events(kernel: FakeKernel) -> None:
    kernel.disturb(Create(ROUTE))
    kernel.dump()
    assert kernel.events() == []


def test_a_container_must_be_there_before_its_port(kernel: FakeKernel) -> None:
    assert errnos(kernel.apply([Create(PORT)])) == [errno.ENOENT]
    kernel.namespaces.add("container")
    assert kernel.apply([Create(PORT)]) == []


def test_a_port_taken_over_is_gone_without_a_call_for_a_dump(kernel: FakeKernel) -> None:
    kernel.namespaces.add("container")
    way = Route(vni=5000, table=5000, dst="10.0.0.5/32", ifname=PORT.ifname)
    assert kernel.apply([Create(PORT), Create(AdminUp(vni=5000, ifname=PORT.ifname)), Create(way)]) == []
    kernel.take_over(PORT)
    assert kernel.events() == [Gone(PORT.key, PORT.vni), Gone(("up", "overlay", PORT.ifname), PORT.vni)]
    assert kernel.dump() == {VRF.key: VRF}


def test_somebody_elses_object_stands_in_the_way_and_stays(kernel: FakeKernel) -> None:
    kernel.foreign[ROUTE.key] = ROUTE
    assert errnos(kernel.apply([Create(ROUTE), Replace(ROUTE, ROUTE)])) == [errno.EEXIST] * 2
    assert ROUTE.key not in kernel.dump()
    assert kernel.foreign == {ROUTE.key: ROUTE}


def test_a_device_that_is_not_there_cannot_be_changed(kernel: FakeKernel) -> None:
    kernel.namespaces.add("container")
    assert errnos(kernel.apply([Replace(PORT, msgspec.structs.replace(PORT, mtu=1400))])) == [errno.ENODEV]


def test_the_underlay_is_what_the_test_says() -> None:
    eth1 = Underlay(ifname="eth1", mtu=9000)
    kernel = FakeKernel(underlays={"192.0.2.11": eth1})
    assert kernel.underlay("192.0.2.11") == eth1
    assert kernel.underlay("192.0.2.12") is None
    kernel.close()


def test_counters_are_what_the_test_says(kernel: FakeKernel) -> None:
    kernel.packets["spoofed"] = 3
    assert kernel.counters() == {"spoofed": 3}
