"""The output of `netorch vpn doctor`: for each layer the cause, in its own sentence."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from netorch.diagnose.vpn.findings import TableFacts, TunnelFacts, VpnFacts, diagnose
from netorch.model.mapping import ReachedPrefix
from netorch.model.outside import tunnel_problems
from netorch.model.outside.vpn import Tunnel, VpnConnection
from netorch.model.routing.effective import Origin
from netorch.model.status import ESTABLISHED, TunnelStatus

SITE = "192.168.0.0/16"
CONNECTION = VpnConnection(
    id="vpn-0013880000000000a",
    vni=5000,
    name="office",
    gateway="vgw-00138800000000001",
    customer_gateway="cgw-00000000000000001",
    number=1,
    asn=65000,
    address="203.0.113.80",
    tunnels=(
        Tunnel(inside_cidr="169.254.10.0/30", edge="e1", address="198.18.0.21"),
        Tunnel(inside_cidr="169.254.10.4/30", edge="e2", address="198.18.0.22"),
    ),
)
UP = TunnelStatus(ike="ESTABLISHED", child="INSTALLED", packets_in=9, bgp=ESTABLISHED, accepted=1)
STATIC_UP = msgspec.structs.replace(UP, bgp="", accepted=0)
REACHED = (ReachedPrefix(prefix=SITE, origin=Origin.VPN_BGP, as_path_length=1),)


def facts(**changes: Any) -> VpnFacts:  # noqa: ANN401 - fields of several types
    """Return a working connection, except for these changes of its first tunnel (`said`, `tunnel`, ...) or of itself."""
    of_vpn = {name: changes.pop(name) for name in list(changes) if name in VpnFacts.__struct_fields__}
    connection = of_vpn.pop("connection", CONNECTION)
    said = STATIC_UP if connection.static else UP
    first, second = (
        TunnelFacts(number=number, tunnel=tunnel, said=said, reached=REACHED)
        for number, tunnel in enumerate(connection.tunnels, 1)
    )
    whole = VpnFacts(
        connection=connection,
        asn=64512,
        ranges=("10.0.0.0/16",),
        tunnels=(msgspec.structs.replace(first, **changes), second),
        tables=(TableFacts(name="main", leads=frozenset({SITE})),),
        admitted=frozenset({SITE}),
    )
    return msgspec.structs.replace(whole, **of_vpn)


def said(**changes: Any) -> TunnelStatus:  # noqa: ANN401 - likewise
    return msgspec.structs.replace(UP, **changes)


def down(word: str, **found: str) -> TunnelStatus:
    return TunnelStatus(problem=word, facts=found)


STATIC = msgspec.structs.replace(CONNECTION, static=True, routes=(SITE,))
TO_AWS = msgspec.structs.replace(CONNECTION.tunnels[0], remote="198.18.9.1")
AWS = msgspec.structs.replace(CONNECTION, tunnels=(TO_AWS, msgspec.structs.replace(TO_AWS, inside_cidr="169.254.10.4/30")))
NOWHERE = Tunnel(inside_cidr="169.254.10.0/30")
CASES = [
    (facts(tunnel=NOWHERE), 1, "no_edge", "ends at no edge, because the pair has only one; ask the operator"),
    (
        facts(connection=AWS, tunnel=msgspec.structs.replace(TO_AWS, edge="", address="")),
        1,
        "no_edge",
        "because the edge whose address AWS knows was deleted; netorch vpn delete office",
    ),
    (
        facts(connection=AWS, said=said(bgp="Active", accepted=0)),
        1,
        "bgp_down",
        "configure it to peer from 169.254.10.1, AS 65000, with 169.254.10.2, AS 64512",
    ),
    (
        facts(connection=AWS, drained=True),
        1,
        "drained",
        "AWS knows no other edge, so the tunnel carries nothing; netorch host undrain e1",
    ),
    (facts(runs=False), 1, "no_agent", "the agent of edge e1 is not running"),
    (facts(has_secret=False), 1, "no_secret", "edge e1 has no secret for it; netorch vpn rotate office --tunnel 1"),
    (facts(said=None), 1, "nothing_said", "edge e1 has not reported anything yet"),
    (facts(not_ready="no BGP session"), 1, "edge_not_ready", "edge e1 is not ready: no BGP session"),
    (facts(said=TunnelStatus()), 1, "waiting", "the device has sent nothing so far"),
    (facts(said=TunnelStatus(ike="CONNECTING")), 1, "connecting", "negotiating; check again"),
    (facts(said=down("wrong_psk")), 1, "wrong_psk", "different pre-shared keys; set the same key on both"),
    (
        facts(said=down("no_proposal", ours="aes256-sha256-ecp256", theirs="3des-md5-modp768")),
        1,
        "no_proposal",
        "proposes 3des-md5-modp768 for phase 1, and this edge accepts aes256-sha256-ecp256",
    ),
    (facts(said=said(problem="no_inbound", facts={"seconds": "60"})), 1, "no_inbound", "none has arrived for 60 s"),
    (
        facts(said=said(bgp="Active", accepted=0)),
        1,
        "bgp_down",
        "the tunnel is up, and BGP over it is Active: the device does not speak BGP; "
        "configure it to peer from 169.254.10.2, AS 65000, with 169.254.10.1, AS 64512",
    ),
    (
        facts(said=said(bgp="Active", bgp_reason="Received: Bad peer AS")),
        1,
        "bgp_wrong_as",
        "BGP over it is Active (Received: Bad peer AS): the device has another AS number; configure it to peer from 169.254.10.2",
    ),
    (
        facts(said=said(bgp="Idle", bgp_reason="Automatic shutdown: Route limit exceeded")),
        1,
        "bgp_limit",
        "more than 100 prefixes",
    ),
    (facts(said=said(bgp="Active", bgp_reason="Hold timer expired")), 1, "bgp_hold_timer", "no longer answers"),
    (
        facts(said=said(bgp="Active", bgp_reason="Socket: Connection refused")),
        1,
        "bgp_refused",
        "nothing listens on the BGP port",
    ),
    (facts(said=said(bgp="Active", packets_in=0)), 1, "bgp_nothing_in", "no packet has arrived through the tunnel"),
    (
        facts(said=said(accepted=0)),
        1,
        "nothing_announced",
        "announces no prefix that the edge accepts: let it announce its networks",
    ),
    (
        facts(connection=msgspec.structs.replace(STATIC, routes=())),
        1,
        "no_static_route",
        "it has no static route to the customer's networks; netorch vpn route add office CIDR",
    ),
    (
        facts(tables=(TableFacts(name="main"), TableFacts(name="private"))),
        0,
        "not_propagated",
        "no route table in use has a route to 192.168.0.0/16 through the gateway; "
        "netorch route-table propagate TABLE, for one of main, private",
    ),
    (facts(admitted=frozenset()), 0, "closed", "no security group permits traffic from 192.168.0.0/16"),
    (facts(ranges=("192.168.0.0/16",)), 0, "own_range", "192.168.0.0/16 is inside the VPC's own ranges"),
]


@pytest.mark.parametrize(("known", "tunnel", "word", "text"), CASES, ids=[case[2] for case in CASES])
def test_the_cause_is_told(known: VpnFacts, tunnel: int, word: str, text: str) -> None:
    found = diagnose(known)
    assert (found[0].tunnel, found[0].word) == (tunnel, word)
    assert text in found[0].text
    assert not found[0].works
    assert {finding.word for finding in found} == {word}


def test_each_has_a_sentence_of_its_own() -> None:
    assert len({diagnose(known)[0].text for known, *_ in CASES}) == len(CASES)


@pytest.mark.parametrize("connection", [CONNECTION, STATIC])
def test_nothing_is_said_of_what_works(connection: VpnConnection) -> None:
    assert diagnose(facts(connection=connection)) == []


@pytest.mark.parametrize("word", tunnel_problems.WORDS)
def test_all_that_an_edge_says_is_told(word: str) -> None:
    (finding,) = diagnose(facts(said=down(word, ours="a", theirs="b")))
    assert finding.text == tunnel_problems.sentence(word, {"ours": "a", "theirs": "b"})


def test_a_drained_edge_is_no_fault() -> None:
    (finding,) = diagnose(facts(drained=True))
    assert (finding.word, finding.works) == ("drained", True)
    assert "netorch host undrain e1" in finding.text


def test_when_all_edges_are_lost_it_is_said_once_more() -> None:
    known = facts()
    lost = tuple(msgspec.structs.replace(tunnel, runs=False) for tunnel in known.tunnels)
    found = diagnose(msgspec.structs.replace(known, tunnels=lost))
    assert [(finding.tunnel, finding.word) for finding in found] == [(1, "no_agent"), (2, "no_agent"), (0, "edges_lost")]


def test_while_no_tunnel_carries_packets_the_vpc_is_not_blamed() -> None:
    known = facts(tables=())
    waiting = tuple(msgspec.structs.replace(tunnel, said=TunnelStatus()) for tunnel in known.tunnels)
    assert {finding.word for finding in diagnose(msgspec.structs.replace(known, tunnels=waiting))} == {"waiting"}


def test_what_daemons_say_is_printed_as_text() -> None:
    (finding,) = diagnose(facts(said=said(bgp="Active", bgp_reason="\x1b[31mred")))
    assert "\x1b" not in finding.text
