"""What edges say that they have translated for elastic IPs."""

from __future__ import annotations

import msgspec
import pytest

from netorch.control.base.public import use_of
from netorch.drivers.base import Count
from netorch.model.ids import make_id
from netorch.model.mapping import PublicMapping
from netorch.model.status import PublicUse
from netorch.records import keys
from netorch.records.codec import encode
from netorch.records.read import get
from netorch.state.tc import EGRESS, Nat, TcFilter
from netorch.store.base import Delete
from tests.unit.edges.pair import EDGES, Pair

ELASTIC, EPHEMERAL = "198.51.100.5", "198.51.100.6"


def count(pair: Pair, edge: str, address: str, *, outward: Count, inward: Count) -> None:
    """Let the filters of an address have counted so much."""
    kernel = pair.world.kernels[edge]
    for key, obj in kernel.objects.items():
        action = obj.actions[0] if isinstance(obj, TcFilter) else None
        if isinstance(obj, TcFilter) and isinstance(action, Nat) and address in (action.new, action.old.partition("/")[0]):
            counts = kernel.filtered.setdefault(obj.ifname, {})
            counts[key] = outward if action.direction == EGRESS else inward


@pytest.mark.parametrize("other", [ELASTIC, EPHEMERAL])
def test_elastic_ips_are_counted_and_both_edges_are_added_up(pair: Pair, other: str) -> None:
    vpc, subnet = pair.vpc("a")
    mapping = PublicMapping(
        vni=vpc.vni,
        address=ELASTIC,
        association=make_id("eipassoc", vpc.vni, 5),
        eni=make_id("eni", vpc.vni, 5),
        private_address="10.0.0.5",
        pool="west",
        allocation=make_id("eipalloc", 0, 5),
    )
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
    del subnet
