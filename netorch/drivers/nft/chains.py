"""Chains of ports: their hook, and how they are read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from netorch.state.names import vni_of_ifname
from netorch.state.nft import PortChain

FAMILY: Final = "netdev"
PRIORITY: Final = -500  # before all other ingress chains


def read_chain(ifname: str, lines: Sequence[str]) -> PortChain:
    """Return the chain listed as these lines. A chain at another hook is reported without rules."""
    first, *rules = lines or ("",)
    return PortChain(vni=vni_of_ifname(ifname), ifname=ifname, rules=tuple(rules) if first == hook(ifname) else ())


def hook(device: str) -> str:
    """Return the hook of a device's chain, with policy drop."""
    return f"type filter hook ingress device {device} priority {PRIORITY}; policy drop;"
