"""Namespaces that edges have beside underlay and overlay: the outside, and one for each gateway that tracks connections."""

from __future__ import annotations

from typing import ClassVar

from netorch.state.base import UNDERLAY, KernelObject, Key, namespace_key
from netorch.state.order import Order


class Namespace(KernelObject, frozen=True, kw_only=True):
    """A network namespace; all that is in it goes with it. Its name in /run/netns is that of the host and the label.

    An object is in it when its `netns` is the label: OUTSIDE, or the id of a gateway, e.g. "nat-00138800000000abc". What a
    gateway's holds belongs to the gateway's VPC, as the namespace does.
    """

    kind: ClassVar[str] = "netns"
    has_children: ClassVar[bool] = True
    order: ClassVar[int] = Order.NETNS

    netns: str = UNDERLAY
    label: str

    @property
    def key(self) -> Key:
        key = namespace_key(self.label)
        assert key is not None, "underlay and overlay are no objects"
        return key

    @property
    def parent(self) -> Key | None:
        return None

    def text(self) -> str:
        return f"netns {self.label}"
