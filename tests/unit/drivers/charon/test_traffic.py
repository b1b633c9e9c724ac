"""A tunnel's traffic counters, and silence."""

from __future__ import annotations

import msgspec

from netorch.drivers.charon.traffic import QUIET_S, Traffic
from netorch.model.status import TunnelStatus
from tests.unit.drivers.charon.test_upkeep import child


def test_it_counts_over_sas_that_follow_each_other() -> None:
    traffic, first, second = Traffic(), child("1"), child("2")
    traffic.count([msgspec.structs.replace(first, packets_in=5, bytes_in=500)], 0.0)
    traffic.count([msgspec.structs.replace(first, packets_in=7, bytes_in=700), second], 1.0)
    traffic.count([msgspec.structs.replace(second, packets_in=1, bytes_in=100)], 2.0)
    status = traffic.put_into(TunnelStatus(ike="ESTABLISHED"))
    assert (status.packets_in, status.bytes_in, status.ike) == (8, 800, "ESTABLISHED")


def test_packets_that_leave_without_any_that_come_in_are_noticed() -> None:
    traffic, one = Traffic(), child("1")
    traffic.count([one], 0.0)
    traffic.count([msgspec.structs.replace(one, packets_out=100)], QUIET_S)
    assert traffic.quiet(QUIET_S) == QUIET_S
    traffic.count([msgspec.structs.replace(one, packets_out=100, packets_in=1)], QUIET_S + 1)
    assert traffic.quiet(QUIET_S + 1) == 0.0


def test_a_tunnel_that_nobody_uses_is_not_silent() -> None:
    traffic = Traffic()
    traffic.count([child("1")], 0.0)
    assert traffic.quiet(10 * QUIET_S) == 0.0
