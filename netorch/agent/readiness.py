"""Whether an edge lets its kernel answer the probes of hypervisors.

The kernel answers as soon as the underlay has its address, so an edge that boots would get packets before it has gateways. Until
everything that its records ask for has been applied once, and while its own objects cannot be applied, its VTEP is in the set
`unready` (policy.underlay), and hypervisors send to the other edge of the pair. One VPC that cannot be applied is no reason: it
would take away the edge from all others.

The kernel remembers for the agent. A table of the underlay without that element is that of an edge at work, so a restarted agent
changes nothing; an element without an agent is left by one that ended too early.
"""

from __future__ import annotations

from typing import Final

from netorch.agent.problems import PartId
from netorch.agent.slices import Slice
from netorch.state.base import UNDERLAY, Key
from netorch.state.nft import unready

_TABLE: Final[Key] = ("nft-table", UNDERLAY, "ip")
_PART: Final[PartId] = ("readiness", "")


class Readiness:
    """Of one edge."""

    def __init__(self, vtep: str, host: Slice) -> None:
        """Look at what the kernel holds before anything is applied."""
        self._host = host
        self._element = unready(vtep)
        self.is_booting = _TABLE not in host.actual or self._element.key in host.actual

    def concerns(self, key: Key) -> bool:
        """Return whether a key is the element's, which no record asks for."""
        return key == self._element.key

    def update(self, *, degraded: bool) -> None:
        """Ask for the element, or not; `degraded`: the host's own objects cannot be applied."""
        self._host.set_part(_PART, {self._element.key: self._element} if self.is_booting or degraded else {})
