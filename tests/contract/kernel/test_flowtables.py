"""Flowtables: what they need, what goes with them, and their repair."""

from __future__ import annotations

import errno

import msgspec
import pytest

from netorch.drivers.base import Lost
from netorch.state.base import KernelObject
from netorch.state.nft import NFT_KINDS, NftChain
from netorch.state.op import Create, Delete
from tests.contract.kernel.stands import (
    FLOWTABLE,
    FLOWTABLE_DEVICES,
    TABLES,
    VETH,
    VNI,
    VPC,
    VRF,
    VXLAN,
    Stand,
    create,
    events_of,
    missing,
    refusals,
    reload,
    there,
)

TUNNEL, OF_PORT = FLOWTABLE_DEVICES
ADDING = NftChain(vni=VNI, name="known-001388", rules=("meta l4proto 17 flow add @flows-001388", "accept"))
ALL = (*TABLES, VRF, VXLAN, VETH, FLOWTABLE, ADDING, *FLOWTABLE_DEVICES)


def test_a_flowtable_needs_its_table_and_a_device_both(stand: Stand) -> None:
    assert refusals(stand.kernel, Create(FLOWTABLE), Create(TUNNEL)) == [(FLOWTABLE, errno.ENOENT), (TUNNEL, errno.ENOENT)]
    create(stand.kernel, *TABLES, VRF, VXLAN)
    assert refusals(stand.kernel, Create(ADDING), Create(TUNNEL)) == [(ADDING, errno.ENOENT), (TUNNEL, errno.EINVAL)]
    assert not there(stand.kernel, FLOWTABLE)
    create(stand.kernel, FLOWTABLE, ADDING, TUNNEL)
    assert refusals(stand.kernel, Create(OF_PORT)) == [(OF_PORT, errno.ENOENT)]
    assert missing(stand.kernel, FLOWTABLE, ADDING, TUNNEL) == []


def test_a_device_is_in_one_flowtable(stand: Stand) -> None:
    create(stand.kernel, *ALL)
    second = msgspec.structs.replace(FLOWTABLE, name="more-001388")
    create(stand.kernel, second)
    other = msgspec.structs.replace(TUNNEL, flowtable=second.name)
    assert refusals(stand.kernel, Create(other)) == [(other, errno.EEXIST)]
    assert missing(stand.kernel, *ALL, second) == []
    assert stand.kernel.apply([Delete(TUNNEL), Create(other)]) == []
    assert missing(stand.kernel, other, OF_PORT) == []


def test_a_flowtable_goes_when_no_rule_refers_to_it_and_takes_its_devices_along(stand: Stand) -> None:
    create(stand.kernel, *ALL)
    assert refusals(stand.kernel, Delete(FLOWTABLE)) == [(FLOWTABLE, errno.EBUSY)]
    assert missing(stand.kernel, *ALL) == []
    assert stand.kernel.apply([Delete(ADDING), Delete(FLOWTABLE)]) == []
    assert not any(there(stand.kernel, obj) for obj in (ADDING, FLOWTABLE, *FLOWTABLE_DEVICES))
    assert stand.kernel.apply([Delete(obj) for obj in (*FLOWTABLE_DEVICES, FLOWTABLE)]) == []


def test_a_replaced_table_keeps_its_flowtable_with_devices(stand: Stand) -> None:
    create(stand.kernel, *ALL)
    newer = msgspec.structs.replace(TABLES[1], body=TABLES[1].body + "counter extra {\n}\n")
    assert stand.kernel.apply(missing(stand.kernel, newer)) == []
    assert missing(stand.kernel, newer, FLOWTABLE, ADDING, *FLOWTABLE_DEVICES) == []


def test_a_reloaded_table_has_its_flowtable_with_devices(stand: Stand) -> None:
    create(stand.kernel, *ALL)
    op = reload(TABLES[1], "counter extra {\n}\n", ALL)
    assert stand.kernel.apply([op]) == []
    assert missing(stand.kernel, op.obj, FLOWTABLE, ADDING, *FLOWTABLE_DEVICES) == []


@pytest.mark.parametrize(
    ("victim", "lost"), [(TUNNEL, (TUNNEL,)), (FLOWTABLE, (FLOWTABLE, *FLOWTABLE_DEVICES))], ids=["device", "flowtable"]
)
def test_what_somebody_deletes_is_noticed_and_made_again(
    stand: Stand, victim: KernelObject, lost: tuple[KernelObject, ...]
) -> None:
    create(stand.kernel, *VPC)
    stand.kernel.events()
    stand.foreigner_deletes(victim)
    assert Lost(NFT_KINDS) in events_of(stand.kernel)
    ops = missing(stand.kernel, *VPC)
    assert sorted(op.obj.key for op in ops) == sorted(obj.key for obj in lost)
    assert stand.kernel.apply(ops) == []
    assert missing(stand.kernel, *VPC) == []
