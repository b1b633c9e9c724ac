"""Route tables with the prefixes that a virtual private gateway propagates."""

from __future__ import annotations

import pytest

from netorch.control.actions import route_tables, vpcs
from netorch.control.actions.private import propagation
from netorch.control.actions.private.gateways import create_vpn_gateway, delete_vpn_gateway
from netorch.control.actions.route_tables import RouteState
from netorch.model.mapping import Reach, ReachedPrefix
from netorch.model.outside.vpn import VirtualPrivateGateway
from netorch.model.routing.effective import Origin
from netorch.model.vpc import RouteTable, Vpc
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.codec import encode
from netorch.records.read import read
from netorch.store.base import Put, Store
from tests.unit.control.conftest import refused
from tests.unit.control.private.conftest import clean


@pytest.fixture
def table(store: Store, acme: Caller, vpc: Vpc) -> RouteTable:
    return route_tables.create_route_table(store, acme, vpc.id, name="private")


def reaches(store: Store, gateway: VirtualPrivateGateway, edge: str, *prefixes: str, origin: Origin = Origin.VPN_BGP) -> None:
    found = tuple(ReachedPrefix(prefix=prefix, origin=origin, as_path_length=1) for prefix in prefixes)
    reach = Reach(vni=gateway.vni, gateway=gateway.id, edge=edge, prefixes=found)
    store.txn((), [Put(keys.reach(gateway.vni, gateway.id, edge), encode(reach))])


def shown(store: Store, caller: Caller, table: RouteTable) -> list[tuple[str, str, str, RouteState]]:
    info = route_tables.describe_route_table(store, caller, table.id)
    return [
        (route.destination, info.names.get(route.target, route.target), route.origin.value, route.state) for route in info.routes
    ]


PROPAGATED = ("vgw", "EnableVgwRoutePropagation", RouteState.ACTIVE)


def test_a_table_shows_what_is_propagated_and_in_force(
    store: Store, acme: Caller, table: RouteTable, gateway: VirtualPrivateGateway
) -> None:
    reaches(store, gateway, "e1", "10.0.9.0/24", "192.168.0.0/24", "192.168.1.0/24", "192.168.2.0/24")
    reaches(store, gateway, "e2", "192.168.1.0/24", "192.168.3.0/24")
    before = shown(store, acme, table)
    propagation.enable_propagation(store, acme, table.id, gateway.id)
    found = shown(store, acme, table)
    assert found[: len(before)] == before
    assert found[len(before) :] == [(f"192.168.{n}.0/24", *PROPAGATED) for n in range(4)]  # 10.0.9.0/24 is the VPC's
    route_tables.create_route(store, acme, table.id, "192.168.2.0/24", "blackhole")
    assert [one[0] for one in shown(store, acme, table) if one[1:] == PROPAGATED] == [f"192.168.{n}.0/24" for n in (0, 1, 3)]
    assert propagation.disable_propagation(store, acme, table.id, gateway.id).propagating == ()
    assert not [one for one in shown(store, acme, table) if one[1:] == PROPAGATED]
    clean(store)


def test_propagation_is_asked_for_once_or_twice(
    store: Store, acme: Caller, table: RouteTable, gateway: VirtualPrivateGateway
) -> None:
    first = propagation.enable_propagation(store, acme, table.id, gateway.id)
    revision = store.revision()
    assert propagation.enable_propagation(store, acme, table.id, gateway.id) == first
    assert store.revision() == revision
    propagation.disable_propagation(store, acme, table.id, gateway.id)
    propagation.disable_propagation(store, acme, table.id, gateway.id)


def test_only_the_vpcs_own_gateway_propagates(
    store: Store, acme: Caller, globex: Caller, table: RouteTable, gateway: VirtualPrivateGateway
) -> None:
    other = vpcs.create_vpc(store, acme, name="other", cidrs=["10.0.0.0/16"])
    elsewhere = create_vpn_gateway(store, acme, other.id)
    with refused("Gateway.NotAttached", f"{elsewhere.id}: is not attached to"):
        propagation.enable_propagation(store, acme, table.id, elsewhere.id)
    with refused("InvalidRouteTableID.NotFound"):
        propagation.enable_propagation(store, globex, table.id, gateway.id)


def test_a_gateway_that_goes_is_taken_from_tables(
    store: Store, acme: Caller, table: RouteTable, gateway: VirtualPrivateGateway
) -> None:
    propagation.enable_propagation(store, acme, table.id, gateway.id)
    delete_vpn_gateway(store, acme, gateway.id)
    assert read(store, acme, RouteTable, table.id)[1].record.propagating == ()
    clean(store)
