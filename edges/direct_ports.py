"""Ports of Direct Connect: devices in the outside that carry tagged packets, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator

from netorch.state.base import OUTSIDE, KernelObject
from netorch.state.link import AdminUp, Settings, Uplink


def port_objects(device: str) -> Iterator[KernelObject]:
    """Yield a port, taken from the underlay."""
    yield Uplink(ifname=device)
    yield Settings(netns=OUTSIDE, ifname=device)
    yield AdminUp(netns=OUTSIDE, ifname=device)
