"""Whether an edge says that it is fit to carry packets: an element of the underlay's table, which hypervisors' probes ask for.

The agent decides (netorch.agent.tasks.readiness). The element comes after everything else was applied, and goes before anything
else does because of the same reason. It is in the kernel, so an edge whose agent is killed stays ready.

Another element says whether the edge is active: whether its seats of gateways that keep state are to be used
(netorch.agent.liveness). It counts only together with the first one.
"""

from __future__ import annotations

from collections.abc import Iterator

from netorch.compiler.base import Carried, HostView
from netorch.state.base import UNDERLAY, KernelObject
from netorch.state.nft import ACTIVE, READY, NftElement


def ready(vtep: str) -> NftElement:
    """Return the element by which an edge says at its VTEP that it is ready."""
    return NftElement(netns=UNDERLAY, family="ip", set=READY, items=(vtep,))


def active(vtep: str) -> NftElement:
    """Return the element by which an edge says at its VTEP that its seats of stateful gateways are to be used."""
    return NftElement(netns=UNDERLAY, family="ip", set=ACTIVE, items=(vtep,))


def compile_readiness(view: HostView, _carried: Carried) -> Iterator[KernelObject]:
    """Yield the elements of an edge that is ready, and active."""
    if view.ready:
        yield ready(view.vtep)
    if view.active:
        yield active(view.vtep)
