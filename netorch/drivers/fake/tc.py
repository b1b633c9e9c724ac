"""What Linux refuses of traffic control."""

from __future__ import annotations

import errno

from netorch.drivers.fake.host import FakeDriver, FakeHost
from netorch.drivers.tc.driver import Tc
from netorch.state.base import OVERLAY, KernelObject
from netorch.state.tc import TcFilter


class FakeTc(FakeDriver):
    """The fake of `netorch.drivers.tc.driver`."""

    def __init__(self, host: FakeHost) -> None:
        super().__init__(host, OVERLAY, Tc.kinds)

    def check(self, obj: KernelObject) -> None:
        if isinstance(obj, TcFilter):
            if obj.needs is not None and not self.host.there(obj.needs):
                raise OSError(errno.ENODEV, "")
            if not self.host.there(obj.parent or ()):
                raise OSError(errno.EINVAL, "the device has no clsact")
        super().check(obj)
