"""The flow logs of a running host, with fake sources and a fake clock."""

from __future__ import annotations

import errno
from collections.abc import Collection
from pathlib import Path

import pytest

from netorch.agent.flowlog.files import LogFiles, log_directory, read_lines
from netorch.agent.flowlog.logger import RETRY_S, FlowLogger
from netorch.drivers.conntrack.nflog import DroppedPacket
from netorch.drivers.conntrack.sources import Heard
from netorch.errors import KernelError
from tests.unit.agent.flowlog.traffic import FAR, VNI, A, connection, flow, interface, target

ZONE = 1


class Sources:
    """FlowSources in memory: a walk ends with the next read."""

    def __init__(self) -> None:
        self.zones: frozenset[int] = frozenset()
        self.gateways: frozenset[str] = frozenset()
        self.heard: list[Heard] = []
        self.walks = 0
        self.walking = False
        self.broken = False

    def listen(self, zones: Collection[int], gateways: Collection[str] = ()) -> None:
        if self.broken and zones:
            raise KernelError("listen", errno.EBUSY)
        self.zones, self.gateways = frozenset(zones), frozenset(gateways)

    def fileno(self) -> int:
        return -1

    def walk(self) -> None:
        self.walks += 1
        self.walking = True

    def read(self) -> Heard:
        if self.heard:
            return self.heard.pop(0)
        self.walking = False
        return Heard()

    def close(self) -> None:
        self.zones = frozenset()


class Bench:
    """A logger with its sources, files and clock."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.now = 600.0
        self.restart()

    def restart(self) -> None:
        self.sources = Sources()
        self.logger = FlowLogger(self.sources, LogFiles(self.root, "hv1"), lambda: self.now)

    def configure(self) -> None:
        self.logger.configure([target(interface(1, A), fields=("packets", "log-status"))], {VNI: ZONE})

    def turn(self, now: float) -> None:
        self.now = now
        for _ in range(3):  # start a walk, end it, write its result
            self.logger.turn()

    def lines(self) -> list[str]:
        return list(read_lines(log_directory(self.root, "acme", "vpc-00138800000000001", "fl-1")))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def suppressed(vni: int) -> DroppedPacket:
    return DroppedPacket(reason="suppressed", payload=b"", ethertype=0, indev=f"vrf{vni}", outdev="", lladdr="", mark=0, at_s=0)


def counted(packets: int) -> Heard:
    return Heard(connections=(connection(flow(A, FAR), (packets, packets * 60)),))


def test_nothing_is_opened_without_flow_logs(bench: Bench) -> None:
    bench.logger.configure([], {})
    bench.turn(1200)
    assert (bench.sources.zones, bench.sources.walks, bench.logger.wait_s()) == (frozenset(), 0, None)


def test_a_new_log_asks_once_for_what_was_counted_before_it_and_forgets_it(bench: Bench) -> None:
    bench.configure()
    bench.logger.turn()
    assert (bench.sources.zones, bench.sources.walking) == (frozenset({ZONE}), True)
    bench.sources.heard = [counted(1000)]
    bench.turn(601)
    bench.sources.heard = [counted(3)]
    bench.turn(602)
    bench.turn(661)
    assert bench.lines() == ["3 OK"]


def test_lines_are_written_when_the_walk_at_the_intervals_end_is_done(bench: Bench) -> None:
    bench.configure()
    bench.turn(601)
    bench.now = 660
    bench.logger.turn()
    assert bench.lines() == []
    bench.sources.heard = [counted(7)]
    bench.turn(660.5)
    assert bench.lines() == ["7 OK"]
    assert bench.logger.wait_s() == 59.5


def test_losses_become_skipdata(bench: Bench) -> None:
    bench.configure()
    bench.turn(601)
    bench.sources.heard = [Heard(lost=True)]
    bench.turn(610)
    bench.turn(661)
    assert bench.lines() == ["- SKIPDATA"]


def test_refusals_that_were_not_told_become_skipdata(bench: Bench) -> None:
    bench.configure()
    bench.turn(661)
    bench.sources.heard = [Heard(dropped=(suppressed(VNI),))]
    bench.turn(721)
    bench.sources.heard = [Heard(dropped=(suppressed(VNI + 1),))]  # of another VPC
    bench.turn(781)
    assert bench.lines() == ["- NODATA", "- SKIPDATA", "- NODATA"]


def test_a_kernel_that_refuses_is_asked_again_and_the_gap_is_told(bench: Bench) -> None:
    bench.sources.broken = True
    bench.configure()
    bench.turn(601)
    bench.sources.broken = False
    bench.turn(601 + RETRY_S)
    assert bench.sources.zones == {ZONE}
    bench.turn(661)
    assert bench.lines() == ["- SKIPDATA"]


def test_what_was_known_is_written_when_the_agent_ends_and_the_next_run_tells_of_the_gap(bench: Bench) -> None:
    bench.configure()
    bench.turn(601)
    bench.sources.heard = [counted(2)]
    bench.turn(610)
    bench.logger.close()
    assert bench.lines() == ["2 OK"]
    bench.restart()
    bench.configure()
    bench.turn(661)
    assert bench.lines() == ["2 OK", "- SKIPDATA"]


def test_a_full_disk_is_a_gap_in_the_next_interval(bench: Bench) -> None:
    bench.configure()
    bench.turn(601)
    (bench.root / "acme").write_text("in the way")
    bench.turn(661)
    (bench.root / "acme").unlink()
    bench.turn(721)
    assert bench.lines() == ["- SKIPDATA"]


@pytest.mark.parametrize("days", [-3, 3, 3650])
def test_a_clock_that_is_set_ends_the_interval_and_the_next_one_is_whole(bench: Bench, days: int) -> None:
    begun = 4 * 86400.0
    bench.now = begun
    bench.configure()
    bench.turn(begun + 1)
    bench.sources.heard = [counted(7)]
    bench.turn(begun + 2)
    set_to = begun + 86400.0 * days
    bench.turn(set_to)
    assert bench.lines() == ["7 OK"]
    wait_s = bench.logger.wait_s()
    assert wait_s is not None
    assert 0 < wait_s <= 60
    bench.sources.heard = [counted(9)]
    bench.turn(set_to + 1)
    bench.turn(set_to + wait_s)
    assert bench.lines() == ["7 OK", "9 OK"]


def test_a_source_that_failed_before_the_clock_was_set_back_is_asked_again(bench: Bench) -> None:
    bench.now = 86400.0
    bench.sources.broken = True
    bench.configure()
    bench.turn(86401)
    assert bench.sources.zones == frozenset()
    bench.sources.broken = False
    bench.turn(86402)
    assert bench.sources.zones == frozenset(), "not before its time"
    bench.turn(3600)
    assert bench.sources.zones == frozenset({ZONE})
