"""Elastic IP addresses: EC2's actions, codes and states."""

from __future__ import annotations

import pytest

from netorch.control.actions import enis, instances, subnets, vpcs
from netorch.control.actions.instances import Placed, RunRequest
from netorch.control.actions.outside import addresses, gateways, pools
from netorch.control.actions.tags import set_tags
from netorch.control.base.pools import read_pools
from netorch.control.base.public import gateway_pair
from netorch.control.base.quotas import set_quotas
from netorch.model.outside.gateway import InternetGateway
from netorch.model.outside.public import AddressPool
from netorch.model.vpc import Subnet, Vpc
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.store.alloc import HOLD_DOWN_S
from netorch.store.base import Store
from tests.unit.control.conftest import Clock, refused
from tests.unit.control.outside.conftest import MakeEdge, clean, held, public_of


def test_an_address_is_its_owners_until_it_is_released_and_nobodys_for_a_while_then(
    store: Store, acme: Caller, globex: Caller, clock: Clock, pool: AddressPool
) -> None:
    made = addresses.allocate_address(store, acme, address="198.51.100.7", name="web", tags={"a": "b"})
    assert (made.owner, made.address, made.pool, made.vni) == ("acme", "198.51.100.7", pool.name, 0)
    assert made.id.startswith("eipalloc-000000")
    with refused("InvalidIPAddress.InUse"):
        addresses.allocate_address(store, globex, address="198.51.100.7")
    clean(store)
    addresses.release_address(store, acme, made.id)
    assert held(store) == set()
    with refused("InvalidIPAddress.InUse", "was until recently"):
        addresses.allocate_address(store, globex, address="198.51.100.7")
    again = addresses.allocate_address(store, acme, address="198.51.100.7")  # the last owner may have it at once
    addresses.release_address(store, acme, again.id)
    clock.now += HOLD_DOWN_S
    assert addresses.allocate_address(store, globex, address="198.51.100.7").owner == "globex"
    assert [kv.key for kv in store.list("named/eipalloc/").kvs if "acme" in kv.key] == []
    clean(store)


def test_what_cannot_be_allocated(store: Store, operator: Caller, acme: Caller, pool: AddressPool) -> None:
    with refused("InvalidAddress.NotFound", "is in no address pool"):
        addresses.allocate_address(store, acme, address="203.0.113.1")
    with refused("InvalidPublicIpv4PoolID.NotFound"):
        addresses.allocate_address(store, acme, pool="q")
    with refused("InvalidParameterValue", "is not an address"):
        addresses.allocate_address(store, acme, address="198.51.100")
    for _ in range(5):
        addresses.allocate_address(store, acme)
    with refused("AddressLimitExceeded", "netorch quota set acme elastic_ips=10"):
        addresses.allocate_address(store, acme)
    set_quotas(store, "acme", {"elastic_ips": 6})
    addresses.allocate_address(store, acme, name="six")
    set_quotas(store, "acme", {"elastic_ips": 7})
    with refused("InvalidParameterValue", "already has one with that name"):
        addresses.allocate_address(store, acme, name="six")
    assert pools.describe_pool(store, operator, pool.name).ipv4.held == 6


def test_without_a_pool_there_are_no_addresses(store: Store, acme: Caller) -> None:
    with refused("InsufficientAddressCapacity", "netorch address pool create"):
        addresses.allocate_address(store, acme)


def test_an_address_stands_for_an_instances_and_back(
    store: Store, acme: Caller, vpc: Vpc, gateway: InternetGateway, pool: AddressPool, placed: Placed
) -> None:
    made = addresses.allocate_address(store, acme)
    mapping = addresses.associate_address(store, acme, made.id, instance=placed.instance.id)
    assert mapping == public_of(store, vpc)[placed.eni.address]
    assert (mapping.address, mapping.allocation, mapping.eni, mapping.pool) == (made.address, made.id, placed.eni.id, pool.name)
    info = addresses.describe_address(store, acme, made.id)
    assert (info.elastic.vni, info.mapping, info.instance) == (vpc.vni, mapping, placed.instance.id)
    clean(store)
    with refused("InvalidIPAddress.InUse", f"netorch address disassociate {made.address}"):
        addresses.release_address(store, acme, made.id)
    with refused("DependencyViolation", f"Network {vpc.id} has some mapped public address.es., e.g. {made.address}"):
        gateways.delete_internet_gateway(store, acme, gateway.id)
    with refused("Resource.AlreadyAssociated", mapping.association):
        addresses.associate_address(store, acme, made.id, interface=placed.eni.id)
    assert addresses.disassociate_address(store, acme, made.id).vni == 0
    assert public_of(store, vpc) == {}
    with refused("InvalidAssociationID.NotFound"):
        addresses.disassociate_address(store, acme, made.id)
    addresses.release_address(store, acme, made.id)
    gateways.delete_internet_gateway(store, acme, gateway.id)
    clean(store)


def test_reassociation_must_be_allowed_and_leaves_nothing_behind(
    store: Store, acme: Caller, vpc: Vpc, gateway: InternetGateway, pool: AddressPool, placed: Placed, subnet: Subnet
) -> None:
    one, two = (addresses.allocate_address(store, acme) for _ in range(2))
    spare = enis.create_network_interface(store, acme, subnet.id)
    first = addresses.associate_address(store, acme, one.id, interface=placed.eni.id)
    addresses.associate_address(store, acme, two.id, interface=spare.id)
    with refused("Resource.AlreadyAssociated", f"{one.address}: is already associated with {placed.eni.address}"):
        addresses.associate_address(store, acme, one.id, interface=spare.id)
    moved = addresses.associate_address(store, acme, one.id, interface=spare.id, allow_reassociation=True)
    assert moved.association != first.association
    assert public_of(store, vpc) == {spare.address: moved}
    assert addresses.describe_address(store, acme, two.id).elastic.vni == 0
    clean(store)
    other = vpcs.create_vpc(store, acme, name="other", cidrs=["10.1.0.0/16"])
    gateways.create_internet_gateway(store, acme, other.id)
    inner = subnets.create_subnet(store, acme, other.id, name="a", cidr="10.1.0.0/24")
    there = enis.create_network_interface(store, acme, inner.id)
    mapping = addresses.associate_address(store, acme, one.id, interface=there.id, allow_reassociation=True)
    assert public_of(store, vpc) == {}
    assert public_of(store, other) == {there.address: mapping}
    clean(store)


def test_what_an_address_cannot_stand_for(
    store: Store, acme: Caller, globex: Caller, operator: Caller, pool: AddressPool, vpc: Vpc, subnet: Subnet, placed: Placed
) -> None:
    made = addresses.allocate_address(store, acme)
    with refused("Gateway.NotAttached", f"Network {vpc.id} is not attached to any internet gateway"):
        addresses.associate_address(store, acme, made.id, instance=placed.instance.id)
    gateways.create_internet_gateway(store, acme, vpc.id)
    with refused("InvalidParameterCombination"):
        addresses.associate_address(store, acme, made.id)
    with refused("InvalidParameterCombination"):
        addresses.associate_address(store, acme, made.id, instance=placed.instance.id, interface=placed.eni.id)
    with refused("InvalidParameterValue", "10.0.0.77 is not its private IPv4 address"):
        addresses.associate_address(store, acme, made.id, interface=placed.eni.id, private="10.0.0.77")
    foreign = addresses.allocate_address(store, globex)
    with refused("InvalidParameterValue", "belongs to owner globex"):
        addresses.associate_address(store, operator, foreign.id, interface=placed.eni.id)
    second = enis.create_network_interface(store, acme, subnet.id)
    enis.attach_network_interface(store, acme, second.id, placed.instance.id)
    with refused("InvalidInstanceID", f"multiple interfaces.*{second.id}"):
        addresses.associate_address(store, acme, made.id, instance=placed.instance.id)
    with refused("InvalidNetworkInterfaceID.NotFound"):
        addresses.associate_address(store, globex, foreign.id, interface=placed.eni.id)
    with refused("InvalidInstanceID.NotFound"):
        addresses.associate_address(store, globex, foreign.id, instance=placed.instance.id)
    clean(store)


def test_an_address_of_another_pairs_pool_cannot_arrive(
    store: Store, operator: Caller, acme: Caller, make_edge: MakeEdge, gateway: InternetGateway, placed: Placed
) -> None:
    make_edge("e5", 25, pair="east")
    pools.create_pool(store, operator, name="far", pair="east", cidrs=["203.0.113.0/24"])
    with refused("InsufficientAddressCapacity", "there is no address pool that is suitable"):
        addresses.allocate_address(store, acme)
    made = addresses.allocate_address(store, acme, pool="far")
    with refused("InvalidParameterValue", "is in pool far, which is not routed to the VPC's internet gateway"):
        addresses.associate_address(store, acme, made.id, instance=placed.instance.id)
    with refused("InsufficientAddressCapacity"):
        instances.run_instance(store, acme, RunRequest(subnet=placed.eni.subnet, public_address=True))


def pool_at(store: Store, vni: int) -> str:
    """Return the pool of the pair that carries a VPC's gateway."""
    pair = gateway_pair(store, vni)
    return next(name for name, stored in read_pools(store).items() if stored.record.pair == pair)


def test_an_address_arrives_at_the_owners_gateways_where_one_pair_carries_all_of_them(
    store: Store, operator: Caller, acme: Caller, globex: Caller, make_edge: MakeEdge, pool: AddressPool, gateway: InternetGateway
) -> None:
    del gateway
    make_edge("e5", 25, pair="east")
    pools.create_pool(store, operator, name="far", pair="east", cidrs=["203.0.113.0/24"])
    set_quotas(store, "acme", {"elastic_ips": 40})
    assert {addresses.allocate_address(store, acme).pool for _ in range(5)} == {pool.name}
    assert addresses.allocate_address(store, acme, pool="far").pool == "far"
    assert addresses.allocate_address(store, acme, address="203.0.113.200").pool == "far"
    other = vpcs.create_vpc(store, acme, name="other", cidrs=["10.0.0.0/16"])
    assert gateways.create_internet_gateway(store, acme, other.id)  # on the pair with fewer gateways
    assert "far" in {addresses.allocate_address(store, acme).pool for _ in range(17)}, "more than the first pool has"
    made = vpcs.create_vpc(store, globex, name="web", cidrs=["10.0.0.0/16"])
    gateways.create_internet_gateway(store, globex, made.id)
    assert addresses.allocate_address(store, globex).pool == pool_at(store, made.vni), "another owner's gateways do not count"


def test_another_owners_address_does_not_exist(
    store: Store, acme: Caller, globex: Caller, operator: Caller, pool: AddressPool
) -> None:
    made = addresses.allocate_address(store, acme, name="web")
    for act in (addresses.release_address, addresses.disassociate_address, addresses.describe_address):
        with refused("InvalidAllocationID.NotFound"):
            act(store, globex, made.id)
    with refused("InvalidAllocationID.NotFound"):
        set_tags(store, globex, "eipalloc", made.id, {})
    assert addresses.describe_addresses(store, globex) == []
    texts = {made.id: "InvalidAllocationID.NotFound", made.address: "InvalidAddress.NotFound"}
    texts |= {"web": "InvalidAllocationID.NotFound", "acme/web": "InvalidAllocationID.NotFound"}
    for text, code in texts.items():
        assert addresses.allocation_of(store, operator, text) == made.id
        assert addresses.allocation_of(store, acme, text) == made.id
        with refused(code):
            addresses.allocation_of(store, globex, text)
    addresses.allocate_address(store, globex, name="web")
    with refused("InvalidParameterValue", "acme/web, globex/web"):
        addresses.allocation_of(store, operator, "web")
    set_tags(store, operator, "eipalloc", made.id, {"a": "b"})
    assert addresses.describe_address(store, acme, made.id).elastic.tags == {"a": "b"}


@pytest.mark.parametrize("end", ["terminate", "delete"])
def test_an_interface_that_ends_leaves_its_elastic_address_to_the_owner(
    store: Store, acme: Caller, gateway: InternetGateway, pool: AddressPool, placed: Placed, subnet: Subnet, vpc: Vpc, end: str
) -> None:
    made = addresses.allocate_address(store, acme)
    spare = enis.create_network_interface(store, acme, subnet.id)
    enis.attach_network_interface(store, acme, spare.id, placed.instance.id)
    of = placed.eni.id if end == "terminate" else spare.id
    mapping = addresses.associate_address(store, acme, made.id, interface=of)
    assert addresses.allocation_of(store, acme, mapping.association) == made.id
    if end == "terminate":
        instances.terminate_instance(store, acme, placed.instance.id)
    else:
        enis.detach_network_interface(store, acme, spare.id)
        assert list(public_of(store, vpc)) == [spare.address]  # the association is kept with the interface
        enis.delete_network_interface(store, acme, spare.id)
    assert public_of(store, vpc) == {}
    assert addresses.describe_address(store, acme, made.id).elastic.vni == 0
    assert held(store) == {made.address}
    assert store.get(keys.public_mapping(vpc.vni, made.address)) is None
    clean(store)
