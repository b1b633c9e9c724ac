"""The routes of route tables, as routes of the VRFs that stand for them.

    in force in the table          in the VRF's
    local route of a VPC's range   nothing, where no wider route is: the range's addresses are there one by one, as mappings and
                                   ports; else `unreachable RANGE`, so that a wider route takes no packet to an address that
                                   nobody has, and nobody is told in ARP that somebody has it
    black hole                     `blackhole PREFIX`
    route to a target              what `_WAYS` has for its kind; a black hole, if that is nothing

Which routes are in force, and which targets take packets, netorch.model.routing.effective decides. Here a kind of target becomes
kernel objects: a new one is a function and its line in `_WAYS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from netorch.compiler.base import HostView, TableRoutes, VpcPart, VpcView
from netorch.model.routing.effective import Effective
from netorch.model.routing.target import TargetKind
from netorch.model.vpc import Vpc
from netorch.state.base import KernelObject
from netorch.state.l3 import BLACKHOLE, IPV6_METRIC, UNREACHABLE, Route
from netorch.state.names import vrf_table

# Worse than whatever way there is to an address of a peer: a route may name a single one.
PEERING_METRIC: Final = 8192

Way = Callable[[VpcView, TableRoutes, Effective], Iterable[KernelObject]]


def _routes(view: VpcView) -> Iterator[KernelObject]:
    """Yield the routes of every table in use. Cost: O(routes of these tables)."""
    for table in view.of(TableRoutes):
        for route in table.routes:
            if route.prefix.version == 4 or view.dual_stack:
                yield from _WAYS.get(route.target.kind, _blackhole)(view, table, route)


def _local(view: VpcView, table: TableRoutes, route: Effective) -> Iterator[KernelObject]:
    if any(other is not route and other.prefix.contains(route.prefix) for other in table.routes):
        yield _nowhere(view, table, route, UNREACHABLE)


def _blackhole(view: VpcView, table: TableRoutes, route: Effective) -> Iterator[KernelObject]:
    yield _nowhere(view, table, route, BLACKHOLE)


def _nowhere(view: VpcView, table: TableRoutes, route: Effective, kind: str, metric: int = 0) -> Route:
    metric = metric or (IPV6_METRIC if route.prefix.version == 6 else 0)
    return Route(vni=view.vni, table=vrf_table(view.vni, table.number), dst=str(route.prefix), type=kind, metric=metric)


def _peering(view: VpcView, table: TableRoutes, route: Effective) -> Iterator[KernelObject]:
    """Yield a black hole: the peer's addresses are in the table one by one, and nothing else is reached by the connection."""
    yield _nowhere(view, table, route, BLACKHOLE, PEERING_METRIC)


_WAYS: Final[Mapping[TargetKind, Way]] = {
    TargetKind.LOCAL: _local,
    TargetKind.BLACKHOLE: _blackhole,
    TargetKind.PEERING: _peering,
}

ROUTES: Final = VpcPart(id="vrf.routes", compile=_routes, inputs=frozenset({HostView, Vpc, TableRoutes}))
