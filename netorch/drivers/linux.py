"""The kernel of a real host: its underlay namespace, which is the creating thread's own, its overlay, and those of edges."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from functools import partial

from netorch.drivers import netns
from netorch.drivers.base import ConnectionTracker, Driver, Underlay
from netorch.drivers.composition import Composition
from netorch.drivers.conntrack.flows import Conntrack
from netorch.drivers.conntrack.tracker import Tracker
from netorch.drivers.namespace_name import NamespaceNames
from netorch.drivers.namespaces import Namespaces
from netorch.drivers.nft.overlay import OverlayNft
from netorch.drivers.nft.tables import Nft
from netorch.drivers.rtnl.driver import Rtnl
from netorch.drivers.rtnl.underlay import UnderlayDevice
from netorch.drivers.spaces import Spaces
from netorch.drivers.sysctl import LOOK_EVERY_S, Sysctls
from netorch.drivers.tc.driver import Tc
from netorch.errors import KernelError
from netorch.state.base import HOST_SLICE, OVERLAY, UNDERLAY
from netorch.state.names import vni_of_netns
from netorch.state.owner import label_of, netns_name, overlay_netns


class LinuxKernel(Composition):
    """Implements `netorch.drivers.base.Kernel`. One thread at a time may use it; which one does not matter."""

    def __init__(self, host: str) -> None:
        """Open the host, and make its overlay namespace when it is absent.

        Raises:
          KernelError: CAP_SYS_ADMIN or CAP_NET_ADMIN is missing, or so is a part of the kernel.
        """
        name = overlay_netns(host)
        underlay, overlay = netns.current(), netns.make(name)
        self._spaces = spaces = Spaces(underlay, overlay)
        try:
            connections = Conntrack(overlay)
            self._nft = (Nft(UNDERLAY, underlay), OverlayNft(overlay, connections.flush_zone))
            self._tracker = Tracker(overlay, connections, self._nft[1].commit)
            self._rtnl = Rtnl(OVERLAY, spaces)
            self._underlay = UnderlayDevice(underlay)
            names = NamespaceNames()
            names.keep(name, overlay)
            sysctls, tc = Sysctls(OVERLAY, overlay, self._rtnl.skip), Tc(OVERLAY, overlay, self._rtnl.names)
            # The namespaces come first: to read a cable is to know where its other end is.
            namespaces = Namespaces(_Furnisher(host, spaces, names), self.join, self.leave)
            super().__init__((namespaces, names, self._underlay, sysctls, self._rtnl, tc, *self._nft))
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
        self._spaces.close()


class _Furnisher:
    """Implements `netorch.drivers.namespaces.Furnisher`."""

    def __init__(self, host: str, spaces: Spaces, names: NamespaceNames) -> None:
        self._host = host
        self._spaces = spaces
        self._names = names
        self._rtnl: dict[str, Rtnl] = {}  # by label

    def labels(self) -> set[str]:
        """Return the labels in the names in /run/netns that are this host's."""
        return {label for name in os.listdir(netns.RUN_NETNS) if (label := label_of(name, self._host))}

    def open(self, label: str) -> Sequence[Driver]:
        """Return the drivers of a namespace, which is made when absent."""
        name = netns_name(self._host, label)
        fd = netns.make(name)
        self._spaces.add(label, fd)
        try:
            self._rtnl[label] = rtnl = Rtnl(label, self._spaces)
            # Only root of the host can set a gateway's sysctls, and there may be many gateways: each dump reads them.
            look_every_s = LOOK_EVERY_S if vni_of_netns(label) == HOST_SLICE else math.inf
            drivers = (Sysctls(label, fd, rtnl.skip, look_every_s), rtnl, Tc(label, fd, rtnl.names), Nft(label, fd))
        except OSError as error:
            self._spaces.remove(label)
            raise KernelError(f"open namespace {name}", error.errno or 0, str(error)) from error
        self._names.keep(name, fd)
        return drivers

    def empty(self, label: str) -> None:
        """Give back the uplinks in a namespace, and delete the cables that lead out of it."""
        try:
            self._rtnl[label].empty()
        except OSError as error:
            raise KernelError(f"empty namespace {netns_name(self._host, label)}", error.errno or 0, str(error)) from error

    def remove(self, label: str) -> None:
        """Remove a namespace: its name, and what we hold of it."""
        name = netns_name(self._host, label)
        del self._rtnl[label]
        self._spaces.remove(label)
        try:
            self._names.remove(name)
        except OSError as error:
            raise KernelError(f"remove namespace {name}", error.errno or 0, str(error)) from error
