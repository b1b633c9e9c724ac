"""A routing daemon in memory."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from ipaddress import ip_network
from typing import Final

from netorch.drivers.base import KernelEvent, Lost
from netorch.drivers.bird.driver import Bird
from netorch.drivers.fake.host import FakeDriver, FakeHost
from netorch.errors import KernelError
from netorch.state.base import KernelObject
from netorch.state.daemons.bgp import Announcement, BgpPeer
from netorch.state.op import Delete, Failure, Op, describe

_ASN_LAST: Final = 0xFFFFFFFF


class FakeBird(FakeDriver):
    """The fake of `netorch.drivers.bird`: operations are carried out all together, or none is."""

    def __init__(self, host: FakeHost, netns: str) -> None:
        super().__init__(host, netns, Bird.kinds)

    def apply(self, ops: Sequence[Op]) -> list[Failure]:
        """Carry out the operations, unless bird would not parse what one of them asks for."""
        if all(isinstance(op, Delete) or _parses(op.obj) for op in ops):
            return super().apply(ops)
        return [Failure(op, KernelError(describe(op), errno.EINVAL, "bird: syntax error")) for op in ops]

    def notifications(self, before: KernelObject | None, after: KernelObject | None) -> list[KernelEvent]:
        """Return that everything must be read again: bird has ended."""
        return [Lost(self.kinds)]


def _parses(obj: KernelObject) -> bool:
    if isinstance(obj, BgpPeer):
        return all(0 < asn <= _ASN_LAST for asn in (obj.local_asn, obj.remote_asn))
    assert isinstance(obj, Announcement)
    try:
        ip_network(obj.prefix)
    except ValueError:
        return False
    return True
