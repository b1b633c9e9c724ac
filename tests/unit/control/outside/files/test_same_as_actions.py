"""A file and equivalent commands for internet access: they store the same records, and refuse the same."""

from __future__ import annotations

import msgspec
import pytest

from netorch.control.actions import hosts, instances, route_tables, subnets, vpcs
from netorch.control.actions.outside import addresses, gateways, nats, pools
from netorch.control.apply.cloud import apply_cloud, plan_cloud
from netorch.errors import ApiError
from netorch.model.cloud import AddressPoolDecl, Cloud, ElasticIpDecl, HostDecl, InstanceDecl, NatGatewayDecl, RouteTableDecl
from netorch.model.eni import Role, Uplink
from netorch.model.outside.uplink import uplink_text
from netorch.records.caller import Caller
from netorch.store.base import Store
from netorch.store.memory import MemoryStore
from tests.unit.control.apply.clouds import CHOSEN_MAC, HOSTS, contents
from tests.unit.control.outside.conftest import clean
from tests.unit.control.outside.files.declared import EDGES, POOLS, SHOP, WEB, edge

CHOSEN = rf"{CHOSEN_MAC}|\b02:4f(:[0-9a-f]{{2}}){{4}}\b|\b203\.0\.113\.\d+\b(?!/)"  # MACs, and addresses of pools

ELASTIC = msgspec.structs.replace(WEB, tags={"a": "b"})
SHARED = ElasticIpDecl(name="shared", owner="acme", pool="west")
VPC = msgspec.structs.replace(
    SHOP,
    vni=5000,
    route_tables=[RouteTableDecl(name="public", routes=["0.0.0.0/0 via igw", "198.18.0.0/24 via nat-out"])],
    nat_gateways=[NatGatewayDecl(name="out", subnet="front", elastic_ips=["shared"], tags={"c": "d"})],
    instances=SHOP.instances[:2],
)
FILE = Cloud(hosts=[*HOSTS, *EDGES], address_pools=POOLS, elastic_ips=[ELASTIC, SHARED], vpcs=[VPC])


def make_hosts(store: Store, operator: Caller, decls: list[HostDecl], pool: AddressPoolDecl) -> None:
    for decl in decls:
        up = decl.uplink
        hosts.create_host(
            store,
            operator,
            name=decl.name,
            underlay=decl.underlay,
            role=decl.role,
            pair=decl.pair,
            uplink=uplink_text(up) if up is not None else "",
            asn=up.asn if up is not None else 0,
            gateway_asn=up.gateway_asn if up is not None else 0,
        )
    pools.create_pool(store, operator, name=pool.name, pair=pool.pair, cidrs=pool.cidrs)


def by_commands(store: Store, operator: Caller, acme: Caller) -> None:
    """Make the file's cloud; make the pair that does not carry the gateway last."""
    make_hosts(store, operator, [*HOSTS, *EDGES[:2]], POOLS[0])
    vpc = vpcs.create_vpc(store, acme, name="shop", cidrs=["10.0.0.0/16"], vni=5000)
    gateways.create_internet_gateway(store, acme, vpc.id, name="gw", tags={"a": "b"})
    table = route_tables.create_route_table(store, acme, vpc.id, name="public")
    front = subnets.create_subnet(
        store, acme, vpc.id, name="front", cidr="10.0.1.0/24", route_table=table.id, public_on_launch=True
    )
    subnets.create_subnet(store, acme, vpc.id, name="back", cidr="10.0.2.0/24")
    first = instances.RunRequest(name="web-1", subnet=front.id, public_address=False)
    run = instances.run_instance(store, acme, first)
    instances.run_instance(store, acme, instances.RunRequest(name="web-2", subnet=front.id))
    route_tables.create_route(store, acme, table.id, "0.0.0.0/0", "igw")
    made = addresses.allocate_address(store, acme, pool="west", name="web", tags={"a": "b"})
    addresses.associate_address(store, acme, made.id, instance=run.instance.id)
    shared = addresses.allocate_address(store, acme, pool="west", name="shared")
    nats.create_nat_gateway(store, acme, front.id, shared.id, name="out", tags={"c": "d"})
    route_tables.create_route(store, acme, table.id, "198.18.0.0/24", "nat-out")
    make_hosts(store, operator, EDGES[2:], POOLS[1])


def test_a_file_and_commands_store_the_same(operator: Caller, acme: Caller) -> None:
    by_command, by_file = MemoryStore(), MemoryStore()
    by_commands(by_command, operator, acme)
    apply_cloud(by_file, plan_cloud(by_file, operator, FILE))
    clean(by_command)
    clean(by_file)
    assert contents(by_command, CHOSEN) == contents(by_file, CHOSEN)
    assert plan_cloud(by_command, operator, FILE).changes == ()


@pytest.mark.parametrize(
    "other",
    [
        edge("e9", 29, "west"),
        msgspec.structs.replace(edge("e9", 29, "north"), uplink=None),
        msgspec.structs.replace(edge("e9", 29, "north"), role=Role.HYPERVISOR),
        msgspec.structs.replace(
            edge("e9", 29, "north"), uplink=Uplink(device="eth2", address="203.0.113.2/25", gateway="203.0.113.1")
        ),
        msgspec.structs.replace(
            edge("e9", 29, "north"), uplink=Uplink(device="eth2", address="198.18.0.2/24", gateway="203.0.113.1")
        ),
    ],
)
def test_a_plan_refuses_the_edges_that_a_command_refuses(operator: Caller, acme: Caller, other: HostDecl) -> None:
    store = MemoryStore()
    by_commands(store, operator, acme)
    text = uplink_text(other.uplink) if other.uplink is not None else ""
    words = {field: getattr(other, field) for field in ("name", "underlay", "role", "pair")}
    with pytest.raises(ApiError) as command:
        hosts.create_host(store, operator, **words, uplink=text)
    with pytest.raises(ApiError) as plan:
        plan_cloud(store, operator, Cloud(hosts=[other]))
    assert str(plan.value) == str(command.value)


@pytest.mark.parametrize(
    ("pair", "cidr"),
    [("north", "192.0.2.128/26"), ("west", "203.0.113.0/30"), ("west", "192.0.2.8/30"), ("west", "192.0.2.20/31")],
)
def test_a_plan_refuses_the_pools_that_a_command_refuses(operator: Caller, acme: Caller, pair: str, cidr: str) -> None:
    store = MemoryStore()
    by_commands(store, operator, acme)
    with pytest.raises(ApiError) as command:
        pools.create_pool(store, operator, name="new", pair=pair, cidrs=[cidr])
    with pytest.raises(ApiError) as plan:
        plan_cloud(store, operator, Cloud(address_pools=[AddressPoolDecl(name="new", pair=pair, cidrs=[cidr])]))
    assert str(plan.value) == str(command.value)


@pytest.mark.parametrize(("pool", "address"), [("north", ""), ("", "192.0.2.200"), ("east", "203.0.113.9")])
def test_a_plan_refuses_the_elastic_ips_that_a_command_refuses(operator: Caller, acme: Caller, pool: str, address: str) -> None:
    store = MemoryStore()
    by_commands(store, operator, acme)
    with pytest.raises(ApiError) as command:
        addresses.allocate_address(store, acme, name="new", pool=pool, address=address)
    new = ElasticIpDecl(name="new", owner="acme", pool=pool, address=address)
    with pytest.raises(ApiError) as plan:
        plan_cloud(store, operator, Cloud(elastic_ips=[new]))
    assert plan.value.code == command.value.code


def test_a_plan_refuses_an_association_without_a_gateway_as_the_command_does(operator: Caller, acme: Caller) -> None:
    """In a default VPC, which a file need not declare, only the plan can check whether there is a gateway."""
    store = MemoryStore()
    file = Cloud(
        hosts=[*HOSTS, *EDGES],
        address_pools=POOLS,
        elastic_ips=[ElasticIpDecl(name="web")],
        instances=[InstanceDecl(name="i", elastic_ip="web")],
    )
    plan = plan_cloud(store, operator, file)
    assert "Gateway.NotAttached" in str(plan.stuck[0].error)
    del acme
