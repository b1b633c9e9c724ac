"""Records of a newer version: readers leave them out, and writers do not overwrite them."""

from __future__ import annotations

import pytest

from netorch.control.actions import repair
from netorch.control.actions.subnets import create_subnet, describe_subnet
from netorch.control.actions.vpcs import create_vpc
from netorch.control.apply.cloud import plan_cloud
from netorch.control.views.export import export_cloud
from netorch.control.views.health import read_health
from netorch.errors import NewerRecord
from netorch.model.cloud import Cloud
from netorch.model.ids import make_id
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.inventory import read_inventory
from netorch.store.base import Put, Store
from tests.unit.control.conftest import refused


@pytest.mark.parametrize("which", ["subnet", "unknown kind"])
def test_a_vpc_with_a_newer_record_is_left_alone(store: Store, operator: Caller, which: str) -> None:
    vpcs = [create_vpc(store, operator, name=name, cidrs=["10.0.0.0/16"]) for name in ("old", "new")]
    subnet = create_subnet(store, operator, vpcs[1].id, name="a", cidr="10.0.0.0/24")
    key = keys.resource(subnet.id if which == "subnet" else make_id("vpce", vpcs[1].vni, 1))
    before = store.get(keys.resource(subnet.id))
    assert before is not None
    store.txn((), [Put(key, b'{"schema":9,' + before.value.removeprefix(b'{"schema":2,').removeprefix(b"{"))])
    inventory = read_inventory(store)
    assert [(found.name, found.error.key) for found in inventory.isolated.values()] == [("new", key)]
    assert list(inventory.vpcs) == [vpcs[0].vni]
    assert any(key in text and "upgrade netorch here" in text for text in read_health(store, 0.0).problems)
    assert [vpc.name for vpc in export_cloud(store).vpcs] == ["old"]
    plan = plan_cloud(store, operator, Cloud(vpcs=[export_cloud(store).vpcs[0]]), source="a.yaml")
    assert not any(key.startswith(keys.vpc_prefix(vpcs[1].vni)) for step in plan.steps for key in step.values)
    assert list(repair.damaged(store)) == [key]
    with refused("InvalidParameterValue", match="upgrade netorch here"):
        repair.put_back(store, key, before.value)
    with refused("InvalidParameterValue", match="upgrade netorch here"):
        repair.discard(store, key)
    if which == "subnet":
        with pytest.raises(NewerRecord):
            describe_subnet(store, operator, subnet.id)
