"""Chains of ports: where they hook in, and how they are read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from netorch.state.names import vni_of_ifname
from netorch.state.nft import PortChain

FAMILY: Final = "netdev"
PRIORITY: Final = -500  # before everything else that looks at what comes in


def read_chain(ifname: str, lines: Sequence[str]) -> PortChain:
    """Return the chain that is listed as these lines. One at another hook is shown without the rules that it has."""
    first, *rules = lines or ("",)
    return PortChain(vni=vni_of_ifname(ifname), ifname=ifname, rules=tuple(rules) if first == hook(ifname) else ())


def hook(device: str) -> str:
    """Return where the chain of a device hooks in, and that it drops what no rule lets pass."""
    return f"type filter hook ingress device {device} priority {PRIORITY}; policy drop;"
