"""The flow logs of a host: read the sources into the ledger, and write its lines to files when an interval ends.

At an interval's end a walk reads the counts of the living connections; the lines are written when the walk ends.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping

from netorch.agent.flowlog.files import LogFiles
from netorch.agent.flowlog.gateways import GatewayDrop
from netorch.agent.flowlog.ledger import Ledger, Target
from netorch.drivers.conntrack.sources import FlowSources, Heard
from netorch.errors import KernelError
from netorch.model.drop_reason import SUPPRESSED, code_of
from netorch.state.base import HOST_SLICE
from netorch.state.names import vni_of_ifname
from netorch.state.nft import DROPPED_ESTABLISHED, DROPPED_REPLY

log = logging.getLogger(__name__)

RETRY_S = 10.0  # after the kernel refused a request


class FlowLogger:
    """Owned by the agent's loop, which calls `turn` when `fileno` is readable and after `wait_s`."""

    def __init__(self, sources: FlowSources, files: LogFiles, clock: Callable[[], float] = time.time) -> None:
        self._sources = sources
        self._files = files
        self._clock = clock
        self._ledger = Ledger()
        self._vni_of: dict[int, int] = {}  # zone -> VNI
        self._gateways: dict[str, set[int]] = {}  # namespace -> VNIs of the VPCs that log its traffic
        self._listening: frozenset[int | str] = frozenset()  # zones, and gateways
        self._fresh: set[str] = set()  # logs whose connections still have older counts
        self._walking_for: set[str] = set()
        self._retry_at = 0.0
        self._trouble = ""

    def configure(self, targets: Iterable[Target], zones: Mapping[int, int]) -> None:
        """Log these from now on; `zones` are the conntrack zones of VPCs that have instances' interfaces here, by VNI."""
        wanted = list(targets)
        new = [target for target in wanted if target.log.id not in self._ledger.logs]
        resumed = frozenset(target.log.id for target in new if self._has_file(target))
        for finished in self._ledger.configure(wanted, self._clock(), resumed):
            self._files.append(finished)
        self._fresh |= {target.log.id for target in new} - resumed
        self._vni_of = {zone: vni for vni, zone in zones.items()}
        self._gateways = {}
        for each in (each for target in wanted for each in target.interfaces if each.gateway):
            self._gateways.setdefault(each.gateway, set()).add(each.vni)
        self._retry_at = 0.0
        self._listen()

    def fileno(self) -> int:
        """Return a descriptor that is readable when there is something to read."""
        return self._sources.fileno()

    def wait_s(self) -> float | None:
        """Return in how many seconds `turn` is due; None: not before an event."""
        end = self._ledger.next_end()
        if end is None:
            return None
        if not self._listening or self._sources.walking:
            return RETRY_S
        now = self._clock()
        return 0.0 if self._ledger.is_due(now) else end - now

    def turn(self) -> None:
        """Take in a part of the events, and write the intervals that have ended; never blocks for long."""
        if not self._ledger.logs:
            return
        try:
            self._listen()
            self._take()
            self._advance()
        except (KernelError, OSError) as error:
            self._fail(str(error))

    def close(self) -> None:
        """Write the running intervals. Counts of living connections are left for the next run."""
        if self._ledger.logs and self._listening:
            self._absorb(self._sources.read())
            self._write(everything=True)
        self._sources.close()

    def _has_file(self, target: Target) -> bool:
        first = target.interfaces[0]
        return self._files.exists(first.owner, first.vpc, target.log.id)

    def _listen(self) -> None:
        wanted: frozenset[int | str] = frozenset((*self._vni_of, *self._gateways)) if self._ledger.logs else frozenset()
        if wanted == self._listening or 0.0 < self._retry_at - self._clock() <= RETRY_S:  # more: the clock was set back
            return
        try:
            self._sources.listen(self._vni_of if wanted else (), self._gateways if wanted else ())
        except (KernelError, OSError) as error:
            self._fail(str(error))
            return
        self._listening = wanted
        self._trouble = ""

    def _fail(self, reason: str) -> None:
        if reason != self._trouble:
            log.warning("flow logs miss traffic reason=%r", reason)
        self._trouble = reason
        self._retry_at = self._clock() + RETRY_S
        self._listening = frozenset()
        self._ledger.lose()
        self._sources.listen(())

    def _take(self) -> None:
        was_walking = self._sources.walking
        self._absorb(self._sources.read())
        if was_walking and not self._sources.walking:
            self._ledger.count_from_now(self._walking_for)
            self._fresh -= self._walking_for
            self._walking_for = set()
            self._write()

    def _absorb(self, heard: Heard) -> None:
        now = self._clock()
        if heard.lost:
            self._ledger.lose()
        for connection in heard.connections:
            vni = self._vni_of.get(connection.zone)
            if vni is not None:
                self._ledger.accept(vni, connection, now)
        for packet in heard.dropped:
            vni = vni_of_ifname(packet.indev)
            if packet.reason == SUPPRESSED:
                self._ledger.lose_of(vni)
            headers = packet.headers if code_of(packet.reason) else None  # else the drop does not concern the customer
            if vni != HOST_SLICE and headers is not None:
                established = bool(packet.mark & DROPPED_ESTABLISHED)
                self._ledger.drop(vni, headers, packet.reason, packet.at_s or now, established=established)
        for gateway, found in heard.gateways.items():
            self._absorb_gateway(gateway, found, now)

    def _absorb_gateway(self, gateway: str, heard: Heard, now: float) -> None:
        vnis = self._gateways.get(gateway, ())
        if not vnis:
            return
        if heard.lost or any(packet.reason == SUPPRESSED for packet in heard.dropped):
            for vni in vnis:
                self._ledger.lose_of(vni)
        for connection in heard.connections:
            self._ledger.accept_translated(gateway, connection, now)
        for packet in heard.dropped:
            headers = packet.headers if packet.reason != SUPPRESSED else None
            if headers is not None:
                established, reply = bool(packet.mark & DROPPED_ESTABLISHED), bool(packet.mark & DROPPED_REPLY)
                drop = GatewayDrop(reason=packet.reason, established=established, reply=reply)
                self._ledger.drop_at_gateway(gateway, headers, drop, packet.at_s or now)

    def _advance(self) -> None:
        due = self._ledger.is_due(self._clock())
        if (due or self._fresh) and self._listening and not self._sources.walking:
            self._walking_for = set(self._fresh)
            self._sources.walk()
        elif due and not self._listening:
            self._write()

    def _write(self, *, everything: bool = False) -> None:
        for finished in self._ledger.finish(self._clock(), everything=everything):
            if not self._files.append(finished):
                self._ledger.skip(finished.log.id)
