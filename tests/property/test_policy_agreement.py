"""Compiled chains do what the rules mean: packets walked through what the compilers yield end as the oracle says.

The oracle (policy.evaluate, policy.connections) reads the records; the walk (netorch.trace) reads compiled objects. They share no
code but the packet. Connection tracking is imitated here, as the kernel does it and without time.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netorch.compiler.registry import compile_host, compile_slice, load_compilers
from netorch.model.ids import port_name
from netorch.model.packet import ACK, ERRORS, Packet
from netorch.model.security import ICMP, ICMPV6, TCP, UDP
from netorch.trace.machine import Machine
from netorch.trace.walk import Ct, Departure, Walk, walk
from policy.connections import Connections
from policy.evaluate import Judge, Policy, Verdict, judge
from tests.property.policy_strategies import HOSTS, PolicyCase, cases, groups, packets
from tests.unit.policy.small import A, B, group, rule, udp, vpc

pytestmark = pytest.mark.slow

COMPILERS = load_compilers()
COUNTERS = {
    Judge.SENDER_ACL: "acl_egress",
    Judge.SENDER_GROUPS: "sg_egress",
    Judge.RECEIVER_ACL: "acl_ingress",
    Judge.RECEIVER_GROUPS: "sg_ingress",
}


class Flow(msgspec.Struct):
    """A connection as a host's kernel remembers it."""

    begun_by: str
    answered: bool = False
    mark: int = 0


class Site:
    """The hosts of a case: what their compilers yield, and what their kernels remember."""

    def __init__(self, case: PolicyCase) -> None:
        self._case = case
        self._flows: dict[tuple[str, object], Flow] = {}
        self.machines = _compiled(case)

    def change(self, case: PolicyCase) -> None:
        """Give the hosts what other rules come to; they keep their connections."""
        self._case, self.machines = case, _compiled(case)

    def forget(self) -> None:
        """Let the kernels forget all connections."""
        self._flows.clear()

    def send(self, packet: Packet) -> Walk:
        """Return the next packet's way."""
        sender = self._case.policy.holder(packet.source)
        assert sender is not None
        start = Departure(host=self._case.homes[sender.id], ifname=port_name(sender.id), mac=sender.mac)
        found = walk(self.machines, start, packet, {host: self._seen(host, packet) for host in HOSTS})
        for host, mark in found.marks.items():
            flow = self._flows.get((host, _key(packet)))
            confirmed = found.arrived or host != found.host
            if flow is None and packet.begins and confirmed:
                flow = self._flows[host, _key(packet)] = Flow(begun_by=packet.source)
            if flow is not None and packet.quoted is None:
                flow.mark = mark
                flow.answered = flow.answered or (confirmed and packet.source != flow.begun_by)
        return found

    def _seen(self, host: str, packet: Packet) -> Ct:
        flow = self._flows.get((host, _key(packet.quoted or packet)))
        if flow is None:
            return Ct(state="new" if packet.begins else "invalid")
        direction = "original" if packet.source == flow.begun_by else "reply"
        if packet.quoted is not None:
            return Ct(state="related", direction=direction, mark=flow.mark)
        known = flow.answered or direction == "reply"
        return Ct(state="established" if known else "new", direction=direction, mark=flow.mark)


def _compiled(case: PolicyCase) -> dict[str, Machine]:
    mappings = list(case.mappings())
    machines = {}
    for host in HOSTS:
        view = case.view(host)
        machines[host] = Machine(host, compile_host(COMPILERS, view.host) | compile_slice(COMPILERS, view, mappings))
    return machines


def _key(packet: Packet) -> object:
    if packet.has_type:
        asking = packet if packet.begins else packet.answer()
        kind = packet.answer().icmp_type if packet.begins else packet.icmp_type
        return (packet.protocol, asking.source, asking.destination, kind)
    ends = [(packet.source, packet.source_port), (packet.destination, packet.destination_port)]
    return (packet.protocol, *sorted(ends))


def same(verdict: Verdict, found: Walk) -> bool:
    """Return whether the walk ended as the oracle says, for the reason that it says."""
    if verdict.refused_by is None:
        return found.arrived
    return found.counter == ("invalid" if verdict.strange else COUNTERS[verdict.refused_by])


@given(st.data())
def test_a_packet_that_begins_a_connection_ends_as_the_oracle_says(data: st.DataObject) -> None:
    case = data.draw(cases())
    site = Site(case)
    for packet in data.draw(st.lists(packets(case.policy), min_size=1, max_size=12, unique=True)):
        site.forget()
        verdict, found = judge(case.policy, packet), site.send(packet)
        assert same(verdict, found), (packet, verdict, found)


@st.composite
def talks(draw: st.DrawFn, policy: Policy) -> list[Packet | Policy]:
    """Packets of a few connections in any order, with a change of the rules somewhere between."""
    begun = draw(st.lists(packets(policy), min_size=1, max_size=3, unique=True))
    steps: list[Packet | Policy] = []
    for _ in range(draw(st.integers(2, 10))):
        first = draw(st.sampled_from(begun))
        steps.append(draw(st.sampled_from(list(_packets_of(first)))))
    changed = msgspec.structs.replace(policy, groups=draw(groups()))
    steps.insert(draw(st.integers(1, len(steps))), changed)
    return steps


def _packets_of(first: Packet) -> Iterator[Packet]:
    """Yield what belongs to a connection: its first packet, an answer, more of both, an ICMP error about it."""
    yield first
    yield first.answer()
    if first.protocol == TCP:
        yield msgspec.structs.replace(first, flags=ACK)
        yield msgspec.structs.replace(first.answer(), flags=ACK)
    kind = min(ERRORS[first.version])
    icmp = ICMP if first.version == 4 else ICMPV6
    yield Packet(source=first.destination, destination=first.source, protocol=icmp, icmp_type=kind, icmp_code=1, quoted=first)


@given(st.data())
def test_connections_live_and_die_as_the_oracle_says(data: st.DataObject) -> None:
    case = data.draw(cases())
    site, oracle = Site(case), Connections(case.policy, case.home_of_address())
    for step in data.draw(talks(case.policy)):
        if isinstance(step, Policy):
            oracle.policy = step
            site.change(msgspec.structs.replace(case, policy=step))
            continue
        verdict, found = oracle.send(step), site.send(step)
        assert same(verdict, found), (step, verdict, found)


@pytest.mark.parametrize("homes", [("hv1", "hv1"), ("hv1", "hv2")], ids=["together", "apart"])
def test_a_stream_that_nobody_answers_outlives_the_rule_that_let_it_begin(homes: tuple[str, str]) -> None:
    permitted, revoked = (
        vpc(group(1), group(2, [rule(1, "10.0.0.0/16", UDP, 53, 53)] * number), a=[1], b=[2]) for number in (1, 0)
    )
    names = (eni.id for eni in permitted.interfaces)
    case = PolicyCase(policy=permitted, homes=dict(zip(names, (*homes, "hv1"), strict=True)))
    site = Site(case)
    assert site.send(udp(A, B)).arrived
    site.change(msgspec.structs.replace(case, policy=revoked))
    assert site.send(udp(A, B)).arrived
    assert site.send(udp(A, B, source_port=40001)).counter == "sg_ingress"
