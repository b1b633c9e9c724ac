"""netorch's own daemon, in memory: the objects loaded into it."""

from __future__ import annotations

import errno
from ipaddress import ip_address

from netorch.drivers.base import KernelEvent, Lost
from netorch.drivers.fake.host import FakeDriver, FakeHost
from netorch.drivers.services.driver import Services
from netorch.state.base import KernelObject, link_key
from netorch.state.daemons.services.base import ServiceObject


class FakeServices(FakeDriver):
    """The fake of `netorch.drivers.services`."""

    def __init__(self, host: FakeHost, netns: str) -> None:
        super().__init__(host, netns, Services.kinds)

    def check(self, obj: KernelObject) -> None:
        """Refuse an object with a socket that cannot be opened."""
        super().check(obj)
        assert isinstance(obj, ServiceObject)
        for sock in (sock for sock in obj.sockets if sock.ifname):  # other sockets have neither device nor address
            if not self.host.there(link_key(sock.ifname, sock.netns)):
                raise OSError(errno.ENODEV, "")
            try:
                ip_address(sock.address)
            except ValueError as error:
                raise OSError(errno.EINVAL, str(error)) from error

    def notifications(self, before: KernelObject | None, after: KernelObject | None) -> list[KernelEvent]:
        """Return Lost, as after the daemon's exit."""
        return [Lost(self.kinds)]
