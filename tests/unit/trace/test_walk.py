"""A packet's path through the compiled objects, and where it ends when an object is missing or wrong."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from netorch.compiler.registry import compile_host, compile_slice, load_compilers
from netorch.model.ids import port_name
from netorch.model.packet import Packet
from netorch.model.security import TCP, UDP, Direction
from netorch.state.base import OVERLAY, KernelObject, Key
from netorch.state.l3 import BLACKHOLE, Route
from netorch.state.nft import OVER_ALLOWANCE, NftElement
from netorch.trace.codes import Code
from netorch.trace.explain import Explanation, explain, policy_text
from netorch.trace.host_model import HostModel
from netorch.trace.policy_index import PolicyIndex
from netorch.trace.walk import round_trip, walk
from netorch.trace.way import Departure, Place, RoundTrip, Walk
from policy.evaluate import Policy
from policy.nftgen import sender
from tests.property.policy_strategies import HOSTS, ZONE, PolicyCase
from tests.unit.policy.small import ANYWHERE, VNI, A, B, C, acl, allow, deny, group, ping, rule, tcp, udp, vpc

COMPILERS = load_compilers()
OPEN = group(1, [rule(1, ANYWHERE), rule(2, "::/0")])
Objects = dict[Key, KernelObject]


def case_of(policy: Policy) -> PolicyCase:
    """Place A and C on hv1, B on hv2."""
    a, b, c = policy.interfaces
    return PolicyCase(policy=policy, homes={a.id: "hv1", b.id: "hv2", c.id: "hv1"})


def compiled(policy: Policy) -> dict[str, Objects]:
    case = case_of(policy)
    views = {host: case.view(host) for host in HOSTS}
    return {
        host: compile_host(COMPILERS, view.host) | compile_slice(COMPILERS, view, list(case.mappings()))
        for host, view in views.items()
    }


def sent(policy: Policy, packet: Packet, objects: dict[str, Objects] | None = None, mac: str = "") -> Walk:
    """Return the path of a packet that A sends."""
    eni = policy.interfaces[0]
    start = Departure(host="hv1", ifname=port_name(eni.id), mac=mac or eni.mac)
    host_models = {host: HostModel(host, found) for host, found in (objects or compiled(policy)).items()}
    return walk(host_models, start, packet)


def marks(packet: Packet) -> dict[tuple[str, int], int]:
    """Return the connection mark on each host, by host and zone."""
    return {(host, zone): mark for (host, zone, *_), mark in sent(ALL, packet).marks.items()}


def without(policy: Policy, host: str, *key: str | int) -> dict[str, Objects]:
    objects = compiled(policy)
    del objects[host][key]
    return objects


ALL = vpc(OPEN, a=[1], b=[1], c=[1])
PORT_A, PORT_B, PORT_C = (port_name(eni.id) for eni in ALL.interfaces)


def test_a_packet_passes_every_place_in_the_order_of_the_hosts() -> None:
    found = sent(ALL, ping(A, B))
    assert found.arrived_at == PORT_B
    near = [Place.PORT, Place.ZONE, Place.ROUTE, Place.POLICY, Place.TUNNEL]
    far = [Place.VERIFY, Place.ZONE, Place.ROUTE, Place.POLICY, Place.DELIVERY]
    assert [(hop.host, hop.place) for hop in found.hops] == [("hv1", p) for p in near] + [("hv2", p) for p in far]


def test_a_packet_between_ports_of_one_host_never_leaves_it() -> None:
    found = sent(ALL, ping(A, C))
    assert (found.arrived_at, {hop.host for hop in found.hops}) == (PORT_C, {"hv1"})


def test_each_end_marks_what_it_tracks_on_its_own_host() -> None:
    assert marks(ping(A, B)) == {("hv1", ZONE): 1, ("hv2", ZONE): 2}
    assert marks(ping(A, C)) == {("hv1", ZONE): 3}
    assert marks(tcp(A, B)) == {("hv1", ZONE): 0, ("hv2", ZONE): 0}  # untracked: all traffic is permitted both ways


@pytest.mark.parametrize("kind", [ping, tcp])
@pytest.mark.parametrize(("source", "mac"), [("10.0.0.99", ""), (A, "06:00:00:00:00:99")])
def test_a_spoofed_source_dies_at_its_port(kind: Callable[[str, str], Packet], source: str, mac: str) -> None:
    found = sent(ALL, kind(source, B), mac=mac)
    assert (found.code, found.counter, found.hops[-1].place) == (Code.SOURCE_SPOOFED, "spoofed", Place.PORT)


def test_an_address_that_nobody_has_is_unreachable_at_the_source() -> None:
    found = sent(ALL, ping(A, "10.0.0.99"))
    assert (found.code, found.host) == (Code.NO_ROUTE_TO_DESTINATION, "hv1")


def test_a_host_that_may_not_speak_for_the_source_is_not_believed() -> None:
    found = sent(ALL, ping(A, B), without(ALL, "hv2", *sender("senders", HOSTS["hv1"], VNI, A).key))
    assert (found.code, found.counter, found.host) == (Code.MAPPING_VIOLATION, "unverified", "hv2")


def test_a_port_whose_rules_are_missing_is_mute_and_deaf() -> None:
    for host, name, port in (("hv1", "egress_policy", PORT_A), ("hv2", "ingress_policy", PORT_B)):
        found = sent(ALL, ping(A, B), without(ALL, host, "nft-element", "overlay", "inet", name, port))
        assert (found.code, found.host) == (Code.POLICY_NOT_IN_PLACE, host)


def test_a_port_without_its_chain_is_mute() -> None:
    assert sent(ALL, ping(A, B), without(ALL, "hv1", "nft-chain", "overlay", PORT_A)).code is Code.PORT_UNGUARDED


def test_a_device_without_a_zone_lets_nothing_through() -> None:
    found = sent(ALL, ping(A, B), without(ALL, "hv2", "nft-element", "overlay", "inet", "zone", f"vx{VNI}"))
    assert (found.code, found.host) == (Code.ZONE_NOT_IN_PLACE, "hv2")


@pytest.mark.parametrize("host", ["hv1", "hv2"])
def test_a_vpc_over_its_allowance_begins_no_connection_there(host: str) -> None:
    objects = compiled(ALL)
    (zone,) = {obj.value for key, obj in objects[host].items() if key[3:] == ("zone", f"vx{VNI}") and isinstance(obj, NftElement)}
    refused = NftElement(netns=OVERLAY, family="inet", set=OVER_ALLOWANCE, items=(zone,), vni=0)
    objects[host][refused.key] = refused
    found = sent(ALL, ping(A, B), objects)
    assert (found.code, found.host, found.counter) == (Code.CONNECTION_ALLOWANCE, host, "allowance")


def test_a_next_hop_without_its_entries_ends_the_packet() -> None:
    objects = compiled(ALL)
    objects["hv1"] = {key: obj for key, obj in objects["hv1"].items() if key[0] != "fdb"}
    assert sent(ALL, ping(A, B), objects).code is Code.NEXT_HOP_MISSING


def test_a_port_that_is_down_receives_nothing() -> None:
    found = sent(ALL, ping(A, B), without(ALL, "hv2", "up", "overlay", PORT_B))
    assert (found.code, found.host) == (Code.PORT_MISSING, "hv2")


def test_the_router_answers_pings_only() -> None:
    assert sent(ALL, ping(A, "10.0.0.1")).arrived_at == f"vrf{VNI}"
    assert sent(ALL, udp(A, "10.0.0.1")).code is Code.ROUTER_ANSWERS_PINGS_ONLY


def test_a_host_that_does_not_carry_the_vpc_is_told() -> None:
    objects = compiled(ALL)
    assert sent(ALL, ping(A, B), {"hv1": objects["hv1"]}).code is Code.HOST_UNKNOWN


# --- replies


def asked(policy: Policy, packet: Packet) -> RoundTrip:
    """Return the paths of a packet that A sends, and of its reply."""
    eni = policy.interfaces[0]
    host_models = {host: HostModel(host, found) for host, found in compiled(policy).items()}
    return round_trip(host_models, Departure(host="hv1", ifname=port_name(eni.id), mac=eni.mac), packet)


ONE_WAY = [group(1, []), group(2, [rule(1, "10.0.0.0/16")], [])]  # one group only sends, the other only receives


@pytest.mark.parametrize("receiver", [B, C], ids=["apart", "together"])
@pytest.mark.parametrize("protocol", [TCP, UDP, 1, 47])
def test_groups_let_the_answer_pass_that_no_rule_permits(receiver: str, protocol: int) -> None:
    packet = ping(A, receiver) if protocol == 1 else msgspec.structs.replace(tcp(A, receiver), protocol=protocol)
    found = asked(vpc(*ONE_WAY, a=[1], b=[2], c=[2]), packet)
    assert found.succeeded
    assert found.back is not None
    assert (found.back.arrived_at, found.back.hops[0].host) == (PORT_A, found.there.host)


MUTE = acl(9, [allow(1, ANYWHERE, TCP, 443, 443)], [allow(1, ANYWHERE, TCP, 443, 443)])


@pytest.mark.parametrize(("front", "back", "counter"), [(MUTE.id, "", "acl_ingress"), ("", MUTE.id, "acl_egress")])
def test_an_acl_that_permits_no_answers_ends_them_at_its_border(front: str, back: str, counter: str) -> None:
    found = asked(vpc(OPEN, a=[1], b=[1], c=[1], acls=[MUTE], front_acl=front, back_acl=back), tcp(A, C))
    assert (found.there.arrived, found.succeeded) == (True, False)
    assert found.back is not None
    assert (found.back.code, found.back.counter) == (Code.SUBNET_ACL_RESTRICTION, counter)


def test_a_packet_that_dies_has_no_answer_and_a_router_answers_by_itself() -> None:
    assert asked(vpc(group(1), a=[1], b=[1]), ping(A, B)).back is None
    assert asked(ALL, ping(A, "10.0.0.1")) == RoundTrip(there=sent(ALL, ping(A, "10.0.0.1")))


# --- explanations ------------------------------------------------------------------------------------------------------------


def explained(policy: Policy, packet: Packet) -> Explanation:
    index = PolicyIndex(policy.subnets, policy.interfaces, policy.groups, policy.acls, policy.prefix_lists)
    names = dict(zip(index.interfaces, ("a", "b", "c"), strict=True))
    return explain(index, case_of(policy).view("hv1").vpc, packet, sent(policy, packet), names)


def test_a_missing_rule_is_told_with_the_command_that_adds_it() -> None:
    said = explained(vpc(OPEN, group(2, [rule(7, ANYWHERE, TCP, 443, 443)]), a=[1], b=[2]), tcp(A, B, 80))
    assert said.code is Code.ENI_SG_RULES_MISMATCH
    assert said.sentence == f"on host hv2: group g2 of b has no ingress rule that permits tcp/80 from {A}"
    assert said.fix == "netorch sg rule add o/v/g2 ingress tcp 80 --source sg-g1"


def test_the_senders_missing_rule_is_told_of_the_sender() -> None:
    said = explained(vpc(OPEN, group(2, [], []), a=[2], b=[1]), udp(A, B))
    assert said.sentence == f"on host hv1: group g2 of a has no egress rule that permits udp/53 to {B}"
    assert said.fix == "netorch sg rule add o/v/g2 egress udp 53 --destination sg-g1"


def test_an_interface_without_groups_is_told_so() -> None:
    assert "b has no security group" in explained(vpc(OPEN, a=[1], b=[]), ping(A, B)).sentence


def test_an_acls_entry_is_told_by_its_number_with_one_in_front_of_it() -> None:
    strict = acl(9, [deny(100, ANYWHERE, UDP, 53, 53), allow(200, ANYWHERE)], [allow(100, ANYWHERE)])
    said = explained(vpc(OPEN, a=[1], b=[1], c=[1], acls=[strict], back_acl=strict.id), udp(A, C))
    assert (said.code, said.rule) == (Code.SUBNET_ACL_RESTRICTION, "100")
    assert said.fix == f"netorch nacl rule add o/v/acl9 ingress 99 allow udp 53 --cidr {A}/32"


def test_an_acls_last_word_is_a_star() -> None:
    strict = acl(9)
    said = explained(vpc(OPEN, a=[1], c=[1], acls=[strict], front_acl=strict.id), ping(A, C))
    assert (said.rule, said.fix) == ("*", f"netorch nacl rule add o/v/acl9 egress 10 allow icmp 8/0 --cidr {C}/32")


def test_what_passes_is_told_with_the_rule_that_permits_it() -> None:
    policy = vpc(OPEN, group(2, [rule(7, ANYWHERE, TCP, 443, 443)]), a=[1], b=[2])
    said = explained(policy, tcp(A, B))
    assert (said.code, said.rule) == (None, policy.groups[1].ingress[0].id)


def test_an_address_in_the_vpc_that_nobody_has_is_not_mapped_and_one_outside_has_no_route() -> None:
    assert explained(ALL, ping(A, "10.0.0.99")).code is Code.NO_MAPPING
    assert explained(ALL, ping(A, "192.0.2.1")).code is Code.NO_ROUTE_TO_DESTINATION


def test_a_black_hole_ends_a_packet_with_a_reason_of_its_own() -> None:
    objects = compiled(ALL)
    hole = Route(vni=VNI, table=VNI, dst="192.0.2.0/24", type=BLACKHOLE)
    objects["hv1"][hole.key] = hole
    packet = ping(A, "192.0.2.1")
    found = sent(ALL, packet, objects)
    assert (found.code, found.hops[-1].said) == (Code.BAD_STATE_ROUTE, f"192.0.2.0/24 is a black hole in vrf{VNI}")
    index = PolicyIndex(ALL.subnets, ALL.interfaces, ALL.groups, ALL.acls, ALL.prefix_lists)
    said = explain(index, case_of(ALL).view("hv1").vpc, packet, found, {})
    assert said.fix.startswith("replace the route, or restore its target: netorch route-table list --vpc ")


def test_each_side_is_told_by_the_names_of_its_rules() -> None:
    index = PolicyIndex(ALL.subnets, ALL.interfaces, ALL.groups, ALL.acls, ALL.prefix_lists)
    assert policy_text(index, ping(A, B), Direction.EGRESS) == f"egress: inside the subnet, group g1 {ALL.groups[0].egress[0].id}"
    assert policy_text(index, ping(A, C), Direction.INGRESS).startswith("ingress: ACL default entry 100, group g1 ")


def test_an_address_that_somebody_has_but_the_kernel_has_no_route_to_is_drift_and_not_a_missing_mapping() -> None:
    policy = vpc(OPEN, a=[1], b=[1], c=[1])
    index = PolicyIndex(policy.subnets, policy.interfaces, policy.groups, policy.acls, policy.prefix_lists)
    nowhere = sent(policy, ping(A, "10.0.1.99"))
    assert explain(index, case_of(policy).view("hv1").vpc, ping(A, "10.0.1.99"), nowhere, {}).code is Code.NO_MAPPING
    said = explain(index, case_of(policy).view("hv1").vpc, ping(A, C), nowhere, {})
    assert said.code is Code.NO_ROUTE_TO_DESTINATION
    assert said.sentence.startswith(f"on host hv1: the records map {C}, but the host's kernel has no route to it")
    assert said.fix == "netorch drift --host hv1"
