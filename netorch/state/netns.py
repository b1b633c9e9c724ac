"""The namespaces of edges besides underlay and overlay: the outside, and one for each gateway that tracks connections."""

from __future__ import annotations

from typing import ClassVar

from netorch.state.base import UNDERLAY, KernelObject, Key, namespace_key
from netorch.state.order import Order


class Namespace(KernelObject, frozen=True, kw_only=True):
    """A network namespace. All its objects are deleted with it. Its name in /run/netns has the host and the label.

    An object is in it if its `netns` is the label: OUTSIDE, or the id of a gateway, e.g. "nat-00138800000000abc". A
    gateway's namespace and the objects in it belong to the gateway's VPC.
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
