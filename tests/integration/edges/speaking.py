"""The outskirts, with edges that announce their pool to a border router."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from netorch.control.views.health import read_health
from netorch.model.eni import Host, Role
from netorch.records import keys
from netorch.records.codec import encode
from tests.integration.edges.border import ASN, Border
from tests.rig.outskirts import BORDER, EDGES, POOL, POOL6, UPLINKS, Outskirts
from tests.rig.world import wait_for

AS_OF_EDGES = 64601
ADDRESSES = {edge: UPLINKS[edge].address.partition("/")[0] for edge in EDGES}
BOTH = set(ADDRESSES.values())


class Speaking:
    """The outskirts, with a border router that learns from the edges where the pool is."""

    def __init__(self, outskirts: Outskirts, directory: Path) -> None:
        self.outskirts = outskirts
        self.world = outskirts.world
        for edge in EDGES:
            self._let_speak(edge)
        outskirts.pair_up()
        with outskirts.rtnl(BORDER) as ipr:
            for pool in (POOL, POOL6):
                ipr.route("del", dst=pool)
        self.border = Border(BORDER, directory, {edge: (ADDRESSES[edge], AS_OF_EDGES) for edge in EDGES})

    def _let_speak(self, name: str) -> None:
        uplink = msgspec.structs.replace(UPLINKS[name], asn=AS_OF_EDGES, gateway_asn=ASN)
        record = Host(name=name, underlay=self.world.hosts[name].vtep, role=Role.EDGE, pair="west", uplink=uplink)
        self.outskirts.put(keys.host_spec(name), encode(record))

    def wait_for_both(self) -> None:
        """Wait until the border sends to both edges."""
        wait_for(lambda: self.border.next_hops(POOL) == BOTH, "both edges to be used", 60.0)

    def states(self) -> dict[str, list[str]]:
        """Return the states of the sessions that `netorch status` shows."""
        hosts = read_health(self.world.store, time.time()).hosts
        return {host.name: [session.state for session in host.border] for host in hosts if host.border}

    def problems(self, edge: str) -> list[str]:
        """Return the problems of an edge's session in `netorch status`."""
        return [text for text in read_health(self.world.store, time.time()).problems if f"host {edge}: its BGP" in text]
