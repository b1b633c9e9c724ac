"""The counters that edges publish for elastic IPs."""

from __future__ import annotations

import msgspec
import pytest

from netorch.control.base.public import use_of
from netorch.drivers.base import Count
from netorch.model.ids import make_id
from netorch.model.mapping import PublicMapping
from netorch.model.status import PublicUse
from netorch.model.vpc import Vpc
from netorch.records import keys
from netorch.records.codec import encode
from netorch.records.read import get
from netorch.state.tc import EGRESS, Nat, TcFilter
from netorch.store.base import Delete
from tests.unit.edges.pair import EDGES, Pair

ELASTIC, EPHEMERAL = "198.51.100.5", "198.51.100.6"


def count(pair: Pair, edge: str, address: str, *, outward: Count, inward: Count) -> None:
    """Set the counters of an address's filters."""
    kernel = pair.world.kernels[edge]
    for key, obj in kernel.objects.items():
        action = obj.actions[0] if isinstance(obj, TcFilter) else None
        if isinstance(obj, TcFilter) and isinstance(action, Nat) and address in (action.new, action.old.partition("/")[0]):
            counts = kernel.filtered.setdefault(obj.ifname, {})
            counts[key] = outward if action.direction == EGRESS else inward


def elastic(vpc: Vpc, address: str) -> PublicMapping:
    """Return the mapping of an elastic IP to an interface of a VPC."""
    return PublicMapping(
        vni=vpc.vni,
        address=address,
        association=make_id("eipassoc", vpc.vni, 5),
        eni=make_id("eni", vpc.vni, 5),
        private_address="10.0.0.5",
        pool="west",
        allocation=make_id("eipalloc", 0, 5),
    )


@pytest.mark.parametrize("other", [ELASTIC, EPHEMERAL])
def test_elastic_ips_are_counted_and_both_edges_are_added_up(pair: Pair, other: str) -> None:
    vpc, _ = pair.vpc("a")
    mapping = elastic(vpc, ELASTIC)
    key = keys.public_mapping(vpc.vni, ELASTIC)
    pair.world.put(key, encode(mapping))
    ephemeral = msgspec.structs.replace(mapping, address=EPHEMERAL, private_address="10.0.0.6", allocation="")
    pair.world.put(keys.public_mapping(vpc.vni, EPHEMERAL), encode(ephemeral))
    pair.world.settle(4)
    for edge in EDGES:
        for address in (ELASTIC, EPHEMERAL):
            count(pair, edge, address, outward=Count(packets=10, bytes=1140), inward=Count(packets=3, bytes=300))
    pair.world.settle(12)
    found = use_of(pair.world.store, vpc.vni, other)
    twice = PublicUse(packets_in=6, bytes_in=600, packets_out=20, bytes_out=2000)
    assert found == (twice if other == ELASTIC else PublicUse())
    pair.world.store.txn((), [Delete(key)])
    pair.world.settle(12)
    assert get(pair.world.store, keys.public_use("e1", ELASTIC), PublicUse) is None


@pytest.mark.parametrize("pause_s", [0, 1])
def test_a_vpc_that_goes_before_its_turn_to_be_read_is_forgotten(pair: Pair, pause_s: int) -> None:
    stays, *go = (pair.vpc(name)[0] for name in "abc")
    addresses = {vpc.vni: f"198.51.100.{vpc.vni % 100 + 10}" for vpc in (stays, *go)}
    used = {vni: keys.public_use("e1", address) for vni, address in addresses.items()}
    for vpc in (stays, *go):
        pair.world.put(keys.public_mapping(vpc.vni, addresses[vpc.vni]), encode(elastic(vpc, addresses[vpc.vni])))
    pair.world.settle(4)
    for address in addresses.values():
        count(pair, "e1", address, outward=Count(packets=1, bytes=84), inward=Count(packets=0))
    pair.world.settle(12 + pause_s)
    assert all(get(pair.world.store, key, PublicUse) for key in used.values())
    for vpc in go:
        pair.unseat(vpc)
    pair.world.settle(12)
    assert [vni for vni, key in used.items() if get(pair.world.store, key, PublicUse)] == [stays.vni]
    assert not [key for key in pair.world.agents["hv1"].publisher.published() if "eip-" in key]
