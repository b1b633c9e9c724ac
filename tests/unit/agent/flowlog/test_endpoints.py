"""Flow logs of an endpoint connection's interfaces: each logs its own half of a flow, and the packets that it dropped."""

from __future__ import annotations

import msgspec
import pytest

from netorch.agent.flowlog.gateways import GatewayDrop
from netorch.agent.flowlog.ledger import Ledger
from netorch.compiler.interface_endpoint import BACK, FRONT
from netorch.drivers.conntrack.attrs import Connection, Tuple
from netorch.model.security import TCP
from tests.unit.agent.flowlog.traffic import connection, flow, interface, packed, packet, table, target

ONE, ENDPOINT, OTHER, BACKEND, TARGET = "10.0.1.5", "10.0.9.9", "10.0.10.9", "10.0.8.20", "10.0.1.5"
NETNS = "vpce-con-00138800b0c0d0e0f"
FIELDS = ("srcaddr", "dstaddr", "srcport", "dstport", "pkt-srcaddr", "pkt-dstaddr", "packets", "action", "flow-direction")
SENT = flow(ONE, ENDPOINT, 443, source_port=40000)
ANSWERED = Tuple(packed(TARGET), packed(BACKEND), TCP, 8443, 40001)
AT_ENDPOINT = {
    f"{ONE} {ENDPOINT} 40000 443 {ONE} {ENDPOINT} 5 ACCEPT ingress",
    f"{ENDPOINT} {ONE} 443 40000 {ENDPOINT} {ONE} 4 ACCEPT egress",
}
AT_BACK = {
    f"{BACKEND} {TARGET} 40001 8443 {BACKEND} {TARGET} 5 ACCEPT egress",
    f"{TARGET} {BACKEND} 8443 40001 {TARGET} {BACKEND} 4 ACCEPT ingress",
}


def seen() -> Connection:
    return msgspec.structs.replace(connection(SENT, (5, 500), (4, 4000)), reply=ANSWERED)


@pytest.fixture
def ledger() -> Ledger:
    """Return a ledger with three logs: of the endpoint's interfaces in two subnets, and of the connection's interface."""
    found = Ledger()
    ends = (("front", ENDPOINT, FRONT), ("other", OTHER, FRONT), ("back", BACKEND, BACK))
    logs = [
        target(msgspec.structs.replace(interface(number, address), instance="", gateway=NETNS, end=end), name=name, fields=FIELDS)
        for number, (name, address, end) in enumerate(ends, 7)
    ]
    found.configure(logs, 600.0)
    found.count_from_now(["fl-front", "fl-other", "fl-back"])
    return found


def lines(ledger: Ledger) -> dict[str, set[str]]:
    """Return the lines of each log, without NODATA lines."""
    return {found.log.name: {line for line in table(found, *FIELDS) if line[0] != "-"} for found in ledger.finish(660.0)}


def test_each_end_has_the_lines_of_its_own_vpc(ledger: Ledger) -> None:
    ledger.accept_translated(NETNS, seen(), 630.0)
    assert lines(ledger) == {"front": AT_ENDPOINT, "other": set(), "back": AT_BACK}


def test_a_relayed_connection_is_two_and_neither_end_sees_the_other_one(ledger: Ledger) -> None:
    relay = "192.0.0.2"
    taken = msgspec.structs.replace(
        connection(SENT, (5, 500), (4, 4000)), reply=Tuple(packed(relay), packed(ONE), TCP, 443, 40000)
    )
    ledger.accept_translated(NETNS, taken, 630.0)
    knock = flow(relay, TARGET, 8443, source_port=40001)
    ledger.accept_translated(NETNS, msgspec.structs.replace(connection(knock, (5, 500), (4, 4000)), reply=ANSWERED), 630.0)
    assert lines(ledger) == {"front": AT_ENDPOINT, "other": set(), "back": AT_BACK}


@pytest.mark.parametrize(
    ("reason", "reply", "dropped", "front", "back"),
    [
        ("sg_ingress", False, SENT, f"{ONE} {ENDPOINT} 40000 443 {ONE} {ENDPOINT} 1 REJECT ingress", ""),
        ("acl_ingress", False, SENT, f"{ONE} {ENDPOINT} 40000 443 {ONE} {ENDPOINT} 1 REJECT ingress", ""),
        ("no_service", False, SENT, f"{ONE} {ENDPOINT} 40000 443 {ONE} {ENDPOINT} 1 ACCEPT ingress", ""),
        (
            "acl_egress",
            False,
            flow(ONE, TARGET, 8443, source_port=40000),
            "",
            f"{BACKEND} {TARGET} 40000 8443 {BACKEND} {TARGET} 1 REJECT egress",
        ),
        ("acl_ingress", True, ANSWERED, "", f"{TARGET} {BACKEND} 8443 40001 {TARGET} {BACKEND} 1 REJECT ingress"),
        ("acl_egress", True, SENT.reversed(), f"{ENDPOINT} {ONE} 443 40000 {ENDPOINT} {ONE} 1 REJECT egress", ""),
    ],
)
def test_a_dropped_packet_is_in_the_log_of_the_end_that_dropped_it(
    ledger: Ledger, reason: str, reply: bool, dropped: Tuple, front: str, back: str
) -> None:
    ledger.drop_at_gateway(NETNS, packet(dropped), GatewayDrop(reason=reason, established=False, reply=reply), 620.0)
    assert lines(ledger) == {"front": {front} - {""}, "other": set(), "back": {back} - {""}}


def test_what_the_acl_of_the_connection_drops_of_a_known_flow_is_taken_off_there_only(ledger: Ledger) -> None:
    drop = GatewayDrop(reason="acl_egress", established=True, reply=False)
    ledger.drop_at_gateway(NETNS, packet(flow(ONE, TARGET, 8443, source_port=40000)), drop, 620.0)
    ledger.accept_translated(NETNS, seen(), 630.0)
    found = lines(ledger)
    assert found["front"] == AT_ENDPOINT
    assert f"{BACKEND} {TARGET} 40001 8443 {BACKEND} {TARGET} 4 ACCEPT egress" in found["back"]
