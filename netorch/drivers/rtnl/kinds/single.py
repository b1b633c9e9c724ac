"""Devices that are created one by one, because the messages for each depend on what exists."""

from __future__ import annotations

from netorch.drivers.netlink import Channel, Message, NetlinkError
from netorch.drivers.rtnl import encode
from netorch.drivers.rtnl.devices import Place
from netorch.drivers.rtnl.entries import failure
from netorch.drivers.spaces import Spaces
from netorch.state.op import Failure, Op


class Single:
    """Base class of creators of one kind of device in one namespace."""

    def __init__(self, channel: Channel, place: Place, spaces: Spaces, index_of: encode.IndexOf) -> None:
        self._channel = channel
        self._place = place
        self._spaces = spaces
        self._index_of = index_of

    def make(self, ops: list[Op]) -> list[Failure]:
        """Create, finish or change devices in order; return the refused operations."""
        refusals = ((op, self._make(op)) for op in ops)
        return [failure(op, refusal) for op, refusal in refusals if refusal is not None]

    def _make(self, op: Op) -> NetlinkError | None:
        raise NotImplementedError

    def _send(self, messages: list[Message]) -> NetlinkError | None:
        """Send messages in one batch; return the first refusal."""
        refused = self._channel.batch(messages)
        return refused[min(refused)] if refused else None
