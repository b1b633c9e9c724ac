"""Clouds as files declare them, and helpers to apply them and to read the stored records."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from netorch.control.apply.changes import CloudPlan
from netorch.control.apply.cloud import apply_cloud, plan_cloud
from netorch.model.check.cloud import check_cloud
from netorch.model.cloud import (
    Cloud,
    HostDecl,
    InstanceDecl,
    RouteTableDecl,
    SubnetDecl,
    VpcDecl,
)
from netorch.records.caller import Caller
from netorch.records.inventory import read_inventory
from netorch.records.vpc import VpcRecords
from netorch.store.base import Store

CHOSEN_MAC: Final = r"\b06(:[0-9a-f]{2}){5}\b"
_ID = re.compile(r"\b(vpc|subnet|rtb|acl|sgr?|pl|fl|i|eni|e?igw|nat|eipalloc|eipassoc)-[0-9a-f]{17}\b")

HOSTS = [HostDecl(name="hv1", underlay="192.0.2.11"), HostDecl(name="hv2", underlay="192.0.2.12")]

SUBNETS = [
    SubnetDecl(name="a", cidr="10.44.12.0/24", ipv6_cidr="fd00:0:0::/64"),
    SubnetDecl(name="b", cidr="10.44.13.0/24", route_table="inner"),
]

INSTANCES = [
    InstanceDecl(name="w1", subnet="a", host="hv1", address="10.44.12.4"),
    InstanceDecl(name="w2", subnet="b", tags={"role": "web"}),
]

ACME = VpcDecl(
    name="web",
    owner="acme",
    cidrs=["10.44.0.0/16"],
    ipv6_cidrs=["fd00::/56"],
    route_tables=[RouteTableDecl(name="inner")],
    subnets=SUBNETS,
    instances=INSTANCES,
)

CLOUD = Cloud(hosts=HOSTS, vpcs=[ACME, msgspec.structs.replace(ACME, owner="globex")])

SOURCE = "/srv/vpc.yaml"


def apply(store: Store, caller: Caller, cloud: Cloud, source: str = SOURCE) -> CloudPlan:
    assert check_cloud(cloud) == []
    plan = plan_cloud(store, caller, cloud, source=source)
    apply_cloud(store, plan, allow_mass_delete=True)
    again = plan_cloud(store, caller, cloud, source=source)
    assert (again.changes, again.steps) == ((), ())
    return plan


def summary(plan: CloudPlan) -> list[tuple[str, str, str]]:
    return [(change.action.value, change.kind, change.path) for change in plan.changes]


def acme(**changes: object) -> Cloud:
    """Return the cloud with changes in acme's VPC."""
    return Cloud(hosts=HOSTS, vpcs=[msgspec.structs.replace(ACME, **changes), CLOUD.vpcs[1]])


def records(store: Store, owner: str = "acme", name: str = "web") -> VpcRecords:
    found = {(vpc.vpc.record.owner, vpc.vpc.record.name): vpc for vpc in read_inventory(store).vpcs.values()}
    return found[owner, name]


def small(name: str, **fields: object) -> VpcDecl:
    return msgspec.structs.replace(VpcDecl(name=name, cidrs=["10.0.0.0/16"]), **fields)


def many(count: int, cidr: str = "10.0.0.0/24") -> VpcDecl:
    runs = [InstanceDecl(name=f"i{n}") for n in range(count)]
    return small("web", subnets=[SubnetDecl(name="s", cidr=cidr)], instances=runs)


def contents(store: Store, chosen: str = CHOSEN_MAC) -> list[tuple[str, str]]:
    """Return a store's contents; each id is replaced by its resource's name, and each match of `chosen` by a constant."""
    names: dict[str, str] = {}
    for prefix in ("vpc/", "eip/"):
        for kv in store.list(prefix).kvs:
            record = msgspec.json.decode(kv.value)
            names[record.get("id", kv.key.rpartition("/")[2])] = record.get("name", "")

    def named(found: re.Match[str]) -> str:
        own = names.get(found[0], "") or names.get(found[0].replace("eni-", "i-"), "")
        return f"{found[1]}={own}"

    texts = [(kv.key, kv.value.decode()) for kv in store.list("").kvs]
    plain = [tuple(re.sub(chosen, "CHOSEN", _ID.sub(named, text)) for text in pair) for pair in texts]
    return sorted((key, value) for key, value in plain)
