"""Aggregation: the sentences of EC2's guide on flow log records, and limits that always hold."""

from __future__ import annotations

import msgspec
import pytest

from netorch.agent.flowlog.ledger import Finished, Ledger, Limits
from netorch.agent.flowlog.lines import Interface
from netorch.model.flow_log import DEFAULT_FORMAT, Traffic
from netorch.model.security import ICMP, UDP
from tests.unit.agent.flowlog.traffic import (
    ALL_FIELDS,
    FAR,
    VNI,
    A,
    B,
    connection,
    flow,
    interface,
    packet,
    table,
    target,
)

HERE, OTHER = interface(1, A), interface(2, B)
WHAT = ("interface-id", "srcaddr", "dstaddr", "packets", "bytes", "action")


def ledger_of(
    *interfaces: Interface, now: float = 600, traffic: Traffic = Traffic.ALL, fields: tuple[str, ...] = ALL_FIELDS
) -> Ledger:
    """Return a ledger with one log that is counting."""
    ledger = Ledger()
    ledger.configure([target(*interfaces, traffic=traffic, fields=fields)], now)
    ledger.count_from_now(["fl-1"])
    return ledger


def finish(ledger: Ledger, now: float = 660) -> Finished:
    (finished,) = ledger.finish(now)
    return finished


def test_the_default_format_is_that_of_version_2() -> None:
    ledger = ledger_of(HERE, fields=DEFAULT_FORMAT)
    ledger.accept(VNI, connection(flow(A, FAR), sent=(10, 840), started_s=610, ended_s=640), 650)
    assert finish(ledger).lines == ("2 acme eni-1 10.0.0.4 10.0.9.9 50000 443 6 10 840 610 640 ACCEPT OK",)


def test_both_directions_of_a_connection_have_lines_of_their_own() -> None:
    ledger = ledger_of(HERE)
    ledger.accept(VNI, connection(flow(A, FAR), sent=(3, 300), answered=(2, 2000)), 650)
    assert table(finish(ledger), *WHAT, "flow-direction") == [
        "eni-1 10.0.0.4 10.0.9.9 3 300 ACCEPT egress",
        "eni-1 10.0.9.9 10.0.0.4 2 2000 ACCEPT ingress",
    ]


def test_two_interfaces_of_one_host_each_have_their_lines() -> None:
    ledger = ledger_of(HERE, OTHER)
    ledger.accept(VNI, connection(flow(A, B), sent=(1, 60)), 650)
    assert table(finish(ledger), *WHAT, "flow-direction") == [
        "eni-1 10.0.0.4 10.0.0.5 1 60 ACCEPT egress",
        "eni-2 10.0.0.4 10.0.0.5 1 60 ACCEPT ingress",
    ]


def test_a_ping_that_the_group_accepts_and_whose_reply_the_acl_rejects_has_a_line_of_each() -> None:
    """EC2's example: 203.0.113.12 pings the instance; the ACL permits inbound ICMP and not outbound ICMP."""
    ledger = ledger_of(HERE)
    request, reply = flow(FAR, A, 8 << 8, ICMP, 77), flow(A, FAR, 0, ICMP, 77)
    ledger.drop(VNI, packet(reply, 84), "acl_egress", 620, established=True)
    counted = connection(request, sent=(4, 336), answered=(1, 84))
    ledger.accept(VNI, counted, 650)
    assert table(finish(ledger), *WHAT, "srcport", "dstport", "protocol") == [
        "eni-1 10.0.0.4 10.0.9.9 1 84 REJECT 0 0 1",
        "eni-1 10.0.9.9 10.0.0.4 4 336 ACCEPT 0 0 1",
    ]


def test_what_the_receiver_refuses_the_sender_has_sent() -> None:
    ledger = ledger_of(HERE, OTHER)
    ledger.drop(VNI, packet(flow(A, B)), "sg_ingress", 620, established=False)
    assert table(finish(ledger), *WHAT, "reject-reason", "log-status") == [
        "eni-1 - - - - - - NODATA",
        "eni-2 10.0.0.4 10.0.0.5 1 60 REJECT SecurityGroupIngress OK",
    ]


def test_what_a_host_refuses_for_its_own_sake_is_the_senders_where_it_is_here_and_else_the_receivers() -> None:
    for source, destination in ((A, FAR), (FAR, A)):
        ledger = ledger_of(HERE)
        ledger.drop(VNI, packet(flow(source, destination)), "allowance", 620, established=False)
        line = f"eni-1 {source} {destination} 1 60 REJECT ConnectionAllowance OK"
        assert table(finish(ledger), *WHAT, "reject-reason", "log-status") == [line]
    ledger = ledger_of(HERE, OTHER)
    ledger.drop(VNI, packet(flow(A, B)), "allowance", 620, established=False)
    assert table(finish(ledger), "interface-id", "action") == ["eni-1 REJECT", "eni-2 -"]


def test_what_the_sender_may_not_send_the_receiver_never_saw() -> None:
    ledger = ledger_of(HERE, OTHER)
    ledger.accept(VNI, connection(flow(A, B), sent=(5, 500)), 630)
    ledger.drop(VNI, packet(flow(A, B), 100), "acl_egress", 640, established=True)
    assert table(finish(ledger), *WHAT) == [
        "eni-1 10.0.0.4 10.0.0.5 1 100 REJECT",
        "eni-1 10.0.0.4 10.0.0.5 4 400 ACCEPT",
        "eni-2 10.0.0.4 10.0.0.5 4 400 ACCEPT",
    ]


def test_packets_and_bytes_are_those_of_the_interval() -> None:
    ledger = ledger_of(HERE)
    ledger.accept(VNI, connection(flow(A, FAR), sent=(10, 1000)), 650)
    assert table(finish(ledger, 660), "packets", "bytes", "start", "end") == ["10 1000 600 650"]
    ledger.accept(VNI, connection(flow(A, FAR), sent=(2, 200)), 700)
    ledger.accept(VNI, connection(flow(A, FAR), sent=(3, 300), ended_s=710), 715)
    assert table(finish(ledger, 720), "packets", "bytes", "start", "end") == ["5 500 660 710"]


def test_without_traffic_an_interface_has_no_data() -> None:
    (line,) = finish(ledger_of(HERE, fields=DEFAULT_FORMAT)).lines
    assert line == "2 acme eni-1 - - - - - - - 600 660 - NODATA"


def test_what_was_lost_is_told_as_skipped_beside_what_is_known() -> None:
    ledger = ledger_of(HERE, OTHER, fields=DEFAULT_FORMAT)
    ledger.accept(VNI, connection(flow(A, FAR), sent=(1, 60)), 650)
    ledger.lose()
    assert table(finish(ledger), "interface-id", "log-status") == ["eni-1 OK", "eni-1 SKIPDATA", "eni-2 SKIPDATA"]
    assert table(finish(ledger, 720), "log-status") == ["NODATA", "NODATA"]


def test_a_log_that_an_earlier_run_wrote_tells_of_the_gap() -> None:
    ledger = Ledger()
    ledger.configure([target(HERE)], 600, frozenset({"fl-1"}))
    ledger.accept(VNI, connection(flow(A, FAR), sent=(1, 60)), 650)
    assert table(finish(ledger), "log-status") == ["OK", "SKIPDATA"]


def test_a_new_log_does_not_count_what_was_before_it() -> None:
    ledger = Ledger()
    ledger.configure([target(HERE)], 600)
    ledger.accept(VNI, connection(flow(A, FAR), sent=(1000, 60000)), 601)
    ledger.count_from_now(["fl-1"])
    ledger.accept(VNI, connection(flow(A, FAR), sent=(1, 60)), 650)
    assert table(finish(ledger), "packets") == ["1"]


@pytest.mark.parametrize(
    ("traffic", "actions"), [(Traffic.ALL, ["ACCEPT", "REJECT"]), (Traffic.ACCEPT, ["ACCEPT"]), (Traffic.REJECT, ["REJECT"])]
)
def test_a_log_has_the_traffic_that_was_asked_for(traffic: Traffic, actions: list[str]) -> None:
    ledger = ledger_of(HERE, traffic=traffic)
    ledger.accept(VNI, connection(flow(A, FAR), sent=(1, 60)), 650)
    ledger.drop(VNI, packet(flow(FAR, A)), "sg_ingress", 650, established=False)
    assert table(finish(ledger), "action") == actions


FLAGS = {
    "a connection that began": (connection(flow(A, FAR), (1, 60), (1, 60), started_s=610), ["ingress 18", "egress 2"]),
    "one that goes on": (connection(flow(A, FAR), (1, 60), (1, 60), started_s=10), ["ingress 0", "egress 0"]),
    "one that began and ended": (
        connection(flow(A, FAR), (1, 60), (1, 60), started_s=610, tcp_state=7),
        ["ingress 19", "egress 3"],
    ),
    "one that was reset": (connection(flow(A, FAR), (1, 60), started_s=10, tcp_state=8), ["egress 4"]),
    "no TCP": (connection(flow(A, FAR, 53, UDP), (1, 60), started_s=610), ["egress 0"]),
}


@pytest.mark.parametrize("case", sorted(FLAGS))
def test_flags_of_tcp_are_those_of_the_interval_together(case: str) -> None:
    seen, wanted = FLAGS[case]
    ledger = ledger_of(HERE)
    ledger.accept(VNI, seen, 650)
    assert table(finish(ledger), "flow-direction", "tcp-flags") == sorted(wanted)


def test_a_refused_acknowledgement_is_told_with_a_syn_only() -> None:
    ledger = ledger_of(HERE)
    ledger.drop(VNI, packet(flow(FAR, A, 1), flags=0x12), "sg_ingress", 650, established=False)
    ledger.drop(VNI, packet(flow(FAR, A, 2), flags=0x18), "sg_ingress", 650, established=False)
    assert table(finish(ledger), "dstport", "tcp-flags") == ["1 18", "2 0"]


NOT_LOGGED = {
    "the router": flow(A, "10.0.0.1", 8 << 8, ICMP),
    "the resolver": flow(A, "10.0.0.2", 53, UDP),
    "the metadata service": flow(A, "169.254.169.254", 80),
    "the time service": flow(A, "169.254.169.123", 123, UDP),
    "DHCP": flow(A, "10.0.0.77", 67, UDP, 68),
}


@pytest.mark.parametrize("case", sorted(NOT_LOGGED))
def test_traffic_of_the_cloud_itself_is_not_logged(case: str) -> None:
    ledger = ledger_of(HERE)
    ledger.accept(VNI, connection(NOT_LOGGED[case], (1, 60), (1, 60)), 650)
    ledger.drop(VNI, packet(NOT_LOGGED[case]), "sg_egress", 650, established=False)
    assert table(finish(ledger), "log-status") == ["NODATA"]


def test_the_same_addresses_in_another_vpc_are_somebody_elses() -> None:
    ledger = ledger_of(HERE)
    ledger.accept(VNI + 1, connection(flow(A, FAR), (1, 60)), 650)
    assert table(finish(ledger), "log-status") == ["NODATA"]


def test_each_log_has_its_own_interval() -> None:
    ledger = Ledger()
    ledger.configure([target(HERE, name="1", interval_s=60), target(HERE, name="2", interval_s=600)], 600)
    ledger.count_from_now(["fl-1", "fl-2"])
    ledger.accept(VNI, connection(flow(A, FAR), (1, 60)), 650)
    assert [finished.log.id for finished in ledger.finish(660)] == ["fl-1"]
    ledger.accept(VNI, connection(flow(A, FAR), (2, 120)), 700)
    assert [table(finished, "packets") for finished in ledger.finish(1200)] == [["2"], ["3"]]


def test_intervals_begin_at_multiples_of_their_length() -> None:
    ledger = ledger_of(HERE, now=617)
    assert ledger.next_end() == 660
    finish(ledger, 661.5)
    assert ledger.next_end() == 720


def test_a_log_that_goes_writes_what_it_knows() -> None:
    ledger = ledger_of(HERE)
    ledger.accept(VNI, connection(flow(A, FAR), (1, 60)), 650)
    (finished,) = ledger.configure([], 655)
    assert table(finished, "packets") == ["1"]
    assert ledger.next_end() is None


def test_an_interface_that_has_left_is_told_of_once_more() -> None:
    ledger = ledger_of(HERE, OTHER)
    ledger.accept(VNI, connection(flow(A, FAR), (1, 60)), 620)
    ledger.configure([target(OTHER, fields=ALL_FIELDS)], 630)
    assert table(finish(ledger), "interface-id", "log-status") == ["eni-1 OK", "eni-2 NODATA"]
    assert table(finish(ledger, 720), "interface-id") == ["eni-2"]


@pytest.mark.parametrize("now", [0.0, 1e10])
def test_a_clock_that_is_set_ends_the_interval(now: float) -> None:
    ledger = ledger_of(HERE)
    ledger.accept(VNI, connection(flow(A, FAR), (1, 60)), 650)
    assert table(finish(ledger, now), "packets") == ["1"]
    ledger.accept(VNI, connection(flow(A, FAR), (2, 60)), now + 1)
    assert table(finish(ledger, now + 60), "packets") == ["2"]


def entries(ledger: Ledger) -> int:
    return sum(len(index.entries) for index in ledger.logs.values())


def test_memory_is_bounded_under_a_scan_and_the_line_says_so() -> None:
    ledger = Ledger(Limits(host=50, interface=20))
    ledger.configure([target(HERE, OTHER, fields=ALL_FIELDS)], 600)
    ledger.count_from_now(["fl-1"])
    for port in range(10_000):
        ledger.accept(VNI, connection(flow(A, FAR, port), (1, 60)), 650)
        assert entries(ledger) <= 20
    ledger.accept(VNI, connection(flow(B, FAR), (1, 60)), 650)
    lines = table(finish(ledger), "interface-id", "log-status")
    assert lines == ["eni-1 OK"] * 20 + ["eni-1 SKIPDATA", "eni-2 OK"]


def test_a_known_flow_is_counted_when_there_is_no_room_for_new_ones() -> None:
    ledger = Ledger(Limits(host=1, interface=1))
    ledger.configure([target(HERE, fields=ALL_FIELDS)], 600)
    ledger.count_from_now(["fl-1"])
    for port in (1, 2, 1):
        ledger.accept(VNI, connection(flow(A, FAR, port), (1, 60)), 650)
    assert table(finish(ledger), "dstport", "packets", "log-status") == ["- - SKIPDATA", "1 2 OK"]


@pytest.mark.parametrize("owner", ["globex", "acme"])
def test_ten_interfaces_of_one_vpc_leave_room_for_another_of_whatever_owner(owner: str) -> None:
    noisy = [interface(k, f"10.0.1.{k}") for k in range(1, 11)]
    quiet = msgspec.structs.replace(interface(99, "10.0.2.1"), vni=VNI + 1, owner=owner)
    ledger = Ledger(Limits(host=100, interface=10))
    ledger.configure([target(*noisy, name="noisy"), target(quiet, name="quiet")], 600)
    for k in range(1, 11):
        for n in range(10):
            ledger.drop(VNI, packet(flow(f"10.0.1.{k}", f"10.9.0.{n}")), "sg_egress", 610, established=False)
    ledger.drop(VNI + 1, packet(flow("10.0.2.1", "10.9.9.9")), "sg_egress", 620, established=False)
    lines = {finished.log.id: finished.lines for finished in ledger.finish(660)}
    assert len([line for line in lines["fl-noisy"] if not line.endswith("SKIPDATA")]) == 50
    assert len(lines["fl-quiet"]) == 1
    assert "REJECT OK" in lines["fl-quiet"][0]


def test_an_owner_of_many_vpcs_leaves_room_for_another_owner() -> None:
    """Each takes at most as many places as are free; all of them together at most four times as many, which is four fifths."""
    noisy = [msgspec.structs.replace(interface(k, A), vni=VNI + k) for k in range(1, 21)]
    quiet = msgspec.structs.replace(interface(99, A), vni=VNI, owner="globex")
    ledger = Ledger(Limits(host=100, interface=10))
    ledger.configure([*(target(one, name=one.id) for one in noisy), target(quiet, name="quiet")], 600)
    for one in (*noisy, quiet):
        for port in range(10):
            ledger.drop(one.vni, packet(flow(A, FAR, port)), "sg_egress", 610, established=False)
    lines = {finished.log.name: table(finished, "log-status") for finished in ledger.finish(660)}
    assert lines.pop("quiet") == ["OK"] * 10
    assert sum(line == "OK" for status in lines.values() for line in status) == 80


def test_room_is_given_back_at_the_end_of_an_interval() -> None:
    ledger = Ledger(Limits(host=4, interface=2))
    ledger.configure([target(HERE, fields=ALL_FIELDS)], 600)
    ledger.count_from_now(["fl-1"])
    for now in (660, 720, 780):
        for port in (1, 2):
            ledger.accept(VNI, connection(flow(A, FAR, port), (1, 60)), now - 10)
        assert table(finish(ledger, now), "log-status") == ["OK", "OK"]


def test_all_of_ipv6_is_told_too() -> None:
    six = interface(1, "2001:db8::4")
    ledger = ledger_of(six)
    ledger.accept(VNI, connection(flow("2001:db8::4", "2001:db8::9"), (1, 80)), 650)
    assert table(finish(ledger), "srcaddr", "pkt-dstaddr", "type", "version") == ["2001:db8::4 2001:db8::9 IPv6 8"]
