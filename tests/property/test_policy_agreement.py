"""Compiled chains follow the rules: packets that walk through the compilers' objects end as the oracle says."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, note
from hypothesis import strategies as st

from netorch.model.security import UDP
from policy.connections import Connections
from policy.evaluate import verdict_on
from tests.property.policy_scripts import Script, scripts, stored_scripts
from tests.property.policy_strategies import PolicyCase, cases, packets
from tests.property.walked import Site, end_of, end_of_walk
from tests.unit.policy.small import A, B, group, rule, udp, vpc

pytestmark = pytest.mark.slow


@given(st.data())
def test_a_packet_that_begins_a_connection_ends_as_the_oracle_says(data: st.DataObject) -> None:
    case = data.draw(cases())
    site = Site(case)
    for packet in data.draw(st.lists(packets(case.policy), min_size=1, max_size=12, unique=True)):
        site.forget()
        verdict, found = verdict_on(case.policy, packet), site.send(packet)
        assert end_of_walk(found) == end_of(verdict), (packet, verdict, found)


@given(st.data())
def test_a_packet_in_the_name_of_another_ends_as_the_oracle_says(data: st.DataObject) -> None:
    """An interface without source/destination check sends as another: its own subnet, not the source, decides the ACLs."""
    case = data.draw(cases(fewest=4))
    forwarder = data.draw(st.sampled_from(case.policy.interfaces))
    elsewhere = tuple(eni for eni in case.policy.interfaces if eni.subnet != forwarder.subnet)
    unchecked = msgspec.structs.replace(forwarder, source_dest_check=False)
    interfaces = tuple(unchecked if eni == forwarder else eni for eni in case.policy.interfaces)
    policy = msgspec.structs.replace(case.policy, interfaces=interfaces)
    site = Site(msgspec.structs.replace(case, policy=policy))
    ends = elsewhere if data.draw(st.booleans()) else tuple(eni for eni in interfaces if eni != unchecked)
    for packet in data.draw(st.lists(packets(msgspec.structs.replace(policy, interfaces=ends)), min_size=1, max_size=12)):
        site.forget()
        verdict, found = verdict_on(policy, packet, sender=unchecked), site.send(packet, unchecked)
        assert end_of_walk(found) == end_of(verdict), (packet, verdict, found)


def play(script: Script) -> None:
    """Send a script's packets in order, and fail when oracle, walk and script disagree."""
    site, oracle = Site(script.case), Connections(script.policy, script.case.home_of_address())
    for number, step in enumerate(script.steps):
        if step.send is None:
            script = script.changed(step)
            oracle.policy = script.policy
            site.change(script.case)
        else:
            sender = script.sender_of(step)
            verdict, found = oracle.send(step.send, sender), site.send(step.send, sender)
            expected = step.ends or end_of(verdict)
            assert (end_of(verdict), end_of_walk(found)) == (expected, expected), (number, step.send, verdict, found)


@given(scripts())
def test_connections_live_and_die_as_the_oracle_says(script: Script) -> None:
    note(script.text())
    play(script)


@pytest.mark.parametrize("name", stored_scripts())
def test_a_stored_case_ends_as_it_says(name: str) -> None:
    play(stored_scripts()[name])


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
