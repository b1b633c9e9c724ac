"""No public address leaks or is used twice, after any actions, crashes between transactions, and concurrent writers."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec
import pytest

from netorch.control.actions import enis, hosts, instances, subnets, vpcs
from netorch.control.actions.instances import Placed, RunRequest
from netorch.control.actions.outside import addresses, egress_only, gateways, nat_addresses, nats, pools
from netorch.control.actions.outside.ranges import Provided
from netorch.control.actions.repair import damaged
from netorch.control.apply.cloud import apply_cloud, plan_destruction
from netorch.control.base.quotas import set_quotas
from netorch.errors import ApiError, Conflict
from netorch.model.eni import Instance, NetworkInterface, Role
from netorch.model.mapping import PublicMapping
from netorch.model.outside.gateway import EgressOnlyInternetGateway, InternetGateway, NatGateway
from netorch.model.outside.public import AddressPool, ElasticIp
from netorch.model.vpc import Subnet, Vpc
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.codec import encode
from netorch.records.inventory import read_inventory
from netorch.records.public import wrong_addresses
from netorch.records.read import Stored
from netorch.store.alloc import HOLD_DOWN_S
from netorch.store.base import Delete, Put, Store
from tests.unit.control.outside.conftest import MakeEdge, clean, public_of
from tests.unit.control.outside.joining.stores import Counted, Killed, Troubled

OPERATIONS = 1000
UPLINK = "eth2,198.18.0.21/24,198.18.0.254"


class Customers:
    """Two owners and an operator that do any actions in any order."""

    def __init__(self, store: Store, chance: random.Random, now: Callable[[], float]) -> None:
        self.store, self.chance = store, chance
        self.operator = Caller(operator=True, now=now, entropy=lambda: chance.getrandbits(44))
        self.callers = [Caller(owner=owner, now=now, entropy=lambda: chance.getrandbits(44)) for owner in ("acme", "globex")]

    def begin(self) -> None:
        """Make two pairs with a small pool each, and two VPCs of each owner."""
        for number, pair in enumerate(("west", "west", "east", "east"), 21):
            uplink = f"eth2,198.18.0.{number}/24,198.18.0.254"
            name = f"e{number}"
            hosts.create_host(
                self.store, self.operator, name=name, underlay=f"192.0.2.{number}", role=Role.EDGE, pair=pair, uplink=uplink
            )
        hosts.create_host(self.store, self.operator, name="hv1", underlay="192.0.2.11")
        pools.create_pool(self.store, self.operator, name="w", pair="west", cidrs=["198.51.100.0/28", "2001:db8:100::/54"])
        pools.create_pool(self.store, self.operator, name="e", pair="east", cidrs=["203.0.113.0/29"])
        for caller in self.callers:
            for name in ("a", "b"):
                vpc = vpcs.create_vpc(self.store, caller, name=name, cidrs=["10.0.0.0/16"])
                subnets.create_subnet(self.store, caller, vpc.id, name="s", cidr="10.0.0.0/24")

    def some(self, of: type) -> str:
        inventory = read_inventory(self.store)
        if of is ElasticIp:
            found = sorted(inventory.elastic_ips)
        elif of is AddressPool:
            found = sorted(inventory.pools)
        else:
            found = sorted(name for records in inventory.vpcs.values() for name in records.of(of))
        return self.chance.choice(found) if found else "none"

    def act(self) -> None:
        """Do a random action; ignore EC2's refusals and lost races."""
        with suppress(ApiError, Conflict):
            self.chance.choices(ACTS, WEIGHTS)[0](self, self.chance.choice([*self.callers, self.operator]))

    def subnet(self, caller: Caller) -> str:
        vpc = self.some(Vpc)
        found = [info.subnet.id for info in subnets.describe_subnets(self.store, caller, vpc)]
        return found[0] if found else "none"

    def associate(self, caller: Caller) -> None:
        allow = self.chance.random() < 0.5
        ends: dict[str, Any] = (
            {"interface": self.some(NetworkInterface)} if self.chance.random() < 0.5 else {"instance": self.some(Instance)}
        )
        addresses.associate_address(self.store, caller, self.some(ElasticIp), allow_reassociation=allow, **ends)

    def spread(self, caller: Caller) -> None:
        """Give a NAT gateway an elastic IP, or drain an address of one, or end all drains."""
        gateways_ = [nat for records in read_inventory(self.store).vpcs.values() for nat in records.each(NatGateway)]
        act = self.chance.choice(["give", "give", "drain", "end"])
        if act == "give":
            nat_addresses.associate_nat_gateway_address(self.store, caller, self.some(NatGateway), [self.some(ElasticIp)])
        for nat in gateways_:
            more = nats.describe_nat_gateway(self.store, self.operator, nat.id).public[1:]
            if act == "drain" and more:
                nat_addresses.disassociate_nat_gateway_address(self.store, caller, nat.id, [more[0].allocation])
            elif act == "end":
                nat_addresses.end_drain(self.store, nat.id, nat.draining, self.operator.now())

    def run(self, caller: Caller) -> None:
        request = RunRequest(subnet=self.subnet(caller), public_address=self.chance.choice([True, True, False, None]))
        instances.run_instances(self.store, caller, request, self.chance.randint(1, 3))

    def destroy(self, caller: Caller) -> None:
        vpc = self.some(Vpc)
        apply_cloud(self.store, plan_destruction(self.store, caller, [vpc]), allow_mass_delete=True)
        made = vpcs.create_vpc(self.store, self.callers[0], name=f"n{self.chance.getrandbits(20)}", cidrs=["10.0.0.0/16"])
        subnets.create_subnet(self.store, self.callers[0], made.id, name="s", cidr="10.0.0.0/24")

    def attach(self, caller: Caller) -> None:
        act = enis.attach_network_interface if self.chance.random() < 0.6 else None
        if act is not None:
            act(self.store, caller, self.some(NetworkInterface), self.some(Instance))
        else:
            enis.detach_network_interface(self.store, caller, self.some(NetworkInterface))

    def change_pool(self, _caller: Caller) -> None:
        act = self.chance.choice([pools.add_ranges, pools.remove_ranges])
        act(self.store, self.operator, self.some(AddressPool), [self.chance.choice(["192.0.3.0/30", "192.0.3.4/30"])])

    def change_ranges(self, caller: Caller) -> None:
        vpc = self.some(Vpc)
        if self.chance.random() < 0.6:
            vpcs.associate_cidr(self.store, caller, vpc, Provided())
        else:
            for cidr in vpcs.describe_vpc(self.store, caller, vpc).ipv6_cidrs[:1]:
                vpcs.disassociate_cidr(self.store, caller, vpc, cidr)


ACTS: list[Callable[[Customers, Caller], object]] = [
    lambda all_, caller: addresses.allocate_address(all_.store, caller),
    lambda all_, caller: addresses.release_address(all_.store, caller, all_.some(ElasticIp)),
    Customers.associate,
    lambda all_, caller: addresses.disassociate_address(all_.store, caller, all_.some(ElasticIp)),
    lambda all_, caller: gateways.create_internet_gateway(all_.store, caller, all_.some(Vpc)),
    lambda all_, caller: gateways.delete_internet_gateway(all_.store, caller, all_.some(InternetGateway)),
    lambda all_, caller: egress_only.create_egress_only_gateway(all_.store, caller, all_.some(Vpc)),
    lambda all_, caller: egress_only.delete_egress_only_gateway(all_.store, caller, all_.some(EgressOnlyInternetGateway)),
    lambda all_, caller: nats.create_nat_gateway(
        all_.store, caller, all_.subnet(caller), all_.some(ElasticIp), name=f"n{all_.chance.getrandbits(20)}"
    ),
    lambda all_, caller: nats.delete_nat_gateway(all_.store, caller, all_.some(NatGateway)),
    Customers.spread,
    Customers.run,
    lambda all_, caller: instances.terminate_instance(all_.store, caller, all_.some(Instance)),
    lambda all_, caller: enis.create_network_interface(all_.store, caller, all_.subnet(caller)),
    lambda all_, caller: enis.delete_network_interface(all_.store, caller, all_.some(NetworkInterface)),
    Customers.attach,
    Customers.change_pool,
    Customers.change_ranges,
    Customers.destroy,
]
WEIGHTS = [6, 3, 8, 3, 4, 2, 2, 1, 4, 1, 12, 5, 5, 3, 2, 3, 1, 3, 0.3]


@pytest.mark.parametrize("seed", range(2))
def test_after_any_sequence_of_actions_and_crashes_every_address_is_held_once(seed: int) -> None:
    chance, store = random.Random(seed), Troubled()
    time = [0.0]
    everybody = Customers(store, chance, lambda: time[0])
    everybody.begin()
    busy: list[bool] = []

    def another_writes_first() -> None:
        """Let another caller write first, or let the writer die."""
        if not busy and chance.random() < 0.2:
            busy.append(True)
            everybody.act()
            busy.pop()
        if chance.random() < 0.05:
            raise Killed

    def dies() -> None:
        if chance.random() < 0.05:
            raise Killed

    used = ranges = drained = 0
    for _ in range(OPERATIONS):
        time[0] += chance.choice([1.0, 1.0, 1.0, HOLD_DOWN_S / 20])
        store.before, store.after = another_writes_first, dies
        with suppress(Killed):
            everybody.act()
        busy.clear()
        store.before = store.after = lambda: None
        clean(store)
        found = read_inventory(store).vpcs.values()
        ranges = max(ranges, sum(len(records.vpc.record.ipv6_pools) for records in found))
        drained = max(drained, sum(len(nat.draining) for records in found for nat in records.each(NatGateway)))
        used = max(used, sum(len(public_of(store, records.vpc.record)) for records in found))
    assert used >= 5  # otherwise the test exercised nothing
    assert ranges >= 2
    assert drained >= 1


def test_writers_at_the_same_time_share_one_pool_without_taking_an_address_twice(
    store: Store, operator: Caller, pool: AddressPool
) -> None:
    owners = [Caller(owner=f"owner-{number}", now=operator.now) for number in range(4)]
    made: list[ElasticIp] = []
    failed: list[Exception] = []

    def allocate(caller: Caller) -> None:
        for _ in range(4):
            try:
                made.append(addresses.allocate_address(store, caller))
            except Exception as error:
                failed.append(error)

    threads = [threading.Thread(target=allocate, args=(caller,), daemon=True) for caller in owners]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len({elastic.address for elastic in made}) == 16
    assert pools.describe_pool(store, operator, pool.name).ipv4.free == 0
    clean(store)


def test_two_allocations_at_the_same_time_do_not_exceed_the_quota(acme: Caller, operator: Caller) -> None:
    store = Troubled()
    hosts.create_host(store, operator, name="e1", underlay="192.0.2.21", role=Role.EDGE, pair="w", uplink=UPLINK)
    pools.create_pool(store, operator, name="p", pair="w", cidrs=["198.51.100.0/24"])
    set_quotas(store, "acme", {"elastic_ips": 1})

    def faster() -> None:
        store.before = lambda: None
        addresses.allocate_address(store, acme)

    store.before = faster
    with pytest.raises(ApiError, match="AddressLimitExceeded"):
        addresses.allocate_address(store, acme)
    clean(store)


def test_a_host_and_a_pool_that_are_made_at_the_same_time_keep_apart(operator: Caller) -> None:
    store = Troubled()
    hosts.create_host(store, operator, name="e1", underlay="192.0.2.21", role=Role.EDGE, pair="w", uplink=UPLINK)

    def a_pool_first() -> None:
        store.before = lambda: None
        pools.create_pool(store, operator, name="p", pair="w", cidrs=["198.51.100.0/24"])

    store.before = a_pool_first
    with pytest.raises(ApiError, match="of address pool p"):
        hosts.create_host(store, operator, name="h1", underlay="198.51.100.7")

    def a_host_first() -> None:
        store.before = lambda: None
        hosts.create_host(store, operator, name="h1", underlay="203.0.113.7")

    store.before = a_host_first
    with pytest.raises(ApiError, match="of host h1"):
        pools.create_pool(store, operator, name="q", pair="w", cidrs=["203.0.113.0/24"])


def test_an_allocation_costs_the_same_however_many_addresses_others_hold(acme: Caller, operator: Caller) -> None:
    store = Counted()
    hosts.create_host(store, operator, name="e1", underlay="192.0.2.21", role=Role.EDGE, pair="w", uplink=UPLINK)
    pools.create_pool(store, operator, name="p", pair="w", cidrs=["100.64.0.0/10"])
    costs = []
    for count in (1, 400):
        for number in range(count):
            other = Caller(owner=f"owner-{count}-{number}", now=acme.now)
            addresses.allocate_address(store, other)
        one = Caller(owner=f"one-{count}", now=acme.now)
        store.keys = 0
        addresses.allocate_address(store, one)
        costs.append(store.keys)
    assert costs[0] == costs[1] < 20


def _found(store: Store) -> list[str]:
    return [error.what for error in wrong_addresses(read_inventory(store))]


def test_an_address_that_nobody_can_use_any_more_has_leaked(
    store: Store, acme: Caller, gateway: InternetGateway, pool: AddressPool, placed: Placed, vpc: Vpc
) -> None:
    elastic = addresses.allocate_address(store, acme)
    mapping = addresses.associate_address(store, acme, elastic.id, instance=placed.instance.id)
    clean(store)
    gone = {
        keys.owned("eip", "acme", elastic.id): ["which does not name it", "has leaked"],
        keys.public_mapping(vpc.vni, mapping.address): ["claims an association"],
        keys.public_address(mapping.address): ["is not held by", "does not hold"],
        keys.pool(pool.name): ["but it is not"],
    }
    for key, what in gone.items():
        before = store.get(key)
        assert before is not None
        store.txn((), [Delete(key)])
        said = _found(store)
        assert all(any(part in text for text in said) for part in what), (key, said)
        assert damaged(store)  # the store's check reports it, too
        store.txn((), [Put(key, before.value)])
    clean(store)


def test_an_address_that_stands_for_two_is_used_twice(
    store: Store, acme: Caller, gateway: InternetGateway, pool: AddressPool, placed: Placed, vpc: Vpc
) -> None:
    elastic = addresses.allocate_address(store, acme)
    mapping = addresses.associate_address(store, acme, elastic.id, instance=placed.instance.id)
    other = vpcs.create_vpc(store, acme, name="b", cidrs=["10.0.0.0/16"])
    inventory = read_inventory(store)
    inventory.vpcs[other.vni].of(PublicMapping)["x"] = inventory.vpcs[vpc.vni].of(PublicMapping)[f"eip/{mapping.address}"]
    assert [error.what for error in wrong_addresses(inventory)].count(
        "is used twice: the address maps to several private addresses"
    ) == 2


def test_an_address_that_a_stranger_holds_is_found(store: Store, pool: AddressPool) -> None:
    store.txn((), [Put(keys.public_address("198.51.100.3"), encode({"holder": "nobody"}))])
    assert _found(store) == ["is held by nobody, which is not an elastic IP, an association or a VPC"]


def test_all_addresses_of_a_vpc_arrive_at_one_pair(
    store: Store, operator: Caller, acme: Caller, pool: AddressPool, subnet: Subnet, vpc: Vpc, make_edge: MakeEdge
) -> None:
    make_edge("e5", 25, pair="east")
    instances.run_instances(store, acme, RunRequest(name="i", subnet=subnet.id, public_address=True), 2)
    inventory = read_inventory(store)
    far = msgspec.structs.replace(pool, name="far", pair="east")
    inventory.pools["far"] = Stored(far, 1)
    table = inventory.vpcs[vpc.vni].of(PublicMapping)
    name, stored = next(iter(table.items()))
    table[name] = Stored(msgspec.structs.replace(stored.record, pool="far"), 1)
    assert any("pair" in error.what for error in wrong_addresses(inventory))
