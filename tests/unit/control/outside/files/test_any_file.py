"""Random sequences of files: each is applied exactly, nothing leaks, and an export equals the file."""

from __future__ import annotations

import random
import re

import msgspec
import pytest

from netorch.control.apply.changes import CloudPlan
from netorch.control.apply.cloud import plan_cloud
from netorch.control.base.quotas import set_quotas
from netorch.control.views.export import export_cloud
from netorch.model.cloud import (
    AddressPoolDecl,
    Cloud,
    EgressOnlyInternetGatewayDecl,
    ElasticIpDecl,
    InstanceDecl,
    InternetGatewayDecl,
    NatGatewayDecl,
    RouteTableDecl,
    VpcDecl,
)
from netorch.model.mapping import PublicMapping
from netorch.records.caller import Caller
from netorch.records.inventory import read_inventory
from netorch.store.memory import MemoryStore
from tests.unit.control.apply.clouds import HOSTS, apply
from tests.unit.control.outside.conftest import clean, held
from tests.unit.control.outside.files.declared import EDGES, SHOP

FILES = 12
POOL = AddressPoolDecl(name="west", pair="west", cidrs=["198.51.100.0/24"])
NAMES = [f"ip-{n}" for n in range(6)]


def some_instances(rng: random.Random, names: list[str], *, leads_out: bool) -> list[InstanceDecl]:
    """Return up to five instances; some take an elastic IP from `names`, which are those of free ones."""
    found = []
    for name in rng.sample(["a", "b", "c", "d", "e"], rng.randrange(6)):
        elastic = names.pop() if leads_out and names and rng.random() < 0.5 else ""
        public = rng.choice((True, False)) if not elastic and rng.random() < 0.7 else msgspec.UNSET
        subnet = rng.choice(["front", "back"]) if rng.random() < 0.3 else "front"
        found.append(InstanceDecl(name=name, subnet=subnet, elastic_ip=elastic, public_address=public))
    return found


def some_nats(rng: random.Random, names: list[str]) -> list[NatGatewayDecl]:
    """Return up to two NAT gateways; each takes an elastic IP from `names`, which are those of free ones."""
    found = [name for name in ("out", "other") if rng.random() < 0.4]
    return [NatGatewayDecl(name=name, subnet=rng.choice(["front", "back"]), elastic_ips=[names.pop()]) for name in found if names]


def some_vpc(rng: random.Random, name: str, names: list[str]) -> VpcDecl:
    leads_out, leads_away = rng.random() < 0.7, rng.random() < 0.4
    routes = ["0.0.0.0/0 via igw"] if leads_out and rng.random() < 0.7 else []
    return msgspec.structs.replace(
        SHOP,
        name=name,
        internet_gateway=InternetGatewayDecl() if leads_out else msgspec.UNSET,
        egress_only_internet_gateway=EgressOnlyInternetGatewayDecl() if leads_away else msgspec.UNSET,
        route_tables=[RouteTableDecl(name="public", routes=[*routes, *(["::/0 via eigw"] if leads_away else [])])],
        subnets=[msgspec.structs.replace(decl, public_on_launch=rng.random() < 0.5) for decl in SHOP.subnets],
        nat_gateways=some_nats(rng, names) if leads_out else [],
        instances=some_instances(rng, names, leads_out=leads_out),
    )


def some_file(rng: random.Random) -> Cloud:
    names = rng.sample(NAMES, rng.randrange(len(NAMES) + 1))
    elastic = [ElasticIpDecl(name=name, owner="acme") for name in names]
    vpcs = [some_vpc(rng, name, names) for name in rng.sample(["one", "two", "three"], rng.randrange(1, 4))]
    return Cloud(name="outside", hosts=[*HOSTS, *EDGES[:2]], address_pools=[POOL], elastic_ips=elastic, vpcs=vpcs)


def public_as_declared(store: MemoryStore, cloud: Cloud) -> None:
    """Check that NAT gateways and the public addresses of instances are those in the file, where the file declares them."""
    exported = {(vpc.name, found.name): found for vpc in export_cloud(store).vpcs for found in vpc.instances}
    nats = {(vpc.name, nat.name): nat for vpc in export_cloud(store).vpcs for nat in vpc.nat_gateways}
    for vpc in cloud.vpcs:
        assert {name for vpc_name, name in nats if vpc_name == vpc.name} == {nat.name for nat in vpc.nat_gateways}
        for nat in vpc.nat_gateways:
            assert msgspec.structs.replace(nats[vpc.name, nat.name], address="") == nat
        for decl in vpc.instances:
            found = exported[vpc.name, decl.name]
            assert found.elastic_ip == decl.elastic_ip
            assert decl.public_address is msgspec.UNSET or (found.public_address is True) == decl.public_address


@pytest.mark.parametrize("alone", [False, True], ids=["with hosts", "hosts in another file"])
@pytest.mark.parametrize("seed", range(12))
def test_files_follow_each_other(operator: Caller, seed: int, alone: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file without hosts reads only what it needs; its plan is that of one who reads everything."""
    rng, store = random.Random(seed), MemoryStore()
    set_quotas(store, "acme", {"elastic_ips": len(NAMES)})
    if alone:
        apply(store, operator, Cloud(name="hosts", hosts=[*HOSTS, *EDGES[:2]], address_pools=[POOL]))
    for _ in range(FILES):
        cloud = some_file(rng)
        if alone:
            cloud = msgspec.structs.replace(cloud, hosts=[], address_pools=[])
            with monkeypatch.context() as patch:
                patch.setattr("netorch.control.apply.cloud.read_for", lambda store, *_: read_inventory(store))
                everything = shown(plan_cloud(store, operator, cloud))
            assert shown(plan_cloud(store, operator, cloud)) == everything
        apply(store, operator, cloud)
        clean(store)
        public_as_declared(store, cloud)
        assert {found.record.name for found in read_inventory(store).elastic_ips.values()} == {d.name for d in cloud.elastic_ips}
        assert plan_cloud(store, operator, export_cloud(store)).changes == ()
    apply(store, operator, Cloud(name="outside"))
    inventory = read_inventory(store)
    assert held(store) == set()
    assert not any(list(records.each(PublicMapping)) for records in inventory.vpcs.values())
    assert all(state.placements == 0 for state in inventory.hosts.values())


def shown(plan: CloudPlan) -> list[str]:
    """Return a plan's changes without what is drawn at random."""
    return [re.sub(r"-[0-9a-f]{17}\b|\b06(:[0-9a-f]{2}){5}\b|\bvni\S* \d+", "", repr(change)) for change in plan.changes]
