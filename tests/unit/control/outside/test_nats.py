"""NAT gateways: EC2's rules for creation, the life of their interfaces and addresses, and what is refused during that."""

from __future__ import annotations

import pytest

from netorch.control.actions import enis, memberships, route_tables, subnets, vpcs
from netorch.control.actions.instances import Placed
from netorch.control.actions.outside import addresses, gateways, nats
from netorch.control.base.quotas import set_quotas
from netorch.model.eni import Host, NetworkInterface
from netorch.model.mapping import GatewayMapping
from netorch.model.outside.gateway import InternetGateway, NatGateway
from netorch.model.outside.public import AddressPool, ElasticIp
from netorch.model.routing.next_hop import gateway_mac
from netorch.model.status import NatUse
from netorch.model.vpc import RouteTable, Subnet, Vpc
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.codec import encode
from netorch.records.read import get, read_all
from netorch.store.base import Put, Store
from tests.unit.control.conftest import refused
from tests.unit.control.outside.conftest import clean, public_of


@pytest.fixture
def elastic(store: Store, acme: Caller, pool: AddressPool) -> ElasticIp:
    del pool
    return addresses.allocate_address(store, acme)


@pytest.fixture
def nat(store: Store, acme: Caller, subnet: Subnet, gateway: InternetGateway, elastic: ElasticIp) -> NatGateway:
    del gateway
    return nats.create_nat_gateway(store, acme, subnet.id, elastic.id, name="out")


def interface(store: Store, nat: NatGateway) -> NetworkInterface:
    """Return the interface of a NAT gateway."""
    found = get(store, keys.resource(nat.eni), NetworkInterface)
    assert found is not None
    return found.record


def test_a_new_gateway_has_an_interface_for_whose_address_the_elastic_ip_stands(
    store: Store, acme: Caller, vpc: Vpc, subnet: Subnet, nat: NatGateway, elastic: ElasticIp, west: list[Host]
) -> None:
    eni = interface(store, nat)
    assert (eni.subnet, eni.gateway, eni.mac, eni.instance, eni.groups) == (subnet.id, nat.id, gateway_mac(nat.id), "", ())
    assert (public_of(store, vpc)[eni.address].address, public_of(store, vpc)[eni.address].eni) == (elastic.address, eni.id)
    mapping = get(store, keys.gateway_mapping(vpc.vni, nat.id), GatewayMapping)
    assert mapping is not None
    assert {seat.host for seat in mapping.record.seats} == {edge.name for edge in west}
    assert all(store.get(keys.placement(edge.name, nat.id)) for edge in west)
    (info,) = nats.describe_nat_gateways(store, acme, vpc.id)
    assert (info.gateway, info.subnet, info.address, info.pair) == (nat, subnet.name, eni.address, "west")
    assert [each.address for each in info.public] == [elastic.address]
    clean(store)


def test_its_metrics_are_the_sums_of_what_both_edges_say(store: Store, acme: Caller, nat: NatGateway) -> None:
    for edge, attempts in (("e1", 3), ("e2", 4)):
        use = NatUse(metrics={"ConnectionAttemptCount": attempts}, dropped={"no_port": 1})
        store.txn((), [Put(keys.nat_use(edge, nat.id), encode(use))])
    found = nats.describe_nat_gateway(store, acme, nat.id)
    assert (found.metrics["ConnectionAttemptCount"], found.metrics["IdleTimeoutCount"], found.dropped) == (7, 0, {"no_port": 2})


def test_without_an_internet_gateway_there_is_none(store: Store, acme: Caller, subnet: Subnet, elastic: ElasticIp) -> None:
    with refused("Gateway.NotAttached"):
        nats.create_nat_gateway(store, acme, subnet.id, elastic.id, name="out")


def test_what_does_not_fit_is_refused(
    store: Store, operator: Caller, acme: Caller, globex: Caller, subnet: Subnet, nat: NatGateway, elastic: ElasticIp
) -> None:
    other = addresses.allocate_address(store, acme)
    foreign = addresses.allocate_address(store, globex)
    with refused("Resource.AlreadyAssociated"):
        nats.create_nat_gateway(store, acme, subnet.id, elastic.id, name="second")
    with refused("InvalidParameterValue", "out"):
        nats.create_nat_gateway(store, acme, subnet.id, other.id, name="out")
    with refused("InvalidAllocationID.NotFound"):
        nats.create_nat_gateway(store, acme, subnet.id, foreign.id, name="second")
    with refused("InvalidSubnetID.NotFound"):
        nats.create_nat_gateway(store, globex, subnet.id, foreign.id, name="second")
    with refused("InvalidIPAddress.InUse"):
        nats.create_nat_gateway(store, acme, subnet.id, other.id, name="second", address=interface(store, nat).address)
    set_quotas(store, acme.owner, {"nat_gateways_per_vpc": 1})
    with refused("NatGatewayLimitExceeded"):
        nats.create_nat_gateway(store, acme, subnet.id, other.id, name="second")
    with refused("NatGatewayNotFound"):
        nats.delete_nat_gateway(store, globex, nat.id)
    clean(store)


def test_nobody_else_changes_its_interface_or_its_address(
    store: Store, acme: Caller, nat: NatGateway, elastic: ElasticIp, placed: Placed
) -> None:
    other = addresses.allocate_address(store, acme)
    with refused("OperationNotPermitted", nat.id):
        enis.delete_network_interface(store, acme, nat.eni)
    with refused("OperationNotPermitted", nat.id):
        enis.attach_network_interface(store, acme, nat.eni, placed.instance.id)
    with refused("OperationNotPermitted", nat.id):
        enis.modify_network_interface(store, acme, nat.eni, source_dest_check=False)
    with refused("OperationNotPermitted", nat.id):
        memberships.modify_interface_groups(store, acme, nat.eni, ["default"])
    with refused("OperationNotPermitted", nat.id):
        addresses.associate_address(store, acme, other.id, interface=nat.eni, allow_reassociation=True)
    with refused("OperationNotPermitted", nat.id):
        addresses.associate_address(store, acme, elastic.id, instance=placed.instance.id, allow_reassociation=True)
    with refused("OperationNotPermitted", nat.id):
        addresses.disassociate_address(store, acme, elastic.id)
    with refused("InvalidIPAddress.InUse"):
        addresses.release_address(store, acme, elastic.id)
    clean(store)


def test_what_it_stands_on_stays(
    store: Store, acme: Caller, vpc: Vpc, subnet: Subnet, nat: NatGateway, gateway: InternetGateway
) -> None:
    assert nat.subnet == subnet.id
    with refused("DependencyViolation"):
        subnets.delete_subnet(store, acme, subnet.id)
    with refused("DependencyViolation"):
        gateways.delete_internet_gateway(store, acme, gateway.id)
    with refused("DependencyViolation"):
        vpcs.delete_vpc(store, acme, vpc.id)


def test_a_deleted_gateway_leaves_black_holes_and_the_address(
    store: Store, acme: Caller, vpc: Vpc, subnet: Subnet, nat: NatGateway, elastic: ElasticIp, gateway: InternetGateway
) -> None:
    (main,) = read_all(store, RouteTable, vpc.vni)
    route_tables.create_route(store, acme, main, "0.0.0.0/0", "nat-out")
    (info,) = route_tables.describe_route_tables(store, acme, vpc.id)
    assert (info.routes[-1].target, info.routes[-1].state.value, info.names[nat.id]) == (nat.id, "active", "nat-out")
    nats.delete_nat_gateway(store, acme, nat.id)
    assert [kv.key for kv in store.list("").kvs if nat.id in kv.key or nat.eni in kv.key] == []
    (info,) = route_tables.describe_route_tables(store, acme, vpc.id)
    assert info.routes[-1].state.value == "blackhole"
    assert public_of(store, vpc) == {}
    clean(store)
    again = nats.create_nat_gateway(store, acme, subnet.id, elastic.id, name="out")
    nats.delete_nat_gateway(store, acme, again.id)
    addresses.release_address(store, acme, elastic.id)
    gateways.delete_internet_gateway(store, acme, gateway.id)
    subnets.delete_subnet(store, acme, subnet.id)
    vpcs.delete_vpc(store, acme, vpc.id)
    clean(store)


def test_a_route_may_replace_the_local_one_and_is_ipv4(store: Store, acme: Caller, vpc: Vpc, nat: NatGateway) -> None:
    (main,) = read_all(store, RouteTable, vpc.vni)
    route_tables.create_route(store, acme, main, "10.0.0.0/24", nat.id)
    with refused("InvalidParameterValue", "IPv6"):
        route_tables.create_route(store, acme, main, "::/0", nat.id)
