"""An edge's published NAT gateway use: a few gateways per turn, each once per round, none of deleted ones."""

from __future__ import annotations

from netorch.agent.report import StatusPublisher
from netorch.agent.tasks.base import Turn
from netorch.agent.tasks.nat_use import NatUses
from netorch.agent.tasks.rounds import ROUND_S
from netorch.drivers.base import Count
from netorch.drivers.fake.kernel import FakeKernel
from netorch.model.outside.nat_metrics import METRICS, total
from netorch.model.status import NatUse
from netorch.records import keys
from netorch.records.codec import decode
from netorch.state.netns import Namespace
from netorch.state.op import Create, Delete
from netorch.store.memory import MemoryStore

NATS = [f"nat-001388{number:011x}" for number in range(25)]
COUNTS = {
    "in_from_source": Count(packets=5, bytes=500),
    "out_to_destination": Count(packets=4, bytes=400),
    "attempts": Count(packets=2),
    "no_port": Count(packets=1),
    "acl_egress": Count(packets=9, bytes=900),
}


def published(publisher: StatusPublisher, store: MemoryStore) -> dict[str, NatUse]:
    publisher.flush(store)
    return {kv.key.rpartition("/")[2]: decode(kv, NatUse) for kv in store.list("hoststat/e1/nat-").kvs}


def test_each_gateway_is_read_once_a_round_and_a_tenth_of_them_a_turn() -> None:
    kernel, store, publisher = FakeKernel(), MemoryStore(), StatusPublisher("e1", "kernel")
    task = NatUses("e1", kernel, publisher)
    assert task.wake_at(0.0) is None
    namespaces = [Namespace(vni=5000, label=label) for label in NATS]
    assert kernel.apply([Create(namespace) for namespace in namespaces]) == []
    kernel.gateway_counts = dict.fromkeys(NATS, COUNTS)
    seen = []
    for turn in range(10):
        task.turn(Turn(now=turn * ROUND_S / 10))
        seen.append(len(published(publisher, store)))
    assert seen[0] == 3
    assert seen[-1] == len(NATS)
    assert published(publisher, store)[NATS[0]] == NatUse(
        metrics={
            "ConnectionAttemptCount": 2,
            "ErrorPortAllocation": 1,
            "PacketsInFromSource": 5,
            "PacketsOutToDestination": 4,
            "PacketsDropCount": 1,
            "BytesInFromSource": 500,
            "BytesOutToDestination": 400,
        },
        dropped={"no_port": 1, "acl_egress": 9},
    )
    assert kernel.apply([Delete(namespaces[0])]) == []
    task.turn(Turn(now=ROUND_S * 2))
    assert NATS[0] not in published(publisher, store)
    assert store.get(keys.nat_use("e1", NATS[1])) is not None


def test_the_edges_of_a_pair_are_added_up() -> None:
    found = total([{"IdleTimeoutCount": 2}, {"IdleTimeoutCount": 3, "PacketsDropCount": 1}])
    assert tuple(found) == METRICS
    assert {name: value for name, value in found.items() if value} == {"IdleTimeoutCount": 5, "PacketsDropCount": 1}
