"""Chains at the ingress of devices: those of ports, and the guards before flowtables. Their hooks, and how they are read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from netorch.state.names import vni_of_ifname
from netorch.state.nft import PortChain

FAMILY: Final = "netdev"  # of the chains of ports; guards are in the inet table
PRIORITIES: Final = {FAMILY: -500, "inet": -495}  # by family: ports before guards, and both before all other ingress chains
ALTERED: Final = "?"

_GUARD: Final = re.compile(r"guard-[0-9a-f]{6}-(.+)")


def read_chain(ifname: str, lines: Sequence[str]) -> PortChain:
    """Return the chain listed as these lines. A chain at another hook is reported without rules."""
    first, *rules = lines or ("",)
    return PortChain(vni=vni_of_ifname(ifname), ifname=ifname, rules=tuple(rules) if first == hook(ifname) else ())


def hook(device: str, family: str = FAMILY) -> str:
    """Return the hook of a device's chain in the table of a family, with policy drop."""
    return f"type filter hook ingress device {device} priority {PRIORITIES[family]}; policy drop;"


def guard_name(ifname: str) -> str:
    """Return the name of a device's guard, e.g. `guard-001388-vx5000`."""
    return f"guard-{vni_of_ifname(ifname):06x}-{ifname}"


def guarded(chain: str) -> str:
    """Return the device whose guard has this name; empty for other chains."""
    found = _GUARD.fullmatch(chain)
    return found[1] if found is not None and guard_name(found[1]) == chain else ""


def read_guard(ifname: str, lines: Sequence[str]) -> tuple[str, ...]:
    """Return the rules of the guard listed as these lines. A guard at another hook is reported as one rule, ALTERED."""
    first, *rules = lines or ("",)
    return tuple(rules) if first == hook(ifname, "inet") else (ALTERED,)
