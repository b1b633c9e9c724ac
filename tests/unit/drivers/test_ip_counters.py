"""IPv4's own counters."""

from __future__ import annotations

from netorch.drivers.ip_counters import lost_in

SNMP = """Ip: Forwarding DefaultTTL ReasmTimeout ReasmReqds ReasmOKs ReasmFails FragOKs
Ip: 1 64 {timeout} 5000 100 {fails} 0
Icmp: InMsgs InErrors
Icmp: 1 0
"""


def test_fragments_whose_time_was_over_are_not_lost_for_want_of_memory() -> None:
    assert lost_in(SNMP.format(timeout=1676, fails=1676)) == 0
    assert lost_in(SNMP.format(timeout=1676, fails=2000)) == 324
