"""The sentences of EC2's guides on security groups and network ACLs, one test per sentence."""

from __future__ import annotations

import msgspec
import pytest

from netorch.model.packet import ACK, SYN, Packet
from netorch.model.security import ICMP, ICMPV6, TCP, UDP, AclEntry
from policy.connections import Connections
from policy.evaluate import Policy, Stage, verdict_on
from tests.unit.policy.small import (
    A6,
    ANYWHERE,
    ANYWHERE6,
    B6,
    A,
    B,
    C,
    acl,
    allow,
    deny,
    group,
    ping,
    prefix_list,
    rule,
    sg,
    tcp,
    udp,
    vpc,
)

OPEN = group(1, [rule(1, ANYWHERE), rule(2, ANYWHERE6)])
APART = {A: "hv1", B: "hv2", C: "hv2", A6: "hv1", B6: "hv2"}
TOGETHER = dict.fromkeys(APART, "hv1")
homes = pytest.mark.parametrize("where", [APART, TOGETHER], ids=["apart", "together"])


def refusal(policy: Policy, packet: Packet) -> Stage | None:
    return verdict_on(policy, packet).dropped_by


# --- security groups ------------------------------------------------------------------------------------------------------------


def test_a_new_group_lets_nothing_in() -> None:
    assert refusal(vpc(OPEN, group(2), a=[1], b=[2]), ping(A, B)) is Stage.RECEIVER_GROUPS


def test_a_new_group_lets_everything_out() -> None:
    policy = vpc(OPEN, group(2), a=[2], b=[1])
    assert all(verdict_on(policy, packet).passed for packet in (ping(A, B), tcp(A, B), udp(A, B), ping(A6, B6)))


def test_a_default_group_lets_its_members_reach_each_other_and_nobody_else() -> None:
    policy = vpc(group(1, [rule(1, sg(1))]), OPEN, a=[1], b=[1], c=[2])
    assert verdict_on(policy, tcp(A, B)).passed
    policy = vpc(group(1, [rule(1, sg(1))]), group(2), a=[1], b=[1], c=[2])
    assert refusal(policy, tcp(C, A)) is Stage.RECEIVER_GROUPS


def test_an_interface_without_groups_neither_sends_nor_receives() -> None:
    policy = vpc(OPEN, a=[], b=[1])
    assert refusal(policy, ping(A, B)) is Stage.SENDER_GROUPS
    assert refusal(policy, ping(B, A)) is Stage.RECEIVER_GROUPS


def test_rules_of_all_groups_of_an_interface_add_up() -> None:
    web, ssh = group(2, [rule(1, ANYWHERE, TCP, 443, 443)], []), group(3, [rule(2, ANYWHERE, TCP, 22, 22)], [])
    policy = vpc(OPEN, web, ssh, a=[1], b=[2, 3])
    assert verdict_on(policy, tcp(A, B, 443)).passed
    assert verdict_on(policy, tcp(A, B, 22)).passed
    assert refusal(policy, tcp(A, B, 80)) is Stage.RECEIVER_GROUPS


@pytest.mark.parametrize(("port", "passes"), [(7999, False), (8000, True), (8080, True), (8081, False)])
def test_a_range_of_ports_holds_its_ends(port: int, passes: bool) -> None:
    policy = vpc(OPEN, group(2, [rule(1, ANYWHERE, TCP, 8000, 8080)]), a=[1], b=[2])
    assert verdict_on(policy, tcp(A, B, port)).passed is passes
    assert not verdict_on(policy, udp(A, B, port)).passed


def test_a_rule_that_names_a_group_means_the_addresses_of_its_members() -> None:
    policy = vpc(OPEN, group(2, [rule(1, sg(3), TCP, 443, 443)]), group(3), a=[3], b=[2], c=[1])
    assert verdict_on(policy, tcp(A, B)).decided_by == ""
    assert verdict_on(policy, tcp(A, B)).passed
    assert refusal(policy, tcp(C, B)) is Stage.RECEIVER_GROUPS
    left = vpc(OPEN, group(2, [rule(1, sg(3), TCP, 443, 443)]), group(3), a=[1], b=[2], c=[1])
    assert refusal(left, tcp(A, B)) is Stage.RECEIVER_GROUPS


def test_a_rule_that_names_a_prefix_list_means_its_cidrs() -> None:
    listed = prefix_list(1, "192.0.2.0/24", f"{A}/32")
    policy = vpc(OPEN, group(2, [rule(1, listed.id, TCP, 443, 443)]), a=[1], b=[2], c=[1], prefix_lists=[listed])
    assert verdict_on(policy, tcp(A, B)).passed
    assert refusal(policy, tcp(C, B)) is Stage.RECEIVER_GROUPS


def test_a_rule_for_all_of_ipv4_says_nothing_of_ipv6() -> None:
    policy = vpc(OPEN, group(2, [rule(1, ANYWHERE)]), a=[1], b=[2])
    assert verdict_on(policy, ping(A, B)).passed
    assert refusal(policy, ping(A6, B6)) is Stage.RECEIVER_GROUPS


def test_icmp_is_permitted_by_type_and_code() -> None:
    policy = vpc(OPEN, group(2, [rule(1, ANYWHERE, ICMP, 8, 0)]), a=[1], b=[2])
    assert verdict_on(policy, ping(A, B)).passed
    timestamp = msgspec.structs.replace(ping(A, B), icmp_type=13)
    assert refusal(policy, timestamp) is Stage.RECEIVER_GROUPS


def test_icmp_of_one_version_says_nothing_of_the_other() -> None:
    policy = vpc(OPEN, group(2, [rule(1, ANYWHERE6, ICMPV6, 128, -1)]), a=[1], b=[2])
    assert verdict_on(policy, ping(A6, B6)).passed
    assert refusal(policy, ping(A, B)) is Stage.RECEIVER_GROUPS


def test_a_protocol_without_ports_is_permitted_by_its_number() -> None:
    policy = vpc(OPEN, group(2, [rule(1, ANYWHERE, 47)]), a=[1], b=[2])
    assert verdict_on(policy, Packet(source=A, destination=B, protocol=47)).passed
    assert refusal(policy, Packet(source=A, destination=B, protocol=50)) is Stage.RECEIVER_GROUPS


def test_the_senders_groups_are_asked_before_the_receivers() -> None:
    policy = vpc(group(1, [], []), a=[1], b=[1])
    assert refusal(policy, ping(A, B)) is Stage.SENDER_GROUPS


# --- connections ----------------------------------------------------------------------------------------------------------------

ONLY_WEB = group(2, [rule(1, "10.0.0.0/16", TCP, 443, 443), rule(2, "10.0.0.0/16", UDP, 53, 53)], [])


@homes
def test_an_answer_passes_whatever_the_rules_say(where: dict[str, str]) -> None:
    talk = Connections(vpc(group(1), ONLY_WEB, a=[1], b=[2]), where)
    assert talk.send(tcp(A, B)).passed
    assert talk.send(tcp(A, B).answer()).passed


@homes
def test_an_answer_to_nothing_is_refused(where: dict[str, str]) -> None:
    talk = Connections(vpc(group(1), ONLY_WEB, a=[1], b=[2]), where)
    assert talk.send(tcp(A, B).answer()).dropped_by is Stage.SENDER_GROUPS


@homes
def test_a_packet_from_the_middle_of_an_unknown_connection_is_refused_though_a_rule_permits_its_port(
    where: dict[str, str],
) -> None:
    talk = Connections(vpc(group(1), ONLY_WEB, a=[1], b=[2]), where)
    verdict = talk.send(tcp(A, B, flags=ACK))
    assert verdict.strange
    assert verdict.dropped_by is Stage.SENDER_GROUPS


@homes
def test_the_initiator_accepts_only_until_it_has_confirmed(where: dict[str, str]) -> None:
    """As both ends of a simultaneous open do. Later its SYN with ACK belongs to no connection."""
    talk = Connections(vpc(group(1), ONLY_WEB, a=[1], b=[2]), where)
    accepts = tcp(A, B, flags=SYN | ACK)
    assert talk.send(tcp(A, B)).passed
    assert talk.send(accepts).strange
    assert talk.send(tcp(A, B).answer()).passed
    assert talk.send(accepts).passed
    assert talk.send(tcp(A, B, flags=ACK)).passed
    assert talk.send(accepts).strange
    assert talk.send(tcp(A, B, flags=ACK)).passed


@homes
def test_a_revoked_rule_leaves_tracked_connections_alone_and_lets_none_begin(where: dict[str, str]) -> None:
    talk = Connections(vpc(group(1), ONLY_WEB, a=[1], b=[2]), where)
    talk.send(tcp(A, B))
    talk.send(tcp(A, B).answer())
    talk.policy = vpc(group(1), group(2, [], []), a=[1], b=[2])
    assert talk.send(tcp(A, B, flags=ACK)).passed
    assert talk.send(tcp(B, A, 40000, 443, flags=ACK)).passed
    assert talk.send(tcp(A, B, source_port=40001)).dropped_by is Stage.RECEIVER_GROUPS


@homes
def test_a_tracked_connection_that_was_never_answered_outlives_its_rule_too(where: dict[str, str]) -> None:
    talk = Connections(vpc(group(1), ONLY_WEB, a=[1], b=[2]), where)
    talk.send(udp(A, B))
    talk.policy = vpc(group(1), group(2, [], []), a=[1], b=[2])
    assert talk.send(udp(A, B)).passed


FREE = [rule(1, ANYWHERE, TCP, 443, 443), rule(3, ANYWHERE, UDP, 53, 53), rule(4, ANYWHERE, ICMP)]


@homes
def test_a_connection_from_anywhere_with_all_answers_permitted_is_not_tracked_and_cut_with_its_rule(
    where: dict[str, str],
) -> None:
    talk = Connections(vpc(group(1), group(2, FREE), a=[1], b=[2]), where)
    assert not talk.send(tcp(A, B)).receiver_tracks
    talk.send(tcp(A, B).answer())
    talk.policy = vpc(group(1), group(2), a=[1], b=[2])
    assert talk.send(tcp(A, B, flags=ACK)).dropped_by is Stage.RECEIVER_GROUPS


@homes
def test_an_untracked_packet_from_the_middle_of_an_unknown_connection_passes_at_its_side(where: dict[str, str]) -> None:
    both_ways = group(1, [rule(1, ANYWHERE)])
    talk = Connections(vpc(both_ways, group(2, FREE), a=[1], b=[2]), where)
    assert talk.send(tcp(A, B, flags=ACK)).passed


def test_a_permission_for_a_part_of_the_addresses_is_tracked() -> None:
    narrow = group(2, [rule(1, "10.0.0.0/8", TCP, 443, 443)])
    assert verdict_on(vpc(group(1), narrow, a=[1], b=[2]), tcp(A, B)).receiver_tracks


def test_a_permission_is_tracked_unless_every_port_is_open_the_other_way() -> None:
    high = group(2, FREE, [rule(5, ANYWHERE, TCP, 1024, 65535)])
    assert verdict_on(vpc(group(1), high, a=[1], b=[2]), tcp(A, B)).receiver_tracks
    all_ports = group(2, FREE, [rule(5, ANYWHERE, TCP, 0, 1023), rule(6, ANYWHERE, TCP, 1024, 65535)])
    assert not verdict_on(vpc(group(1), all_ports, a=[1], b=[2]), tcp(A, B)).receiver_tracks


@homes
def test_icmp_is_always_tracked(where: dict[str, str]) -> None:
    talk = Connections(vpc(group(1), group(2, FREE), a=[1], b=[2]), where)
    assert talk.send(ping(A, B)).receiver_tracks
    talk.policy = vpc(group(1), group(2, [], []), a=[1], b=[2])
    assert talk.send(ping(A, B).answer()).passed


@homes
def test_other_protocols_are_tracked_by_addresses_and_number(where: dict[str, str]) -> None:
    tunnel = Packet(source=A, destination=B, protocol=47)
    talk = Connections(vpc(group(1), group(2, [rule(1, ANYWHERE, 47)], []), a=[1], b=[2]), where)
    assert talk.send(tunnel).receiver_tracks
    talk.policy = vpc(group(1, [], []), group(2, [], []), a=[1], b=[2])
    assert talk.send(tunnel.answer()).passed
    assert talk.send(tunnel).passed
    assert not talk.send(msgspec.structs.replace(tunnel, protocol=50)).passed


def error_about(packet: Packet) -> Packet:
    """Return the receiver's ICMP error for a datagram to a closed port: port unreachable."""
    back = (packet.destination, packet.source)
    return Packet(source=back[0], destination=back[1], protocol=ICMP, icmp_type=3, icmp_code=3, quoted=packet)


@homes
def test_an_icmp_error_about_a_tracked_connection_passes(where: dict[str, str]) -> None:
    talk = Connections(vpc(group(1), ONLY_WEB, a=[1], b=[2]), where)
    talk.send(udp(A, B))
    assert talk.send(error_about(udp(A, B))).passed


@homes
def test_an_icmp_error_about_nothing_is_refused_even_where_icmp_is_permitted(where: dict[str, str]) -> None:
    talk = Connections(vpc(OPEN, a=[1], b=[1]), where)
    assert talk.send(error_about(udp(A, B))).strange


def test_what_was_refused_at_its_own_host_is_not_remembered_there() -> None:
    talk = Connections(vpc(group(1), group(2), a=[1], b=[2]), TOGETHER)
    assert not talk.send(udp(A, B)).passed
    assert talk.send(udp(B, A, 40000, 53)).dropped_by is Stage.RECEIVER_GROUPS


# --- network ACLs ---------------------------------------------------------------------------------------------------------------

BOTH = [allow(100, ANYWHERE), allow(101, ANYWHERE6)]


def with_back_acl(ingress: list[AclEntry], egress: list[AclEntry]) -> Policy:
    made = acl(9, ingress, egress)
    return vpc(OPEN, a=[1], b=[1], c=[1], acls=[made], back_acl=made.id)


def test_a_default_acl_allows_everything() -> None:
    assert verdict_on(vpc(OPEN, a=[1], c=[1]), ping(A, C)).passed


def test_what_no_entry_matches_is_denied() -> None:
    verdict = verdict_on(with_back_acl([], BOTH), ping(A, C))
    assert (verdict.dropped_by, verdict.decided_by) == (Stage.RECEIVER_ACL, "*")


def test_the_entry_with_the_lowest_number_that_matches_decides() -> None:
    entries = [allow(200, ANYWHERE), deny(100, f"{A}/32"), allow(50, f"{A}/32", TCP, 443, 443)]
    policy = with_back_acl(entries, BOTH)
    assert verdict_on(policy, tcp(A, C)).passed
    verdict = verdict_on(policy, tcp(A, C, 80))
    assert (verdict.dropped_by, verdict.decided_by) == (Stage.RECEIVER_ACL, "100")
    assert verdict_on(policy, tcp(B, C, 80)).passed


def test_an_acl_acts_at_its_subnets_border_only() -> None:
    made = acl(9)
    policy = vpc(OPEN, a=[1], b=[1], c=[1], acls=[made], front_acl=made.id)
    assert verdict_on(policy, ping(A, B)).passed
    assert refusal(policy, ping(A, C)) is Stage.SENDER_ACL
    assert refusal(policy, ping(C, A)) is Stage.RECEIVER_ACL


def test_a_subnet_that_names_an_acl_has_nothing_of_the_default_one() -> None:
    assert refusal(with_back_acl([], []), ping(A, C)) is Stage.RECEIVER_ACL


@homes
def test_an_acl_is_stateless_so_answers_need_an_entry_of_their_own(where: dict[str, str]) -> None:
    talk = Connections(with_back_acl(list(BOTH), [allow(100, ANYWHERE, TCP, 1024, 39999)]), where)
    assert talk.send(tcp(A, C)).passed
    assert talk.send(tcp(A, C).answer()).dropped_by is Stage.SENDER_ACL
    assert talk.send(tcp(A, C, source_port=30000)).passed
    assert talk.send(tcp(A, C, source_port=30000).answer()).passed


@homes
def test_an_acl_cuts_tracked_connections_at_once(where: dict[str, str]) -> None:
    talk = Connections(with_back_acl(list(BOTH), list(BOTH)), where)
    talk.send(tcp(A, C))
    talk.send(tcp(A, C).answer())
    talk.policy = with_back_acl([deny(1, ANYWHERE), *BOTH], list(BOTH))
    assert talk.send(tcp(A, C, flags=ACK)).dropped_by is Stage.RECEIVER_ACL


def test_the_acl_is_asked_before_the_group() -> None:
    made = acl(9)
    policy = vpc(a=[], c=[], acls=[made], front_acl=made.id, back_acl=made.id)
    assert refusal(policy, ping(A, C)) is Stage.SENDER_ACL


def test_an_address_that_nobody_has_receives_nothing() -> None:
    assert refusal(vpc(OPEN, a=[1]), ping(A, "10.0.0.99")) is Stage.NOBODY_THERE


def test_a_second_syn_of_an_unanswered_connection_still_begins_it() -> None:
    talk = Connections(vpc(group(1), ONLY_WEB, a=[1], b=[2]), APART)
    assert talk.send(tcp(A, B, flags=SYN)).receiver_tracks
    assert talk.send(tcp(A, B, flags=SYN)).passed
