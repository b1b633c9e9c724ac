"""Connections: which packet opens one, which packets belong to one, and the effect of a revoked rule on one."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from scapy.layers.inet import ICMP, TCP
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest

from netorch.control.actions.permissions import Permission
from netorch.model.security import Direction
from tests.rig.policed import (
    CLIENT,
    FAR,
    NEAR,
    NET4,
    NET6,
    PASSED,
    PATHS,
    SERVERS,
    Policed,
    Talk,
    cloud,
    ip,
    policed,
    tcp,
    udp,
    vpc,
)

pytestmark = pytest.mark.root

TRACKED, FREE, SHUT = 8000, 9000, 7000
_BOTH = "{{protocol: {0}, ports: {1}, source: {2}}}, {{protocol: {0}, ports: {1}, source: '{3}'}}"
_RULES = ", ".join(
    _BOTH.format(protocol, port, *nets)
    for protocol in ("tcp", "udp")
    for port, nets in ((TRACKED, (NET4, NET6)), (FREE, ("0.0.0.0/0", "::/0")))
)
GROUPS = f"{{name: clients}}, {{name: mute, egress: []}}, {{name: servers, ingress: [{_RULES}]}}"
_client_ports = itertools.count(40000)  # never reused: after a drop at the receiver, the sender's host knows the connection
MEMBERS = {"client": "clients", "near": "servers", "far": "servers"}
GLOBEX = "{name: clients}, {name: servers, ingress: [{protocol: tcp, ports: 7000, source: 10.44.0.0/16}]}"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Policed]:
    """Servers with a tracked and an untracked port; another VPC with the same addresses and other rules."""
    text = cloud(vpc("acme", GROUPS, MEMBERS), vpc("globex", GLOBEX, MEMBERS))
    with policed(tmp_path_factory.mktemp("connections"), text) as lab:
        yield lab


def both(port: int, protocol: str = "tcp", nets: tuple[str, str] = (NET4, NET6)) -> list[Permission]:
    """Return a permission for each IP version."""
    return [Permission(protocol=protocol, ports=port, peer=net) for net in nets]


# --- packets that open a connection -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("server", "version"), PATHS)
def test_a_handshake_opens_a_connection_both_ways(lab: Policed, server: str, version: int) -> None:
    talk = Talk(lab, CLIENT, server, TRACKED, version).opens()
    assert [talk.says(server, "PA"), talk.says(CLIENT, "PA"), talk.says(server, "FA"), talk.says(CLIENT, "FA")] == [PASSED] * 4


@pytest.mark.parametrize(("server", "version"), PATHS)
def test_the_client_of_a_confirmed_connection_accepts_none(lab: Policed, server: str, version: int) -> None:
    talk = Talk(lab, CLIENT, server, TRACKED, version).opens()
    assert [talk.says(CLIENT, "SA"), talk.says(CLIENT, "PA"), talk.says(server, "PA")] == ["invalid", PASSED, PASSED]


@pytest.mark.parametrize(("server", "version"), PATHS)
@pytest.mark.parametrize("flags", ["A", "SA", "PA", "FA", "R", "RA"])
def test_a_tracked_permission_takes_up_no_connection_in_the_middle(lab: Policed, server: str, version: int, flags: str) -> None:
    assert lab.verdict(CLIENT, server, tcp(CLIENT, server, TRACKED, flags, version=version)) == "invalid"


@pytest.mark.parametrize(("server", "version"), PATHS)
@pytest.mark.parametrize("flags", ["", "F", "SF", "SR", "FPU", "SFRPAU"])
def test_flags_that_no_connection_has_are_refused(lab: Policed, server: str, version: int, flags: str) -> None:
    assert lab.verdict(CLIENT, server, tcp(CLIENT, server, TRACKED, flags, version=version)) == "invalid"


@pytest.mark.parametrize(("server", "version"), PATHS)
@pytest.mark.parametrize("flags", ["S", "A", "SA", "R"])
def test_from_a_servers_port_nobody_reaches_a_client(lab: Policed, server: str, version: int, flags: str) -> None:
    """A packet that looks like an answer is none without a request."""
    segment = tcp(server, CLIENT, next(_client_ports), flags, version=version, sport=TRACKED)
    assert lab.verdict(server, CLIENT, segment) == ("sg_ingress" if flags == "S" else "invalid")


@pytest.mark.parametrize(("server", "version"), PATHS)
def test_a_refused_connection_cannot_be_answered_into_being(lab: Policed, server: str, version: int) -> None:
    talk = Talk(lab, CLIENT, server, SHUT, version)
    assert talk.says(CLIENT, "S") == "sg_ingress"
    assert talk.says(server, "SA") != PASSED
    assert talk.says(CLIENT, "A") != PASSED


@pytest.mark.parametrize(("server", "version"), PATHS)
def test_both_ends_may_open_at_once_if_each_may_open(lab: Policed, server: str, version: int) -> None:
    refused = Talk(lab, CLIENT, server, TRACKED, version, client_port=41000)
    assert [refused.says(CLIENT, "S"), refused.says(server, "S")] == [PASSED, "sg_ingress"]
    rules = both(41001)
    lab.allow("acme/clients", Direction.INGRESS, *rules)
    talk = Talk(lab, CLIENT, server, TRACKED, version, client_port=41001)
    assert [talk.says(CLIENT, "S"), talk.says(server, "S"), talk.says(CLIENT, "SA"), talk.says(server, "SA")] == [PASSED] * 4
    lab.revoke("acme/clients", Direction.INGRESS, *rules)


@pytest.mark.parametrize(("server", "version"), PATHS)
def test_an_answer_over_udp_passes_to_the_port_that_asked_and_no_other(lab: Policed, server: str, version: int) -> None:
    assert lab.verdict(CLIENT, server, udp(CLIENT, server, TRACKED, version=version, sport=3000)) == PASSED
    assert lab.verdict(server, CLIENT, udp(server, CLIENT, 3000, version=version, sport=TRACKED)) == PASSED
    assert lab.verdict(server, CLIENT, udp(server, CLIENT, 3001, version=version, sport=TRACKED)) == "sg_ingress"
    assert lab.verdict(server, CLIENT, udp(server, CLIENT, 3000, version=version, sport=TRACKED + 1)) == "sg_ingress"


@pytest.mark.parametrize("version", [4, 6])
def test_a_third_instance_cannot_answer_for_another(lab: Policed, version: int) -> None:
    for asked, liar in ((NEAR, FAR), (FAR, NEAR)):
        question = udp(CLIENT, asked, TRACKED, version=version)
        assert lab.verdict(CLIENT, asked, question) == PASSED
        assert lab.verdict(liar, CLIENT, udp(liar, CLIENT, question.sport, version=version, sport=TRACKED)) == "sg_ingress"


# --- two VPCs ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("server", SERVERS)
def test_one_five_tuple_in_two_vpcs_is_two_connections(lab: Policed, server: str) -> None:
    """Permitted in one VPC and forbidden in the other: neither sees the other's state, in either order."""
    place = server.rpartition("/")[2]
    for port, here, there in ((TRACKED, "acme", "globex"), (SHUT, "globex", "acme")):
        ends = [(f"{name}/client", f"{name}/{place}") for name in (here, there)]
        (client, opened), (stranger, refused) = ends
        syn = ip(client, opened) / TCP(sport=2222, dport=port, flags="S", seq=1)
        ack = ip(client, opened) / TCP(sport=2222, dport=port, flags="A", seq=14, ack=1)
        answer = ip(opened, client) / TCP(sport=port, dport=2222, flags="SA", seq=1, ack=14)
        assert lab.verdict(stranger, refused, syn) == "sg_ingress"
        assert [lab.verdict(client, opened, syn), lab.verdict(opened, client, answer)] == [PASSED] * 2
        assert lab.verdict(stranger, refused, syn) == "sg_ingress"
        assert lab.verdict(refused, stranger, answer) == "invalid"
        assert lab.verdict(stranger, refused, ack) == "invalid"


# --- a revoked rule -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("server", "version"), PATHS)
def test_a_tracked_connection_outlives_its_rule(lab: Policed, server: str, version: int) -> None:
    talk = Talk(lab, CLIENT, server, TRACKED, version).opens()
    question = udp(CLIENT, server, TRACKED, version=version)
    answer = udp(server, CLIENT, question.sport, version=version, sport=TRACKED)
    assert [lab.verdict(CLIENT, server, question), lab.verdict(server, CLIENT, answer)] == [PASSED] * 2
    rules = both(TRACKED) + both(TRACKED, "udp")
    lab.revoke("acme/servers", Direction.INGRESS, *rules)
    assert [talk.says(CLIENT, "PA"), talk.says(server, "PA")] == [PASSED] * 2
    assert [lab.verdict(CLIENT, server, question), lab.verdict(server, CLIENT, answer)] == [PASSED] * 2
    assert Talk(lab, CLIENT, server, TRACKED, version).says(CLIENT, "S") == "sg_ingress"
    assert lab.verdict(CLIENT, server, udp(CLIENT, server, TRACKED, version=version)) == "sg_ingress"
    lab.allow("acme/servers", Direction.INGRESS, *rules)


@pytest.mark.parametrize(("server", "version"), PATHS)
def test_a_tracked_stream_that_nobody_answers_outlives_its_rule(lab: Policed, server: str, version: int) -> None:
    stream = udp(CLIENT, server, TRACKED, version=version)
    assert lab.verdict(CLIENT, server, stream) == PASSED
    rules = both(TRACKED, "udp")
    lab.revoke("acme/servers", Direction.INGRESS, *rules)
    assert lab.verdict(CLIENT, server, stream) == PASSED
    lab.allow("acme/servers", Direction.INGRESS, *rules)


@pytest.mark.parametrize(("server", "version"), PATHS)
def test_echoes_outlive_their_rule_under_their_identifier_and_no_other(lab: Policed, server: str, version: int) -> None:
    rules = [Permission(protocol="icmp", peer=NET4), Permission(protocol="icmpv6", peer=NET6)]
    lab.allow("acme/servers", Direction.INGRESS, *rules)
    ident = next(_client_ports)
    asks, answers = (
        (ICMP(id=ident), ICMP(id=ident, type=0)) if version == 4 else (ICMPv6EchoRequest(id=ident), ICMPv6EchoReply(id=ident))
    )
    request, answer = ip(CLIENT, server, version) / asks, ip(server, CLIENT, version) / answers
    assert [lab.verdict(CLIENT, server, request), lab.verdict(server, CLIENT, answer)] == [PASSED] * 2
    lab.revoke("acme/servers", Direction.INGRESS, *rules)
    assert [lab.verdict(CLIENT, server, request), lab.verdict(server, CLIENT, answer)] == [PASSED] * 2
    asks.id = next(_client_ports)
    assert lab.verdict(CLIENT, server, ip(CLIENT, server, version) / asks) == "sg_ingress"


@pytest.mark.parametrize(("server", "version"), PATHS)
def test_an_untracked_connection_ends_with_its_rule(lab: Policed, server: str, version: int) -> None:
    talk = Talk(lab, CLIENT, server, FREE, version).opens()
    rules = both(FREE, nets=("0.0.0.0/0", "::/0"))
    lab.revoke("acme/servers", Direction.INGRESS, *rules)
    assert talk.says(CLIENT, "PA") == "sg_ingress"
    lab.allow("acme/servers", Direction.INGRESS, *rules)
    assert talk.says(CLIENT, "PA") == PASSED


@pytest.mark.parametrize(("server", "version"), PATHS)
def test_an_untracked_connection_becomes_no_tracked_one_while_its_rule_narrows(lab: Policed, server: str, version: int) -> None:
    """The connection goes on as long as some rule permits its packets, and ends with the last such rule."""
    talk = Talk(lab, CLIENT, server, FREE, version).opens()
    everywhere, narrow = both(FREE, nets=("0.0.0.0/0", "::/0")), both(FREE)
    lab.allow("acme/servers", Direction.INGRESS, *narrow)
    lab.revoke("acme/servers", Direction.INGRESS, *everywhere)
    assert [talk.says(CLIENT, "PA"), talk.says(server, "PA")] == [PASSED] * 2
    lab.revoke("acme/servers", Direction.INGRESS, *narrow)
    assert talk.says(CLIENT, "PA") == "sg_ingress"
    lab.allow("acme/servers", Direction.INGRESS, *everywhere)


# --- a connection on the ports of an old one ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("server", "version"), PATHS)
@pytest.mark.parametrize("last", ["", "server FA", "client FA", "both FA"])
def test_a_revoked_rule_lets_no_connection_begin_between_the_ports_of_a_tracked_one(
    lab: Policed, server: str, version: int, last: str
) -> None:
    """In none of the states in which the connection tracker takes a SYN for a packet of the old connection."""
    talk = Talk(lab, CLIENT, server, TRACKED, version).opens()
    for speaker in {"server FA": [server], "client FA": [CLIENT], "both FA": [server, CLIENT]}.get(last, []):
        assert talk.says(speaker, "FA") == PASSED
    rules = both(TRACKED)
    lab.revoke("acme/servers", Direction.INGRESS, *rules)
    for flags in ("S", "S", "SP", "SEC", "SU"):
        assert talk.says(CLIENT, flags) == "sg_ingress"
    assert talk.says(server, "S") in ("sg_ingress", "invalid")
    assert [talk.says(CLIENT, "A"), talk.says(server, "A")] == [PASSED] * 2  # the old connection goes on
    lab.allow("acme/servers", Direction.INGRESS, *rules)
    assert talk.says(CLIENT, "S") == PASSED


@pytest.mark.parametrize(("server", "version"), PATHS)
def test_a_syn_that_nobody_has_answered_is_not_repeated_after_its_rule(lab: Policed, server: str, version: int) -> None:
    talk = Talk(lab, CLIENT, server, TRACKED, version)
    assert [talk.says(CLIENT, "S"), talk.says(CLIENT, "S")] == [PASSED] * 2
    rules = both(TRACKED)
    lab.revoke("acme/servers", Direction.INGRESS, *rules)
    assert talk.says(CLIENT, "S") == "sg_ingress"
    lab.allow("acme/servers", Direction.INGRESS, *rules)
    assert [talk.says(CLIENT, "S"), talk.says(server, "SA"), talk.says(CLIENT, "A")] == [PASSED] * 3


@pytest.mark.parametrize(("server", "version"), PATHS)
def test_a_client_that_may_send_no_more_begins_nothing_between_old_ports(lab: Policed, server: str, version: int) -> None:
    talk = Talk(lab, CLIENT, server, TRACKED, version).opens()
    lab.regroup(CLIENT, "mute")
    assert [talk.says(CLIENT, "S"), talk.says(CLIENT, "PA"), talk.says(server, "PA")] == ["sg_egress", PASSED, PASSED]
    lab.regroup(CLIENT, "clients")


@pytest.mark.parametrize(("server", "version"), PATHS)
@pytest.mark.parametrize("then", ["tracked", "untracked"])
def test_a_connection_between_old_ports_is_tracked_if_the_rule_is_that_lets_it_begin(
    lab: Policed, server: str, version: int, then: str
) -> None:
    narrow, everywhere = both(SHUT), both(SHUT, nets=("0.0.0.0/0", "::/0"))
    before, after = (everywhere, narrow) if then == "tracked" else (narrow, everywhere)
    lab.allow("acme/servers", Direction.INGRESS, *before)
    talk = Talk(lab, CLIENT, server, SHUT, version).opens()
    lab.allow("acme/servers", Direction.INGRESS, *after)
    lab.revoke("acme/servers", Direction.INGRESS, *before)
    assert talk.says(CLIENT, "S") == PASSED
    lab.revoke("acme/servers", Direction.INGRESS, *after)
    assert talk.says(CLIENT, "PA") == (PASSED if then == "tracked" else "sg_ingress")


@pytest.mark.parametrize(("server", "version"), PATHS)
def test_an_answer_makes_no_tracked_connection_of_an_untracked_one(lab: Policed, server: str, version: int) -> None:
    """Where the connection is unknown, the server's answer is the first packet seen of it."""
    rules = both(FREE, "udp", nets=("0.0.0.0/0", "::/0"))
    question = udp(CLIENT, server, FREE, version=version)
    answer = udp(server, CLIENT, question.sport, version=version, sport=FREE)
    lab.allow("acme/clients", Direction.INGRESS, Permission(protocol="udp", peer="sg-servers"))
    assert [lab.verdict(server, CLIENT, answer), lab.verdict(CLIENT, server, question)] == [PASSED] * 2
    lab.revoke("acme/servers", Direction.INGRESS, *rules)
    assert lab.verdict(CLIENT, server, question) == "sg_ingress"
    lab.allow("acme/servers", Direction.INGRESS, *rules)
    lab.revoke("acme/clients", Direction.INGRESS, Permission(protocol="udp", peer="sg-servers"))


@pytest.mark.parametrize(("server", "version"), PATHS)
def test_an_untracked_answer_needs_no_known_connection(lab: Policed, server: str, version: int) -> None:
    lab.allow("acme/clients", Direction.INGRESS, *both(41002, nets=("0.0.0.0/0", "::/0")))
    answer = tcp(server, CLIENT, 41002, "A", version=version, sport=FREE)
    assert lab.verdict(server, CLIENT, answer) == PASSED
    lab.revoke("acme/clients", Direction.INGRESS, *both(41002, nets=("0.0.0.0/0", "::/0")))


@pytest.mark.parametrize("server", SERVERS)
def test_leaving_a_group_leaves_tracked_connections_and_ends_the_others(lab: Policed, server: str) -> None:
    tracked, free = (Talk(lab, CLIENT, server, port).opens() for port in (TRACKED, FREE))
    lab.regroup(server, "mute")
    assert [tracked.says(CLIENT, "PA"), tracked.says(server, "PA")] == [PASSED] * 2
    assert free.says(CLIENT, "PA") == "sg_ingress"
    assert free.says(server, "PA") == "sg_egress"
    assert Talk(lab, CLIENT, server, TRACKED).says(CLIENT, "S") == "sg_ingress"
    lab.regroup(server, "servers")


@pytest.mark.parametrize("server", SERVERS)
def test_a_client_that_may_send_nothing_any_more_keeps_its_tracked_connections(lab: Policed, server: str) -> None:
    """The client's end is tracked, because no connections to the client are permitted."""
    talk = Talk(lab, CLIENT, server, TRACKED).opens()
    lab.regroup(CLIENT, "mute")
    assert [talk.says(CLIENT, "PA"), talk.says(server, "PA")] == [PASSED] * 2
    assert Talk(lab, CLIENT, server, TRACKED).says(CLIENT, "S") == "sg_egress"
    lab.regroup(CLIENT, "clients")
