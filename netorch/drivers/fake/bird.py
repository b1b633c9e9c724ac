"""An in-memory routing daemon."""

from __future__ import annotations

import errno
from ipaddress import ip_network
from typing import Final

from netorch.drivers.base import KernelEvent, Lost
from netorch.drivers.bird.config import Config
from netorch.drivers.bird.customers import problem_of
from netorch.drivers.fake.host import FakeDriver, FakeHost
from netorch.state.base import KernelObject
from netorch.state.daemons.bgp import Announcement, BgpPeer, CustomerPeer

_ASN_LAST: Final = 0xFFFFFFFF


class FakeBird(FakeDriver):
    """The fake of `netorch.drivers.bird`, for the border or for customers."""

    def __init__(self, host: FakeHost, netns: str, of: type[Config]) -> None:
        super().__init__(host, netns, of.kinds)

    def check(self, obj: KernelObject) -> None:
        """Refuse objects that bird would not parse."""
        super().check(obj)
        if not _parses(obj):
            raise OSError(errno.EINVAL, "bird: syntax error")

    def notifications(self, before: KernelObject | None, after: KernelObject | None) -> list[KernelEvent]:
        """Return Lost, as after bird's exit."""
        return [Lost(self.kinds)]


def _parses(obj: KernelObject) -> bool:
    if isinstance(obj, CustomerPeer):
        return not problem_of(obj)
    if isinstance(obj, BgpPeer):
        return all(0 < asn <= _ASN_LAST for asn in (obj.local_asn, obj.remote_asn))
    assert isinstance(obj, Announcement)
    try:
        ip_network(obj.prefix)
    except ValueError:
        return False
    return True
