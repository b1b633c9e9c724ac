"""Changes by other programs are events; changes by the agent are not."""

from __future__ import annotations

import msgspec
import pytest

from netorch.drivers.base import Gone, Lost, Seen
from netorch.state.base import KernelObject
from netorch.state.link import AdminUp, Gro
from netorch.state.nft import NFT_KINDS
from netorch.state.op import Create, Delete, Replace
from tests import chains
from tests.contract.kernel.stands import (
    ADDRESS,
    CABLE,
    CHAIN,
    CLSACT,
    ELEMENTS,
    FDB,
    FILTER,
    NEIGHBOUR,
    REMOTE_ROUTE,
    TABLES,
    TAP,
    TAP_PORT,
    VNI,
    VPC,
    VXLAN,
    Stand,
    create,
    events_of,
    missing,
    news,
)


@pytest.mark.parametrize(
    "victim",
    [REMOTE_ROUTE, NEIGHBOUR, FDB, ADDRESS, VXLAN, TAP_PORT, CABLE[0], CLSACT, FILTER, AdminUp(vni=VNI, ifname=TAP)],
    ids=lambda obj: str(obj.key[:2]),
)
def test_what_somebody_else_deletes_is_an_event_and_comes_back(stand: Stand, victim: KernelObject) -> None:
    create(stand.kernel, *VPC)
    stand.kernel.events()
    stand.foreigner_deletes(victim)
    assert {Gone(victim.key, victim.vni), Lost()} & set(events_of(stand.kernel))
    ops = missing(stand.kernel, *VPC)
    assert Create(victim) in ops
    assert stand.kernel.apply(ops) == []
    assert missing(stand.kernel, *VPC) == []


def test_an_offload_that_somebody_switches_is_an_event_and_switched_back(stand: Stand) -> None:
    create(stand.kernel, *VPC)
    stand.kernel.events()
    on, off = Gro(vni=VNI, ifname="vx5000", on=True), Gro(vni=VNI, ifname="vx5000", on=False)
    stand.foreigner_switches(on)
    assert Seen(on) in events_of(stand.kernel)
    assert missing(stand.kernel, *VPC) == [Replace(on, off)]
    assert stand.kernel.apply([Replace(on, off)]) == []
    assert missing(stand.kernel, *VPC) == []


@pytest.mark.parametrize("victim", [ELEMENTS[0], CHAIN, chains.PEERS[0], TABLES[1], TABLES[2]], ids=lambda obj: str(obj.key[:4]))
def test_what_somebody_else_does_to_a_table_is_an_event_and_repaired(stand: Stand, victim: KernelObject) -> None:
    create(stand.kernel, *VPC)
    stand.kernel.events()
    stand.foreigner_deletes(victim)
    assert Lost(NFT_KINDS) in events_of(stand.kernel)
    assert stand.kernel.apply(missing(stand.kernel, *VPC)) == []
    assert missing(stand.kernel, *VPC) == []


def test_our_own_changes_are_no_news(stand: Stand) -> None:
    """Linux does not say who deleted a neighbour, so an event may report a neighbour that the agent itself deleted."""
    create(stand.kernel, *VPC)
    assert stand.kernel.apply([Replace(REMOTE_ROUTE, msgspec.structs.replace(REMOTE_ROUTE, via="192.0.2.13"))]) == []
    deleted = (TAP_PORT, ELEMENTS[0], REMOTE_ROUTE, NEIGHBOUR, FDB)
    assert stand.kernel.apply([Delete(obj) for obj in deleted]) == []
    assert news(stand.kernel) == []


def test_what_somebody_did_to_a_device_is_no_news_once_we_have_deleted_it(stand: Stand) -> None:
    create(stand.kernel, *VPC)
    news(stand.kernel)
    stand.foreigner_switches(Gro(vni=VNI, ifname="vx5000", on=True))
    assert stand.kernel.apply([Delete(VXLAN)]) == []
    assert news(stand.kernel) == []
