"""The kernel of a real host: its underlay namespace, which is the creating thread's own, and its overlay namespace."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial

from netorch.drivers import netns
from netorch.drivers.base import ConnectionTracker, Underlay
from netorch.drivers.composition import Composition
from netorch.drivers.conntrack.flows import Conntrack
from netorch.drivers.conntrack.tracker import Tracker
from netorch.drivers.namespace_name import NamespaceName
from netorch.drivers.nft.overlay import OverlayNft
from netorch.drivers.nft.tables import Nft
from netorch.drivers.rtnl.driver import Rtnl
from netorch.drivers.rtnl.underlay import UnderlayDevice
from netorch.drivers.sysctl import Sysctls
from netorch.drivers.tc.driver import Tc
from netorch.errors import KernelError
from netorch.state.base import OVERLAY, UNDERLAY
from netorch.state.owner import overlay_netns


class LinuxKernel(Composition):
    """Implements `netorch.drivers.base.Kernel`. One thread at a time may use it; which one does not matter."""

    def __init__(self, host: str) -> None:
        """Open the host, and make its overlay namespace when it is absent.

        Raises:
          KernelError: CAP_SYS_ADMIN or CAP_NET_ADMIN is missing, or so is a part of the kernel.
        """
        name = overlay_netns(host)
        self._underlay_fd = underlay = netns.current()
        self._overlay_fd = overlay = netns.make(name)
        try:
            connections = Conntrack(overlay)
            self._nft = (Nft(UNDERLAY, underlay), OverlayNft(overlay, connections.flush_zone))
            self._tracker = Tracker(overlay, connections, self._nft[1].commit)
            self._rtnl = Rtnl(overlay, underlay)
            self._underlay = UnderlayDevice(underlay)
            sysctls, tc = Sysctls(overlay, self._rtnl.skip), Tc(overlay, self._rtnl.names)
            super().__init__((NamespaceName(name, overlay), self._underlay, sysctls, self._rtnl, tc, *self._nft))
        except OSError as error:
            raise KernelError(f"open namespace {name}", error.errno or 0, str(error)) from error
        self.identity = netns.identity(overlay)
        self.claim = partial(netns.claim, overlay)  # how to be its one agent, as long as what it returns is held
        self.trackers: Mapping[str, ConnectionTracker] = {OVERLAY: self._tracker}

    def underlay(self, vtep: str) -> Underlay | None:
        """Return the device that holds the VTEP address, or None; from now on changes of it are events."""
        return self._underlay.find(vtep)

    def counters(self) -> dict[str, int]:
        """Return the packets counted by our named nft counters, and those that the kernel had no room for."""
        return {name: count for part in (*self._nft, self._tracker) for name, count in part.counters().items()}

    def left_alone(self, ifname: str) -> str:
        """Return what was in an instance's namespace when its port was plugged, and was left alone, or nothing."""
        return self._rtnl.left_alone(ifname)

    def close(self) -> None:
        """Let go of sockets; everything in the kernel stays."""
        self._tracker.close()
        super().close()
        os.close(self._overlay_fd)
        os.close(self._underlay_fd)
