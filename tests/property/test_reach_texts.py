"""The output of `reach --matrix` and `reach --diff`, read as people read it, is what the oracle lets through."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netorch.diagnose.reach import Flows, differences, matrix
from netorch.model.packet import Packet
from netorch.model.security import ICMP, ICMPV6, TCP, UDP
from netorch.records.caller import Caller
from netorch.records.inventory import Inventory
from netorch.records.read import Stored
from netorch.records.vpc import VpcRecords
from netorch.trace.services import service
from policy.evaluate import Policy
from tests.property.policy_strategies import VNI, PolicyCase, policies
from tests.property.test_reach import ANSWERED_AT, is_answered, is_open, probes

pytestmark = pytest.mark.slow

OPERATOR = Caller(operator=True)
NUMBERS = {"icmp": ICMP, "tcp": TCP, "udp": UDP, "icmpv6": ICMPV6}


def inventory(policy: Policy) -> Inventory:
    """Return a cloud of one VPC with these records; the names of its interfaces are their ids."""
    case = PolicyCase(policy=policy, homes=dict.fromkeys((eni.id for eni in policy.interfaces), "hv1"))
    found = Inventory(1)
    records = found.vpcs[VNI] = VpcRecords(VNI)
    stored = (policy.subnets, policy.interfaces, policy.groups, policy.acls, policy.prefix_lists)
    for record in (case.view("hv1").vpc, *(record for each in stored for record in each)):
        records.of(type(record))[record.id] = Stored(record, 1)
    records.mappings.update((mapping.address, Stored(mapping, 1)) for mapping in case.mappings())
    return found


def is_told(flows: list[Flows], source: str, destination: str, packet: Packet, port: int) -> bool:
    """Return whether some flow covers a packet from one interface to another, from this source port if it has ports."""
    return any(
        _is_about(text, packet)
        for flow in flows
        if not flow.answers or any(_port_is_in(part, port) for part in flow.answers.split(","))
        if flow.version == packet.version and source in flow.sources and destination in flow.destinations
        for text in (*flow.services, *_others(flow))
    )


def _others(flow: Flows) -> Iterator[str]:
    """Yield every protocol that `all others` covers."""
    told = {text.partition(" ")[0] for text in flow.services}
    for text in flow.services:
        if text.startswith("all others"):
            closed = text.partition(" but ")[2].split(", ")
            names = {number: name for name, number in NUMBERS.items()}
            yield from ({names.get(number, str(number)) for number in range(256)} - told - {*closed})


def _is_about(text: str, packet: Packet) -> bool:
    name, _, numbers = text.partition(" ")
    if text == "all" or name == "all":
        return text == "all"
    if NUMBERS.get(name, name) not in (packet.protocol, str(packet.protocol)):
        return False
    if packet.has_type:
        return not numbers or any(_type_is_in(part, service(packet)) for part in numbers.split(","))
    return not numbers or any(_port_is_in(part, packet.destination_port) for part in numbers.split(","))


def _port_is_in(part: str, port: int) -> bool:
    first, _, last = part.partition("-")
    return int(first) <= port <= int(last or first)


def _type_is_in(part: str, number: int) -> bool:
    """Return whether a type and code are in a part, e.g. `8`, `8-13`, `8/0` or `8/0-13/1`."""
    first, _, last = part.partition("-")
    return _number(first, 0) <= number <= _number(last or first, 255)


def _number(text: str, code: int) -> int:
    kind, slash, given = text.partition("/")
    return int(kind) * 256 + (int(given) if slash else code)


def some_ways(policy: Policy) -> st.SearchStrategy[list[tuple[str, str, Packet, int]]]:
    """Lists of two interfaces, a packet at some border between them and a source port for it."""
    ways = [
        (sender.id, receiver.id, packet, port)
        for sender, receiver in permutations(policy.interfaces, 2)
        for source, destination in zip(sender.addresses, receiver.addresses, strict=True)
        for packet in probes(source, destination)
        for port in (ANSWERED_AT if packet.has_ports else [packet.source_port])
    ]
    return st.lists(st.sampled_from(ways), min_size=50, max_size=100)


@given(policies(), st.data())
def test_the_matrix_tells_what_the_oracle_lets_through(policy: Policy, data: st.DataObject) -> None:
    flows = list(matrix(inventory(policy), OPERATOR))
    for source, destination, packet, port in data.draw(some_ways(policy)):
        assert is_told(flows, source, destination, packet, port) == is_answered(policy, packet, port), (packet, port)
        whole = [flow for flow in flows if not flow.answers]
        assert is_told(whole, source, destination, packet, port) == is_open(policy, packet), packet


@given(policies(5), policies(5), st.data())
def test_a_difference_tells_what_the_oracle_lets_through_after_it_and_not_before(
    before: Policy, after: Policy, data: st.DataObject
) -> None:
    changes = differences(inventory(before), inventory(after), OPERATOR)
    opened, closed = ([change.flows for change in changes if change.opened is kind] for kind in (True, False))
    for source, destination, packet, port in data.draw(some_ways(after)):
        now, then = is_answered(after, packet, port), is_answered(before, packet, port)
        assert is_told(opened, source, destination, packet, port) == (now and not then), (packet, port)
        assert is_told(closed, source, destination, packet, port) == (then and not now), (packet, port)
