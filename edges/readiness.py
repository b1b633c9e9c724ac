"""Readiness of an edge to carry packets: an element of the underlay's table, which hypervisors' probes query.

The agent decides (netorch.agent.tasks.readiness). It adds the element after all other objects, and deletes it before any
others that the same cause takes away. The element is in the kernel, so an edge stays ready when its agent is killed.

Another element means that the edge is active: hosts use its seats of gateways that keep state (netorch.agent.liveness). It
only counts together with the first one.
"""

from __future__ import annotations

from collections.abc import Iterator

from netorch.compiler.base import Carried, HostView
from netorch.state.base import UNDERLAY, KernelObject
from netorch.state.nft import ACTIVE, READY, NftElement


def ready(vtep: str) -> NftElement:
    """Return the element that marks an edge as ready at its VTEP."""
    return NftElement(netns=UNDERLAY, family="ip", set=READY, items=(vtep,))


def active(vtep: str) -> NftElement:
    """Return the element that marks an edge as active at its VTEP: hosts use its seats of stateful gateways."""
    return NftElement(netns=UNDERLAY, family="ip", set=ACTIVE, items=(vtep,))


def compile_readiness(view: HostView, _carried: Carried) -> Iterator[KernelObject]:
    """Yield the elements of an edge that is ready, and active."""
    if view.ready:
        yield ready(view.vtep)
    if view.active:
        yield active(view.vtep)
