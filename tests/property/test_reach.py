"""`reach` calls open exactly what the oracle lets through, first packet and answer, for every pair and every border."""

from __future__ import annotations

from itertools import permutations

import msgspec
import pytest
from hypothesis import given

from netorch.model.eni import NetworkInterface
from netorch.model.packet import Packet
from netorch.model.security import ALL_PROTOCOLS, ICMP, ICMPV6, TCP, UDP, Direction
from netorch.trace.attribute import acl_says, ask_groups
from netorch.trace.policy_index import PolicyIndex
from netorch.trace.reach import ALL_ANSWERS, Reach
from netorch.trace.regions import EVERYTHING
from netorch.trace.services import EPHEMERAL, holds, service
from policy.evaluate import Memory, Policy, Standing, verdict_on
from tests.property.policy_strategies import OTHERS, PORTS, policies

pytestmark = pytest.mark.slow

# Ephemeral ports on both sides of every border that ACLs of these strategies can have.
ANSWERED_AT = sorted({port for port in (*PORTS, *(p + 1 for p in PORTS)) if EPHEMERAL[0] <= port <= EPHEMERAL[1]})
SOMEBODY = "203.0.113.10"  # on the internet; no CIDR of these strategies singles it out
TRACKED = Memory(standing=Standing.KNOWN, tracked=True)


def probes(source: str, destination: str) -> list[Packet]:
    """Return packets that begin a connection, at every border."""
    version = 6 if ":" in source else 4
    icmp, kinds = (ICMP, (8, 13)) if version == 4 else (ICMPV6, (128,))
    found = [Packet(source=source, destination=destination, protocol=protocol) for protocol in OTHERS]
    blank = msgspec.structs.replace(found[0], protocol=icmp)
    found += [msgspec.structs.replace(blank, icmp_type=kind, icmp_code=code) for kind in kinds for code in (0, 1, 2)]
    ports = sorted({min(65535, port + step) for port in PORTS for step in (0, 1)})
    blank = msgspec.structs.replace(blank, source_port=1024)
    found += [msgspec.structs.replace(blank, protocol=of, destination_port=port) for of in (TCP, UDP) for port in ports]
    return found


def is_open(policy: Policy, packet: Packet) -> bool:
    """Return whether a packet and every answer to it pass."""
    return all(is_answered(policy, packet, port) for port in (ANSWERED_AT if packet.has_ports else [packet.source_port]))


def is_answered(policy: Policy, packet: Packet, port: int) -> bool:
    """Return whether a packet and the answer to it pass, when the sender uses this source port."""
    if not verdict_on(policy, packet).passed:
        return False
    answer = msgspec.structs.replace(packet, source_port=port).answer()
    return verdict_on(policy, answer, at_sender=TRACKED, at_receiver=TRACKED).passed


@given(policies())
def test_what_reach_says_is_what_the_oracle_lets_through(policy: Policy) -> None:
    reach = Reach(PolicyIndex(policy.subnets, policy.interfaces, policy.groups, policy.acls, policy.prefix_lists))
    for sender, receiver in permutations(policy.interfaces, 2):
        for version, source, destination in zip((4, 6), sender.addresses, receiver.addresses, strict=True):
            classes = reach.class_of(sender, version), reach.class_of(receiver, version)
            for packet in probes(source, destination):
                found = reach.opens(*classes, packet.protocol, service(packet))
                assert found == is_open(policy, packet), packet


@given(policies())
def test_what_reach_says_of_the_internet_is_what_each_rule_says(policy: Policy) -> None:
    index = PolicyIndex(policy.subnets, policy.interfaces, policy.groups, policy.acls, policy.prefix_lists)
    reach = Reach(index)
    for eni in policy.interfaces:
        found = {way: reach.outside(reach.class_of(eni, 4), EVERYTHING, way) for way in Direction}
        for way, ends in ((Direction.EGRESS, (eni.address, SOMEBODY)), (Direction.INGRESS, (SOMEBODY, eni.address))):
            for packet in probes(*ends):
                protocol = packet.protocol if packet.protocol in reach.protocols else ALL_PROTOCOLS
                part = found[way].get(protocol)
                said = part is not None and holds(part.services, service(packet)) and part.answers == ALL_ANSWERS
                assert said == is_open_outside(index, eni, way, packet), (way, packet)


def is_open_outside(index: PolicyIndex, eni: NetworkInterface, way: Direction, packet: Packet) -> bool:
    """Return whether an interface's rules pass a packet to or from the internet, and its ACL the packet and every answer."""
    back = Direction.INGRESS if way is Direction.EGRESS else Direction.EGRESS
    ports = ANSWERED_AT if packet.has_ports else [packet.source_port]
    answers = (msgspec.structs.replace(packet, source_port=port).answer() for port in ports)
    if ask_groups(index, eni, way, packet).rule is None or not acl_says(index, eni.subnet, way, packet).allows:
        return False
    return all(acl_says(index, eni.subnet, back, answer).allows for answer in answers)
