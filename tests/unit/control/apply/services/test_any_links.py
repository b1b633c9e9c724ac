"""Random sequences of files with services and endpoints: each file is applied exactly, and an export equals it."""

from __future__ import annotations

import random

import msgspec
import pytest

from netorch.control.actions.hosts import create_host
from netorch.control.apply.cloud import apply_cloud, plan_cloud, plan_destruction
from netorch.control.views.export import export_cloud
from netorch.model.cloud import Cloud, InstanceDecl, SecurityGroupDecl, SubnetDecl, VpcDecl
from netorch.model.endpoints.declared import EndpointServiceDecl, InterfaceEndpointDecl
from netorch.model.eni import Role
from netorch.records.caller import Caller
from netorch.records.inventory import read_inventory
from netorch.store.memory import MemoryStore
from tests.unit.control.apply.clouds import apply
from tests.unit.control.apply.services.linked import sound

FILES = 8
VPCS = [("acme", "one"), ("acme", "two"), ("globex", "three")]
SUBNETS = [SubnetDecl(name="s", cidr="10.0.1.0/26"), SubnetDecl(name="t", cidr="10.0.2.0/26")]


def some_services(rng: random.Random) -> list[EndpointServiceDecl]:
    return [
        EndpointServiceDecl(
            name=name,
            subnets=rng.sample(["s", "t"], rng.randrange(1, 3)),
            ports=rng.sample(["tcp/443:8443", "udp/53", "tcp/80"], rng.randrange(1, 4)),
            targets=rng.sample(["i", "j"], rng.randrange(3)),
            acceptance_required=rng.random() < 0.7,
            principals=["*"],
        )
        for name in rng.sample(["db", "api"], rng.randrange(3))
    ]


def some_file(rng: random.Random) -> Cloud:
    """Return a file with up to three VPCs, whose endpoints lead to services of the same file."""
    paths = rng.sample(VPCS, rng.randrange(1, 4))
    services = {path: some_services(rng) for path in paths}
    endpoints: dict[tuple[str, str], list[InterfaceEndpointDecl]] = {}
    asked: dict[str, list[str]] = {}
    for owner, name in paths:
        others = [f"{path[0]}/{path[1]}/{one.name}" for path in paths if path != (owner, name) for one in services[path]]
        for called in rng.sample(["x", "y"], rng.randrange(3)) if others else ():
            service = rng.choice(others)
            asked.setdefault(service, []).append(f"{owner}/{name}/{called}")
            subnets = rng.sample(["s", "t"], rng.randrange(1, 3))
            decl = InterfaceEndpointDecl(
                name=called, service=service, subnets=subnets, security_groups=rng.choice([[], ["g"], ["g", "h"]])
            )
            endpoints.setdefault((owner, name), []).append(decl)
    vpcs = []
    for path in paths:
        offered = [_accepting(rng, one, asked.get(f"{path[0]}/{path[1]}/{one.name}", [])) for one in services[path]]
        first = msgspec.structs.replace(SUBNETS[0], cidr=rng.choice(["10.0.1.0/26", "10.0.3.0/26"]))
        vpc = VpcDecl(
            name=path[1],
            owner=path[0],
            cidrs=["10.0.0.0/16"],
            security_groups=[SecurityGroupDecl(name="g"), SecurityGroupDecl(name="h")],
            subnets=[first, SUBNETS[1]],
            instances=[InstanceDecl(name=name, subnet="t") for name in ("i", "j")],
            endpoint_services=offered,
            interface_endpoints=endpoints.get(path, []),
        )
        vpcs.append(vpc)
    return Cloud(name="linked", vpcs=vpcs)


def _accepting(rng: random.Random, decl: EndpointServiceDecl, asked: list[str]) -> EndpointServiceDecl:
    if not decl.acceptance_required or rng.random() < 0.3:
        return decl
    return msgspec.structs.replace(decl, accept=rng.sample(asked, rng.randrange(len(asked) + 1)))


@pytest.mark.parametrize("seed", range(12))
def test_files_with_services_and_endpoints_one_after_the_other(seed: int) -> None:
    rng, store, operator = random.Random(seed), MemoryStore(), Caller(operator=True)
    create_host(store, operator, name="hv1", underlay="192.0.2.11")
    for number in (21, 22):
        uplink, name = f"out0,198.18.0.{number}/24,198.18.0.254", f"e{number}"
        create_host(store, operator, name=name, underlay=f"192.0.2.{number}", role=Role.EDGE, pair="west", uplink=uplink)
    for _ in range(FILES):
        cloud = some_file(rng)
        apply_or_free(store, operator, cloud)
        sound(store)
        assert plan_cloud(store, operator, export_cloud(store)).changes == ()
    apply(store, operator, Cloud(name="linked"))
    assert read_inventory(store).vpcs == {}
    assert [kv.key for kv in store.list("alloc/ip/").kvs] == []


def apply_or_free(store: MemoryStore, operator: Caller, cloud: Cloud) -> None:
    """Apply a file; first delete VPCs whose subnets are kept by addresses of connections to services."""
    plan = plan_cloud(store, operator, cloud, source="/srv/vpc.yaml")
    if plan.stuck:
        assert all("reject that connection first" in str(one.error) or "is not offered" in str(one.error) for one in plan.stuck)
        ids = [records.vpc.record.id for records in read_inventory(store).vpcs.values()]
        apply_cloud(store, plan_destruction(store, operator, ids))
        sound(store)
    apply(store, operator, cloud)
