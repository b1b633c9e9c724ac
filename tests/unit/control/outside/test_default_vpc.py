"""A default VPC has internet access, as EC2's has, if there is a pair of edges with addresses."""

from __future__ import annotations

import pytest

from netorch.control.actions.instances import RunRequest, run_instance
from netorch.control.actions.outside import gateways
from netorch.control.actions.route_tables import describe_route_tables
from netorch.control.actions.subnets import describe_subnets
from netorch.control.actions.vpcs import create_default_vpc
from netorch.control.apply.cloud import apply_cloud, plan_cloud
from netorch.model.cloud import Cloud, InstanceDecl
from netorch.model.eni import Host
from netorch.model.outside.public import AddressPool
from netorch.records.caller import Caller
from netorch.records.inventory import read_inventory
from netorch.store.base import Store
from tests.unit.control.outside.conftest import clean, public_of


def test_it_has_a_gateway_a_default_route_and_public_addresses(
    store: Store, acme: Caller, two_hosts: None, pool: AddressPool
) -> None:
    placed = run_instance(store, acme, RunRequest(name="web"))
    (records,) = read_inventory(store).vpcs.values()
    vpc = records.vpc.record
    (gateway,) = gateways.describe_internet_gateways(store, acme, vpc.id)
    (table,) = describe_route_tables(store, acme, vpc.id)
    assert [(route.destination, route.target, route.state.value) for route in table.routes] == [
        ("172.31.0.0/16", "local", "active"),
        ("0.0.0.0/0", gateway.gateway.id, "active"),
    ]
    assert list(public_of(store, vpc)) == [placed.eni.address]
    private = run_instance(store, acme, RunRequest(public_address=False))
    assert private.eni.address not in public_of(store, vpc)
    clean(store)


@pytest.mark.parametrize("what", ["nothing", "edges without addresses"])
def test_it_stays_inside_where_nothing_leads_out(
    store: Store, acme: Caller, two_hosts: None, what: str, request: pytest.FixtureRequest
) -> None:
    if what != "nothing":
        edges: list[Host] = request.getfixturevalue("west")
        assert len(edges) == 2
    vpc = create_default_vpc(store, acme)
    assert gateways.describe_internet_gateways(store, acme, vpc.id) == []
    (table,) = describe_route_tables(store, acme, vpc.id)
    assert [route.target for route in table.routes] == ["local"]
    (subnet,) = describe_subnets(store, acme, vpc.id)
    assert not subnet.subnet.public_on_launch
    run_instance(store, acme, RunRequest())
    assert public_of(store, vpc) == {}
    clean(store)


def test_a_file_puts_instances_into_it_and_leaves_its_way_out(
    store: Store, operator: Caller, two_hosts: None, pool: AddressPool
) -> None:
    vpc = create_default_vpc(store, operator)
    before = [info.routes for info in describe_route_tables(store, operator, vpc.id)]
    plan = plan_cloud(store, operator, Cloud(instances=[InstanceDecl(name="web")]), source="/a.yaml")
    assert plan.stuck == ()
    apply_cloud(store, plan)
    assert len(public_of(store, vpc)) == 1
    assert [info.routes for info in describe_route_tables(store, operator, vpc.id)] == before
    clean(store)
