"""Plans that need permission, as they delete most of a cloud, and clouds of long texts that fit into no transaction."""

from __future__ import annotations

import msgspec
import pytest

from netorch.control.actions import vpcs
from netorch.control.actions.groups import create_security_group
from netorch.control.actions.permissions import Permission, authorize
from netorch.control.apply.cloud import apply_cloud, plan_cloud
from netorch.control.base.quotas import Quotas, quota_key
from netorch.model.cloud import (
    Cloud,
    IngressDecl,
    InstanceDecl,
    RouteTableDecl,
    SecurityGroupDecl,
    SubnetDecl,
    VpcDecl,
)
from netorch.model.eni import Instance
from netorch.model.security import Direction
from netorch.model.vpc import Subnet
from netorch.records.caller import Caller
from netorch.store.base import Put, Store
from tests.unit.control.apply.clouds import (
    HOSTS,
    SOURCE,
    acme,
    apply,
    many,
    records,
    small,
)
from tests.unit.control.conftest import refused


def test_a_plan_that_deletes_most_instances_must_be_allowed(store: Store, operator: Caller) -> None:
    many = [InstanceDecl(name=f"w{n}", subnet="a") for n in range(12)]
    apply(store, operator, acme(instances=many))
    plan = plan_cloud(store, operator, acme(instances=many[:4]))
    with refused("OperationNotPermitted", "8 of 14 instances"):
        apply_cloud(store, plan)
    assert len(records(store).of(Instance)) == 12
    apply_cloud(store, plan_cloud(store, operator, acme(instances=many[:5])))
    assert len(records(store).of(Instance)) == 5


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([many(12)], [many(12, "10.0.0.0/25")]),
        ([many(12)], [msgspec.structs.replace(many(12), vni=7000)]),
        ([many(12)], [msgspec.structs.replace(many(12), instances=[InstanceDecl(name=f"j{n}") for n in range(12)])]),
        ([many(12)], []),
        ([many(6), msgspec.structs.replace(many(6), name="other")], []),
        ([small(f"v{n}", vni=8000 + n) for n in range(12)], [small(f"v{n}", vni=9000 + n) for n in range(12)]),
        ([small(f"v{n}") for n in range(12)], [small(f"v{n}") for n in range(5)]),
    ],
)
def test_whatever_ends_most_of_a_files_cloud_must_be_allowed(
    store: Store, operator: Caller, before: list[VpcDecl], after: list[VpcDecl]
) -> None:
    apply(store, operator, Cloud(hosts=HOSTS, vpcs=before))
    others = [msgspec.structs.replace(many(40), name="large", owner="acme"), *(small(f"o{n}", owner="acme") for n in range(40))]
    apply(store, operator, Cloud(vpcs=others), source="/srv/others.yaml")  # many other VPCs do not hide it
    plan = plan_cloud(store, operator, Cloud(hosts=HOSTS, vpcs=after), source=SOURCE)
    assert plan.mass_deletion().startswith("the plan deletes ")
    known = store.revision()
    with refused("OperationNotPermitted", "if you want that, add --allow-mass-delete"):
        apply_cloud(store, plan)
    assert store.revision() == known
    apply_cloud(store, plan, allow_mass_delete=True)


@pytest.mark.parametrize(
    "after",
    [
        [],
        [RouteTableDecl(name="t", routes=[f"10.{n}.0.0/16 via blackhole" for n in range(1, 6)])],
        [RouteTableDecl(name="t", routes=[f"10.{n}.0.0/16 via eni i1" for n in range(1, 13)])],
    ],
    ids=["the table ends", "most routes end", "all lead elsewhere"],
)
def test_a_plan_that_ends_or_turns_most_routes_must_be_allowed(
    store: Store, operator: Caller, after: list[RouteTableDecl]
) -> None:
    base = msgspec.structs.replace(many(2), instances=[InstanceDecl(name=f"i{n}", source_dest_check=False) for n in range(2)])
    before = [RouteTableDecl(name="t", routes=[f"10.{n}.0.0/16 via eni i0" for n in range(1, 13)])]
    apply(store, operator, Cloud(hosts=HOSTS, vpcs=[msgspec.structs.replace(base, route_tables=before)]))
    plan = plan_cloud(
        store, operator, Cloud(hosts=HOSTS, vpcs=[msgspec.structs.replace(base, route_tables=after)]), source=SOURCE
    )
    with refused("OperationNotPermitted", "the plan deletes 12 of 12 routes; if you want that"):
        apply_cloud(store, plan)
    few = [RouteTableDecl(name="t", routes=before[0].routes[:6])]
    plan = plan_cloud(store, operator, Cloud(hosts=HOSTS, vpcs=[msgspec.structs.replace(base, route_tables=few)]), source=SOURCE)
    apply_cloud(store, plan)


def test_a_cloud_of_long_texts_is_split_by_bytes(store: Store, operator: Caller) -> None:
    tags = {f"key{n}": "\u00fc" * 256 for n in range(50)}
    wide = small("tags", subnets=[SubnetDecl(name=f"s{n}", cidr=f"10.0.{n}.0/24", tags=tags) for n in range(64)])
    groups = [
        SecurityGroupDecl(
            name=f"g{n}",
            ingress=[
                IngressDecl(protocol="tcp", ports=port, source=source, description="x" * 250)
                for port in range(60)
                for source in ("10.0.0.0/8", "fd00::/8")
            ],
        )
        for n in range(40)
    ]
    apply(store, operator, Cloud(vpcs=[wide, small("groups", security_groups=groups)]))
    assert len(records(store, "default", "tags").of(Subnet)) == 64
    apply(store, operator, Cloud())


def test_a_record_that_fits_into_no_transaction_is_named_before_anything_is_written(store: Store, operator: Caller) -> None:
    store.txn([], [Put(quota_key("default"), msgspec.json.encode(Quotas(rules_per_group=10_000)))])
    rules = [IngressDecl(protocol="tcp", ports=port, source="10.0.0.0/8", description="x" * 250) for port in range(6000)]
    before = store.revision()
    with refused("RequestResourceCountExceeded", "/sg/sg-.* fit into one transaction"):
        plan_cloud(store, operator, Cloud(vpcs=[small("g", security_groups=[SecurityGroupDecl(name="g", ingress=rules)])]))
    vpc = vpcs.create_vpc(store, operator, name="h", cidrs=["10.0.0.0/16"])
    group = create_security_group(store, operator, vpc.id, name="g")
    requests = [Permission(protocol="tcp", ports=port, peer="10.0.0.0/8", description="x" * 250) for port in range(6000)]
    with refused("RequestResourceCountExceeded", group.id):
        authorize(store, operator, group.id, Direction.INGRESS, requests)
    assert before < store.revision()
