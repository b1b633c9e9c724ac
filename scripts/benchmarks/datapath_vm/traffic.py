"""One-way traffic from instance to instance by the kernel's packet generator."""

from __future__ import annotations

import os
import re
from pathlib import Path

from datapath_vm.topologies import SIDES, ip
from netorch.drivers import netns

PKTGEN = Path("/proc/self/net/pktgen")  # of the namespace that this process is in
SETTINGS = "pkt_size 60|delay 0|udp_src_min 1000|udp_src_max 1000|udp_dst_min 9|udp_dst_max 9"  # 60 bytes and a checksum: 64
FOREIGN_MAC = "02:00:00:00:ff:ff"
FORGED = "10.44.12.77"


def deafen_receiver() -> None:
    """Give the receiver another MAC: frames that come for the old one are counted and dropped at its door, answered by nobody."""
    receiver = SIDES[1].instance
    ip(receiver, "link set eth0 down", f"link set eth0 address {FOREIGN_MAC}", "link set eth0 up")


def send(count: int, dst_mac: str, source: str = SIDES[0].address) -> float:
    """Send packets and return the nanoseconds of one."""
    sender, receiver = SIDES
    descriptor = netns.find(sender.instance)
    with netns.inside(descriptor):
        (PKTGEN / "kpktgend_0").write_text("rem_device_all\n")
        (PKTGEN / "kpktgend_0").write_text("add_device eth0\n")
        own = f"|count {count}|src_mac {sender.mac}|dst_mac {dst_mac}|src_min {source}|src_max {source}"
        for line in (SETTINGS + own + f"|dst_min {receiver.address}|dst_max {receiver.address}").split("|"):
            (PKTGEN / "eth0").write_text(line + "\n")
        (PKTGEN / "pgctrl").write_text("start\n")
        result = (PKTGEN / "eth0").read_text()
    os.close(descriptor)
    match = re.search(r"OK: (\d+)\(", result)
    if match is None:
        raise RuntimeError(f"pktgen: it did not send; it said: {result}")
    return int(match[1]) * 1000 / count


def received() -> int:
    """Return how many frames the receiver's device has counted."""
    descriptor = netns.find(SIDES[1].instance)
    with netns.inside(descriptor):
        lines = Path("/proc/self/net/dev").read_text().splitlines()
    os.close(descriptor)
    (line,) = (line for line in lines if line.strip().startswith("eth0:"))
    return int(line.split(":")[1].split()[1])


def measure(dst_mac: str, count: int, runs: int) -> list[float]:
    """Return the nanoseconds a packet of several runs. Raises RuntimeError when runs in which all arrive do not come about."""
    send(count // 4, dst_mac)
    values: list[float] = []
    for _ in range(3 * runs):
        before = received()
        value = send(count, dst_mac)
        if received() - before == count:  # else the queue before the receiver ran over
            values.append(value)
        if len(values) == runs:
            return values
    raise RuntimeError(f"datapath: only {len(values)} of {3 * runs} runs brought all {count} packets to the receiver")


def check_spoofing(dst_mac: str, expected: int) -> None:
    """Raise RuntimeError unless of 100 packets with a forged source so many arrive."""
    before = received()
    send(100, dst_mac, FORGED)
    if received() - before != expected:
        raise RuntimeError(f"datapath: {received() - before} of 100 packets with a forged source arrived instead of {expected}")
