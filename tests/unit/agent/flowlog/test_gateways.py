"""Flow logs of a NAT gateway's interface: four legs of a connection, and packets dropped on one of them."""

from __future__ import annotations

import msgspec
import pytest

from netorch.agent.flowlog.gateways import GatewayDrop
from netorch.agent.flowlog.ledger import Finished, Ledger
from netorch.drivers.conntrack.attrs import Connection, Tuple
from netorch.drivers.conntrack.headers import ACK, SYN
from netorch.model.flow_log import Traffic
from netorch.model.security import ICMP, TCP
from tests.unit.agent.flowlog.traffic import connection, flow, interface, packed, packet, table, target

NAT, A, SERVER = "10.0.9.9", "10.0.1.5", "203.0.113.10"
GATEWAY = "nat-00138800b0c0d0e0f"
FIELDS = (
    "srcaddr",
    "dstaddr",
    "srcport",
    "dstport",
    "pkt-srcaddr",
    "pkt-dstaddr",
    "packets",
    "bytes",
    "action",
    "flow-direction",
)
SENT = flow(A, SERVER, 443, source_port=40000)
ANSWERED = Tuple(packed(SERVER), packed(NAT), TCP, 443, 40001)
LEGS = [
    f"{A} {NAT} 40000 443 {A} {SERVER} {{0}} ACCEPT ingress",
    f"{NAT} {SERVER} 40001 443 {NAT} {SERVER} {{1}} ACCEPT egress",
    f"{SERVER} {NAT} 443 40001 {SERVER} {NAT} {{2}} ACCEPT ingress",
    f"{NAT} {A} 443 40000 {SERVER} {A} {{3}} ACCEPT egress",
]


def translated(sent: tuple[int, int], answered: tuple[int, int]) -> Connection:
    return msgspec.structs.replace(connection(SENT, sent, answered), reply=ANSWERED)


@pytest.fixture
def ledger() -> Ledger:
    found = Ledger()
    nat = msgspec.structs.replace(interface(9, NAT), instance="", gateway=GATEWAY)
    found.configure([target(nat, fields=(*FIELDS, "log-status"))], 600.0)
    found.count_from_now(["fl-1"])
    return found


def finished(ledger: Ledger) -> list[str]:
    (found,) = ledger.finish(660.0)
    return table(found, *FIELDS)


def lines(*counts: str) -> list[str]:
    return sorted(leg.format(*counts) for leg, count in zip(LEGS, counts, strict=True) if count)


def drop(reason: str, *, established: bool = False, reply: bool = False) -> GatewayDrop:
    return GatewayDrop(reason=reason, established=established, reply=reply)


def test_a_connection_has_four_lines_with_the_packets_own_ends(ledger: Ledger) -> None:
    ledger.accept_translated(GATEWAY, translated((5, 500), (4, 4000)), 630.0)
    assert finished(ledger) == lines("5 500", "5 500", "4 4000", "4 4000")


def test_a_connection_without_an_answer_has_two(ledger: Ledger) -> None:
    ledger.accept_translated(GATEWAY, translated((1, 60), (0, 0)), 630.0)
    assert finished(ledger) == sorted(leg.format("1 60", "1 60") for leg in LEGS[:2])


def test_a_ping_has_no_ports(ledger: Ledger) -> None:
    ping = msgspec.structs.replace(
        connection(Tuple(packed(A), packed(SERVER), ICMP, 7, 0x800), (1, 84), (1, 84)),
        reply=Tuple(packed(SERVER), packed(NAT), ICMP, 7, 0),
    )
    ledger.accept_translated(GATEWAY, ping, 630.0)
    assert [line.split()[2:4] for line in finished(ledger)] == [["0", "0"]] * 4


def test_what_another_gateway_translates_is_not_logged(ledger: Ledger) -> None:
    ledger.accept_translated("nat-00138900b0c0d0e0f", translated((1, 60), (1, 60)), 630.0)
    (found,) = ledger.finish(660.0)
    assert [line.rpartition(" ")[2] for line in found.lines] == ["NODATA"]


@pytest.mark.parametrize(
    ("reason", "seen", "reply", "counts", "refused"),
    [
        (
            "acl_ingress",
            SENT,
            False,
            ("4 440", "4 440", "4 4000", "4 4000"),
            f"{A} {NAT} 40000 443 {A} {SERVER} 1 60 REJECT ingress",
        ),
        (
            "acl_egress",
            SENT,
            False,
            ("5 500", "4 440", "4 4000", "4 4000"),
            f"{NAT} {SERVER} 40000 443 {NAT} {SERVER} 1 60 REJECT egress",
        ),
        (
            "acl_ingress",
            ANSWERED,
            True,
            ("5 500", "5 500", "3 3940", "3 3940"),
            f"{SERVER} {NAT} 443 40001 {SERVER} {NAT} 1 60 REJECT ingress",
        ),
        (
            "acl_egress",
            SENT.reversed(),
            True,
            ("5 500", "5 500", "4 4000", "3 3940"),
            f"{NAT} {A} 443 40000 {SERVER} {A} 1 60 REJECT egress",
        ),
    ],
)
def test_a_packet_that_the_acl_denies_is_taken_off_the_legs_that_it_did_not_see(
    ledger: Ledger, reason: str, seen: Tuple, reply: bool, counts: tuple[str, ...], refused: str
) -> None:
    ledger.drop_at_gateway(GATEWAY, packet(seen), drop(reason, established=True, reply=reply), 620.0)
    ledger.accept_translated(GATEWAY, translated((5, 500), (4, 4000)), 630.0)
    assert finished(ledger) == sorted([*lines(*counts), refused])


def test_the_first_packet_is_accepted_as_far_as_it_came(ledger: Ledger) -> None:
    """No connection exists yet; the drop alone describes the packet."""
    ledger.drop_at_gateway(GATEWAY, packet(SENT, flags=SYN), drop("acl_egress"), 620.0)
    assert finished(ledger) == sorted(
        (
            f"{A} {NAT} 40000 443 {A} {SERVER} 1 60 ACCEPT ingress",
            f"{NAT} {SERVER} 40000 443 {NAT} {SERVER} 1 60 REJECT egress",
        )
    )


def test_what_the_gateway_does_not_carry_the_acl_has_accepted(ledger: Ledger) -> None:
    unasked = flow(SERVER, NAT, 22, source_port=50000)
    ledger.drop_at_gateway(GATEWAY, packet(unasked, flags=SYN), drop("to_gateway"), 620.0)
    ledger.drop_at_gateway(GATEWAY, packet(flow(A, SERVER, 0, 47, 0)), drop("protocol"), 620.0)
    assert finished(ledger) == sorted(
        (
            f"{SERVER} {NAT} 50000 22 {SERVER} {NAT} 1 60 ACCEPT ingress",
            f"{A} {NAT} 0 0 {A} {SERVER} 1 60 ACCEPT ingress",
        )
    )


def test_flags_and_choice_are_those_of_other_interfaces(ledger: Ledger) -> None:
    nat = msgspec.structs.replace(interface(9, NAT), instance="", gateway=GATEWAY)
    chosen = [
        target(nat, fields=("srcport", "tcp-flags"), name="flags"),
        target(nat, fields=("action",), name="refused", traffic=Traffic.REJECT),
    ]
    ledger.configure(chosen, 600.0)
    ledger.count_from_now(["fl-flags", "fl-refused"])
    ledger.accept_translated(GATEWAY, msgspec.structs.replace(translated((1, 60), (1, 60)), started_s=610.0), 630.0)
    ledger.drop_at_gateway(GATEWAY, packet(SENT), drop("acl_ingress"), 620.0)
    found: dict[str, Finished] = {each.log.name: each for each in ledger.finish(660.0)}
    assert set(table(found["flags"], "srcport", "tcp-flags")) >= {f"40001 {SYN}", f"443 {SYN | ACK}"}
    assert list(found["refused"].lines) == ["REJECT"]
