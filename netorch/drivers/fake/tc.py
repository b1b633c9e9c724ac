"""The traffic control operations that Linux would refuse."""

from __future__ import annotations

import errno

from netorch.drivers.fake.host import FakeDriver, FakeHost
from netorch.drivers.tc.driver import Tc
from netorch.state.base import KernelObject
from netorch.state.tc import StrangeFilter, TcFilter


class FakeTc(FakeDriver):
    """The fake of `netorch.drivers.tc.driver`."""

    def __init__(self, host: FakeHost, netns: str) -> None:
        super().__init__(host, netns, Tc.kinds)

    def check(self, obj: KernelObject) -> None:
        if isinstance(obj, TcFilter):
            if obj.needs is not None and not self.host.there(obj.needs):
                raise OSError(errno.ENODEV, "")
            if not self.host.there(obj.parent or ()):
                raise OSError(errno.EINVAL, "the device has no clsact")
            if any(_at_its_pref(obj, other) for other in self.host.objects.values()):
                raise OSError(errno.EINVAL, "its pref already has filters of another kind or protocol")
        super().check(obj)


def _at_its_pref(obj: TcFilter, other: KernelObject) -> bool:
    return isinstance(other, StrangeFilter) and (other.ifname, other.hook, other.pref) == (obj.ifname, obj.hook, obj.pref)
