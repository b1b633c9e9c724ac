"""Virtual private gateways and customer gateways."""

from __future__ import annotations

import pytest

from netorch.control.actions import route_tables
from netorch.control.actions.outside.gateways import create_internet_gateway
from netorch.control.actions.private import customers, gateways
from netorch.control.actions.private.connections import delete_vpn_connection
from netorch.control.base.quotas import set_quotas
from netorch.model.eni import Host
from netorch.model.mapping import GatewayMapping
from netorch.model.outside.vpn import CustomerGateway, VirtualPrivateGateway, VpnConnection
from netorch.model.vpc import RouteTable, Vpc
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.read import get, read_all
from netorch.store.base import Put, Store
from tests.unit.control.conftest import refused
from tests.unit.control.private.conftest import MakeEdge, clean


def test_a_gateway_is_placed_on_the_pair_of_the_vpcs_other_gateways(
    store: Store, acme: Caller, vpc: Vpc, west: list[Host], make_edge: MakeEdge
) -> None:
    create_internet_gateway(store, acme, vpc.id, name="out")
    make_edge("n1", 31, "north")
    made = gateways.create_vpn_gateway(store, acme, vpc.id, name="home", asn=64600)
    (info,) = gateways.describe_vpn_gateways(store, acme, vpc.id)
    assert (info.gateway, info.pair, set(info.edges)) == (made, "west", {edge.name for edge in west})
    assert all(store.get(keys.placement(edge.name, made.id)) for edge in west)
    clean(store)


def test_a_vpc_has_one_gateway(store: Store, acme: Caller, globex: Caller, vpc: Vpc, gateway: VirtualPrivateGateway) -> None:
    with refused("Resource.AlreadyAssociated", f"has the virtual private gateway {gateway.id} attached"):
        gateways.create_vpn_gateway(store, acme, vpc.id)
    for act in (gateways.delete_vpn_gateway, gateways.describe_vpn_gateway):
        with refused("InvalidVpnGatewayID.NotFound"):
            act(store, globex, gateway.id)


@pytest.mark.parametrize("asn", [0, 1, 64511, 65535, 23456, 4_199_999_999, 4_294_967_295, 10**30])
def test_a_gateway_has_a_private_number(store: Store, acme: Caller, vpc: Vpc, west: list[Host], asn: int) -> None:
    assert west
    with refused("InvalidParameterValue", "is not a private AS number; choose 64512 to 65534, or 4200000000 to 4294967294"):
        gateways.create_vpn_gateway(store, acme, vpc.id, asn=asn)


def test_what_is_left_of_a_deleted_gateway_is_a_black_hole(
    store: Store, acme: Caller, vpc: Vpc, gateway: VirtualPrivateGateway
) -> None:
    table = route_tables.create_route_table(store, acme, vpc.id, name="private")
    route_tables.create_route(store, acme, table.id, "192.168.0.0/16", "vgw")
    for edge in ("e1", "e2"):
        store.txn(
            (),
            [
                Put(
                    keys.reach(vpc.vni, gateway.id, edge),
                    b'{"vni":%d,"gateway":"%b","edge":"%b"}' % (vpc.vni, gateway.id.encode(), edge.encode()),
                )
            ],
        )
    gateways.delete_vpn_gateway(store, acme, gateway.id)
    info = route_tables.describe_route_table(store, acme, table.id)
    assert [(route.target, route.state.value) for route in info.routes][1:] == [(gateway.id, "blackhole")]
    assert get(store, keys.gateway_mapping(vpc.vni, gateway.id), GatewayMapping) is None
    assert [kv.key for kv in store.list(keys.map_prefix(vpc.vni)).kvs] == []
    assert [kv.key for kv in store.list("host/e1/placement/").kvs] == []
    assert set(read_all(store, RouteTable, vpc.vni)) == {
        table.id,
        route_tables.describe_route_tables(store, acme, vpc.id)[0].table.id,
    }
    clean(store)


def test_a_gateway_with_connections_stays(
    store: Store, acme: Caller, gateway: VirtualPrivateGateway, device: CustomerGateway, connection: VpnConnection
) -> None:
    with refused("DependencyViolation", r"still has 1 VPN connection\(s\); delete these first: netorch vpn delete"):
        gateways.delete_vpn_gateway(store, acme, gateway.id)
    with refused("IncorrectState", f"The customer gateway is in use by {connection.id}"):
        customers.delete_customer_gateway(store, acme, device.id)
    delete_vpn_connection(store, acme, connection.id)
    gateways.delete_vpn_gateway(store, acme, gateway.id)
    customers.delete_customer_gateway(store, acme, device.id)
    assert [kv.key for kv in store.list("alloc/use/").kvs] == []
    clean(store)


def test_what_is_described_once_more_is_what_there_is(
    store: Store, acme: Caller, globex: Caller, device: CustomerGateway
) -> None:
    assert customers.create_customer_gateway(store, acme, name="again", address="203.0.113.1") == device
    assert customers.create_customer_gateway(store, acme, address="203.0.113.1", identity="r1.example").id != device.id
    assert customers.create_customer_gateway(store, globex, address="203.0.113.1").owner == "globex"
    assert [info.gateway.owner for info in customers.describe_customer_gateways(store, acme)] == ["acme", "acme"]
    with refused("InvalidParameterValue", "owner acme already has one with that name"):
        customers.create_customer_gateway(store, acme, name="office", address="203.0.113.7")
    with refused("InvalidCustomerGatewayID.NotFound"):
        customers.delete_customer_gateway(store, globex, device.id)
    clean(store)


@pytest.mark.parametrize(
    ("given", "code", "match"),
    [
        ({}, "MissingParameter", "has no address; give its public IPv4 address or its IKE identity"),
        ({"address": "10.0.0.0/8"}, "InvalidParameterValue", "is not an address"),
        ({"address": "fd00::1"}, "InvalidParameterValue", "is an IPv6 address"),
        ({"address": "127.0.0.1"}, "InvalidParameterValue", "loopback"),
        ({"address": "203.0.113.1", "asn": 65535}, "InvalidParameterValue", "65535 is not the number of an autonomous system"),
        ({"identity": "a\nb"}, "InvalidParameterValue", "is not an identity"),
        ({"identity": " x"}, "InvalidParameterValue", "is not an identity"),
    ],
)
def test_what_no_device_can_be_is_refused(store: Store, acme: Caller, given: dict[str, object], code: str, match: str) -> None:
    with refused(code, match):
        customers.create_customer_gateway(store, acme, **given)  # type: ignore[arg-type]


def test_an_owner_has_so_many(store: Store, acme: Caller, device: CustomerGateway) -> None:
    assert device
    set_quotas(store, "acme", {"customer_gateways": 1})
    with refused("CustomerGatewayLimitExceeded", "owner acme: already has its quota of 1 customer gateways"):
        customers.create_customer_gateway(store, acme, address="203.0.113.2")
