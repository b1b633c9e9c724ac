"""The secondary elastic IPs of NAT gateways: associated, drained, removed, and what is refused during that."""

from __future__ import annotations

import pytest

from netorch.control.actions.outside import addresses, nat_addresses, nats
from netorch.model.eni import NetworkInterface
from netorch.model.outside.gateway import InternetGateway, NatGateway
from netorch.model.outside.public import AddressPool, ElasticIp
from netorch.model.vpc import Subnet, Vpc
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.read import get
from netorch.store.base import Store
from tests.unit.control.conftest import Clock, refused
from tests.unit.control.outside.conftest import clean, public_of


@pytest.fixture
def elastic(store: Store, acme: Caller, pool: AddressPool) -> list[ElasticIp]:
    del pool
    return [addresses.allocate_address(store, acme) for _ in range(3)]


@pytest.fixture
def nat(store: Store, acme: Caller, subnet: Subnet, gateway: InternetGateway, elastic: list[ElasticIp]) -> NatGateway:
    del gateway
    return nats.create_nat_gateway(store, acme, subnet.id, elastic[0].id, name="out")


def interface(store: Store, nat: NatGateway) -> NetworkInterface:
    found = get(store, keys.resource(nat.eni), NetworkInterface)
    assert found is not None
    return found.record


def stored(store: Store, nat: NatGateway) -> NatGateway:
    found = get(store, keys.resource(nat.id), NatGateway)
    assert found is not None
    return found.record


def test_each_has_a_private_address_of_its_own(
    store: Store, acme: Caller, vpc: Vpc, nat: NatGateway, elastic: list[ElasticIp]
) -> None:
    nat_addresses.associate_nat_gateway_address(store, acme, nat.id, [elastic[1].id, elastic[2].id])
    eni = interface(store, nat)
    assert len(set(eni.addresses)) == 3
    mapped = public_of(store, vpc)
    assert [mapped[private].address for private in eni.addresses] == [each.address for each in elastic]
    info = nats.describe_nat_gateway(store, acme, nat.id)
    assert [mapping.address for mapping in info.public] == [each.address for each in elastic]
    clean(store)
    nats.delete_nat_gateway(store, acme, nat.id)
    assert [kv.key for kv in store.list("alloc/ip/").kvs] == []
    for each in elastic:
        addresses.release_address(store, acme, each.id)
    clean(store)


def test_one_that_is_disassociated_drains_and_then_is_free(
    store: Store, acme: Caller, vpc: Vpc, nat: NatGateway, elastic: list[ElasticIp], clock: Clock
) -> None:
    nat_addresses.associate_nat_gateway_address(store, acme, nat.id, [elastic[1].id, elastic[2].id])
    primary, second, third = interface(store, nat).addresses
    nat_addresses.disassociate_nat_gateway_address(store, acme, nat.id, [elastic[1].id], drain_s=100)
    assert stored(store, nat).draining == {second: acme.now() + 100}
    assert public_of(store, vpc).keys() == {primary, second, third}
    with refused("InvalidIPAddress.InUse"):
        addresses.release_address(store, acme, elastic[1].id)
    with refused("Resource.AlreadyAssociated"):
        nat_addresses.associate_nat_gateway_address(store, acme, nat.id, [elastic[1].id])
    nat_addresses.end_drain(store, nat.id, [second, third], acme.now())
    assert (stored(store, nat).draining, interface(store, nat).addresses) == ({}, (primary, third))  # only what drains
    assert public_of(store, vpc).keys() == {primary, third}
    assert [kv.key.rpartition("/")[2] for kv in store.list("alloc/ip/").kvs] == sorted([primary, third])
    clean(store)
    addresses.release_address(store, acme, elastic[1].id)
    clean(store)


def test_what_does_not_fit_is_refused(
    store: Store, acme: Caller, globex: Caller, nat: NatGateway, elastic: list[ElasticIp]
) -> None:
    foreign = addresses.allocate_address(store, globex)
    associate, disassociate = nat_addresses.associate_nat_gateway_address, nat_addresses.disassociate_nat_gateway_address
    with refused("InvalidAllocationID.NotFound"):
        associate(store, acme, nat.id, [foreign.id])
    with refused("NatGatewayNotFound"):
        associate(store, globex, nat.id, [foreign.id])
    with refused("Resource.AlreadyAssociated"):
        associate(store, acme, nat.id, [elastic[0].id])
    with refused("InvalidParameterValue", "twice"):
        associate(store, acme, nat.id, [elastic[1].id, elastic[1].id])
    with refused("PrivateIpAddressLimitExceeded", "at most 8"):
        associate(store, acme, nat.id, [f"eipalloc-{n:017x}" for n in range(8)])
    with refused("InvalidAssociationID.NotFound"):
        disassociate(store, acme, nat.id, [elastic[1].id])
    with refused("OperationNotPermitted", "primary"):
        disassociate(store, acme, nat.id, [elastic[0].id])
    with refused("InvalidParameterValue", "choose 1 to 4000"):
        disassociate(store, acme, nat.id, [elastic[0].id], drain_s=0)
    associate(store, acme, nat.id, [elastic[1].id])
    with refused("OperationNotPermitted", nat.id):
        addresses.disassociate_address(store, acme, elastic[1].id)
    clean(store)


@pytest.mark.parametrize(("wanted", "private"), [("", "10.0.0.4"), ("10.0.0.5", "10.0.0.5")])
def test_a_new_gateway_takes_several_and_the_first_is_the_primary_one(
    store: Store,
    acme: Caller,
    vpc: Vpc,
    subnet: Subnet,
    gateway: InternetGateway,
    elastic: list[ElasticIp],
    wanted: str,
    private: str,
) -> None:
    second, first, third = (each.id for each in elastic)
    made = nats.create_nat_gateway(store, acme, subnet.id, first, name="out", secondary=[second, third], address=wanted)
    own = interface(store, made).addresses
    assert (own[0], len(set(own))) == (private, 3)
    assert [public_of(store, vpc)[address].allocation for address in own] == [first, second, third]
    clean(store)
    nats.delete_nat_gateway(store, acme, made.id)
    for each in elastic:
        addresses.release_address(store, acme, each.id)
    clean(store)


def test_a_gateway_with_one_twice_or_too_many_is_not_made(
    store: Store, acme: Caller, vpc: Vpc, subnet: Subnet, gateway: InternetGateway, elastic: list[ElasticIp]
) -> None:
    first, second, _ = (each.id for each in elastic)
    with refused("InvalidParameterValue", f"{elastic[1].address} is named twice; name it once"):
        nats.create_nat_gateway(store, acme, subnet.id, first, name="out", secondary=[second, second])
    with refused("InvalidParameterValue", f"{elastic[0].address} is named twice; name it once"):
        nats.create_nat_gateway(store, acme, subnet.id, first, name="out", secondary=[first])
    with refused("PrivateIpAddressLimitExceeded", "at most 8"):
        nats.create_nat_gateway(store, acme, subnet.id, first, name="out", secondary=[f"eipalloc-{n:017x}" for n in range(8)])
    assert public_of(store, vpc) == {}
    clean(store)


def test_who_wants_an_address_back_reads_which_command_ends_its_association(
    store: Store, acme: Caller, nat: NatGateway, elastic: list[ElasticIp]
) -> None:
    nat_addresses.associate_nat_gateway_address(store, acme, nat.id, [elastic[1].id])

    def both_say(which: ElasticIp, text: str) -> None:
        with refused("InvalidIPAddress.InUse", text):
            addresses.release_address(store, acme, which.id)
        with refused("OperationNotPermitted", text):
            addresses.disassociate_address(store, acme, which.id)

    both_say(elastic[0], f"first: netorch nat delete {nat.id}")
    both_say(elastic[1], f"first: netorch nat disassociate-address {nat.id} {elastic[1].address}")
    nat_addresses.disassociate_nat_gateway_address(store, acme, nat.id, [elastic[1].id])
    both_say(elastic[1], f"is draining from NAT gateway {nat.id}; wait")
