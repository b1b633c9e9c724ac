"""charon in memory: the connections that it was told of. What their SAs do a test says (`FakeKernel.set_tunnel`)."""

from __future__ import annotations

import errno
from typing import Final

from netorch.drivers.base import KernelEvent, Lost
from netorch.drivers.charon.driver import Charon
from netorch.drivers.fake.host import FakeDriver, FakeHost
from netorch.state.base import KernelObject
from netorch.state.daemons.ike import IkeConnection

UNOPENABLE: Final = ""  # a secret that cannot be opened; all others can


class FakeCharon(FakeDriver):
    """The fake of `netorch.drivers.charon`."""

    def __init__(self, host: FakeHost, netns: str) -> None:
        super().__init__(host, netns, Charon.kinds)

    def check(self, obj: KernelObject) -> None:
        """Refuse what charon refuses, and a secret that cannot be opened."""
        super().check(obj)
        assert isinstance(obj, IkeConnection)
        if obj.secret == UNOPENABLE:
            raise OSError(errno.EKEYREJECTED, "it was not sealed for the key that this edge has; set it again")

    def notifications(self, before: KernelObject | None, after: KernelObject | None) -> list[KernelEvent]:
        """Return that everything must be read again: charon has ended."""
        return [Lost(self.kinds)]
