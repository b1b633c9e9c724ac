"""What the operator may put back and delete: only the record of that key, and placements of what is not there."""

from __future__ import annotations

import pytest

from netorch.control.actions import hosts, repair
from netorch.control.apply.cloud import apply_cloud, plan_cloud
from netorch.model.cloud import Cloud, InstanceDecl, SubnetDecl, VpcDecl
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.store.base import Delete, Put, Store
from tests.unit.control.conftest import refused


@pytest.fixture
def vnis(store: Store, operator: Caller) -> list[str]:
    """Make two VPCs with the same contents on one host; return the digits of their VNIs."""
    hosts.create_host(store, operator, name="hv1", underlay="192.0.2.11")
    subnet, instance = SubnetDecl(name="app", cidr="10.0.1.0/24"), InstanceDecl(name="web-1")
    vpcs = [VpcDecl(name=name, cidrs=["10.0.0.0/16"], subnets=[subnet], instances=[instance]) for name in ("one", "two")]
    apply_cloud(store, plan_cloud(store, operator, Cloud(vpcs=vpcs)))
    return sorted({kv.key.split("/")[1] for kv in store.list("vpc/").kvs})


def stored(store: Store, prefix: str) -> tuple[str, bytes]:
    """Return the first record with a prefix."""
    known = store.list(prefix).kvs[0]
    return known.key, known.value


@pytest.mark.parametrize("kind", ["subnet", "rtb", "i", "acl"])
def test_a_value_of_another_record_of_the_kind_is_refused(store: Store, vnis: list[str], kind: str) -> None:
    (key, before), (other, theirs) = (stored(store, f"vpc/{vni}/{kind}/") for vni in vnis)
    own = repair.as_it_was(store, key)
    store.txn([], [Put(key, b"{")])
    with refused("InvalidParameterValue", f"{key}: the value is not a .*id"):
        repair.put_back(store, key, repair.as_it_was(store, other))
    for value in (theirs, before):
        with refused("InvalidParameterValue", f'does not say which .* it is; .*"id":"{key.rpartition("/")[2]}"'):
            repair.put_back(store, key, value)
    assert list(repair.damaged(store)) == [key]
    repair.put_back(store, key, own)
    assert stored(store, key) == (key, before)
    assert repair.damaged(store) == {}


def test_a_placement_of_nothing_is_named_and_deleted_unless_something_is_missed(store: Store, vnis: list[str]) -> None:
    of_vpc = (f"vpc/{vnis[0]}/eni/", f"vpc/{vnis[0]}/i/", f"map/{vnis[0]}/")
    eni, instance, mapping = (stored(store, prefix)[0] for prefix in of_vpc)
    placement = keys.placement("hv1", eni.rpartition("/")[2])
    before = {kv.key: kv.value for kv in store.list("").kvs}
    for left in ((instance,), (mapping,), (instance, mapping)):  # each says that the interface must be put back
        store.txn([], [Delete(key) for key in {eni, instance, mapping} - set(left)])
        assert placement not in repair.damaged(store)
        with refused("InvalidParameterValue"):
            repair.discard(store, placement)
        store.txn([], [Put(key, before[key]) for key in (eni, instance, mapping)])
    store.txn([], [Delete(key) for key in (eni, instance, mapping)])
    assert f"`netorch store delete {placement}` removes it" in str(repair.damaged(store)[placement][1])
    repair.discard(store, placement)
    assert store.get(placement) is None
    assert placement not in repair.damaged(store)
    gone = keys.placement("hv2", f"eni-00ffff{1:011x}")  # its VPC is gone, too
    store.txn([], [Put(gone, b"{}"), Put(keys.placement("hv2", "of-tomorrow"), b"{}")])
    assert [key for key in repair.damaged(store) if key.startswith("host/")] == [gone]
