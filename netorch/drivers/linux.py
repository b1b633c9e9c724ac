"""The kernel of a real host: its underlay namespace (that of the creating thread), its overlay, and those of edges."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from netorch.drivers import netns
from netorch.drivers.base import ConnectionTracker, Count, CustomerSession, LearnedRoute, Underlay
from netorch.drivers.bird.customers import Customers
from netorch.drivers.bird.driver import Bird, customers_directory
from netorch.drivers.bird.password import SealedPasswords
from netorch.drivers.composition import Composition, as_kernel_error
from netorch.drivers.conntrack.flows import Conntrack
from netorch.drivers.conntrack.tracker import Tracker
from netorch.drivers.daemons.sealing import EdgeKey
from netorch.drivers.further import FurtherNamespaces
from netorch.drivers.namespace_name import NamespaceNames
from netorch.drivers.namespaces import Namespaces
from netorch.drivers.nft.overlay import OverlayNft
from netorch.drivers.nft.tables import Nft
from netorch.drivers.probe.echoes import RawEchoes
from netorch.drivers.probe.knocks import TcpKnocks
from netorch.drivers.rtnl.driver import Rtnl
from netorch.drivers.rtnl.underlay import UnderlayDevice
from netorch.drivers.services.driver import Services, services_directory
from netorch.drivers.spaces import Spaces
from netorch.drivers.sysctl import Sysctls
from netorch.drivers.tc.driver import Tc
from netorch.errors import KernelError
from netorch.model.status import BorderSession, TunnelStatus
from netorch.state.base import OVERLAY, UNDERLAY, Key
from netorch.state.daemons.bgp import CustomerPeer
from netorch.state.owner import overlay_netns


class LinuxKernel(Composition):
    """Implements `netorch.drivers.base.Kernel`. Only one thread at a time may use it, but any thread may."""

    def __init__(self, host: str, key: EdgeKey | None = None) -> None:
        """Open the host, and create its overlay namespace if absent. Without a key, sealed secrets cannot be decrypted.

        Raises:
          KernelError: CAP_SYS_ADMIN or CAP_NET_ADMIN is missing, or the kernel lacks a feature.
        """
        name = overlay_netns(host)
        underlay, overlay = netns.current(), netns.make(name)
        self._spaces = spaces = Spaces(underlay, overlay)
        try:
            connections = Conntrack(overlay)
            self._nft = (Nft(UNDERLAY, underlay), OverlayNft(overlay, connections.flush_zone))
            self._trackers = {OVERLAY: Tracker(overlay, connections, self._nft[1].commit)}
            self._rtnl = Rtnl(OVERLAY, spaces)
            self._underlay = UnderlayDevice(underlay)
            names = NamespaceNames()
            names.keep(name, overlay)
            sysctls = Sysctls(OVERLAY, overlay, self._rtnl.skip)
            self._tc = Tc(OVERLAY, overlay, self._rtnl.names)
            self._further = FurtherNamespaces(host, spaces, names, self._trackers, key)
            # Namespaces come first: reading a veth pair requires its other end's namespace to be open.
            namespaces = Namespaces(self._further, self.join, self.leave)
            passwords = SealedPasswords(key)
            self._bird = Bird(OVERLAY, overlay, customers_directory(host), Customers, passwords, self._rtnl.remove_learned)
            self._services = services = Services(UNDERLAY, spaces, services_directory(host, UNDERLAY))
            drivers = (namespaces, names, self._underlay, sysctls, self._rtnl, self._tc, *self._nft, self._bird, services)
            super().__init__(drivers)
        except OSError as error:
            raise KernelError(f"open namespace {name}", error.errno or 0, str(error)) from error
        self.identity = netns.identity(overlay)
        self.public_key = key.public if key is not None else ""
        self.claim = partial(netns.claim, overlay)  # claims the namespace for the only agent while the returned socket is open
        self.trackers: Mapping[str, ConnectionTracker] = self._trackers  # trackers of gateways come and go

    def underlay(self, vtep: str) -> Underlay | None:
        """Return the device that holds the VTEP address, or None; from now on its changes are reported as events."""
        return self._underlay.find(vtep)

    def has_carrier(self, ifname: str) -> bool:
        """Return whether a device in the outside namespace exists, is up, and is connected to something. Raises KernelError."""
        return self._further.has_carrier(ifname)

    def echoes(self, source: str) -> RawEchoes:
        """Return a socket for echoes in the underlay namespace. Raises KernelError."""
        return RawEchoes(self._spaces.fds[UNDERLAY], source)

    def knocks(self) -> TcpKnocks:
        """Return an object that probes targets from gateways' namespaces."""
        return TcpKnocks(self._spaces.fds)

    def counters(self) -> dict[str, int]:
        """Return the packet counts of netorch's named nft counters, and of packets that the kernel had no room for."""
        found = self._trackers[OVERLAY].counters()
        for tables in (*self._nft, *self._further.shared_tables()):
            found |= tables.counters()
        return found

    def filter_counts(self, ifname: str) -> dict[Key, Count]:
        """Return the counters of each tc filter on a device of the overlay."""
        return self._tc.counts(ifname)

    def gateway_counters(self, netns: str) -> dict[str, Count]:
        """Return the packet counts of a gateway's namespace. Raises KernelError."""
        return self._further.gateway_counters(netns)

    def service_counts(self) -> Mapping[str, Mapping[str, int]]:
        """Return the counters of the daemons that serve instances. Raises KernelError."""
        with as_kernel_error("count what the daemons serve"):
            return {**self._services.counts(), **self._further.service_counts()}

    def left_alone(self, ifname: str) -> str:
        """Return what was found in an instance's namespace and kept when its port was plugged; empty if nothing."""
        return self._rtnl.left_alone(ifname)

    def border_sessions(self) -> tuple[BorderSession, ...]:
        """Return the states of the BGP sessions with the border router. Raises KernelError."""
        with as_kernel_error("ask bird for its sessions with the border router"):
            return self._further.border_sessions()

    def tunnels(self) -> Mapping[str, TunnelStatus]:
        """Return the states of the tunnels. Raises KernelError."""
        with as_kernel_error("ask charon for its tunnels"):
            return self._further.tunnels()

    def customer_sessions(self) -> Mapping[str, CustomerSession]:
        """Return the states of the BGP sessions with customers' routers. Raises KernelError."""
        with as_kernel_error("ask bird for its sessions with customers"):
            return {peer.name: found for peer, found in self._bird.sessions() if isinstance(peer, CustomerPeer)}

    def learned(self, table: int) -> tuple[LearnedRoute, ...]:
        """Return the routes that customers' routers announced into a routing table. Raises KernelError."""
        return self._rtnl.learned(table)

    def close(self) -> None:
        """Close sockets; everything in the kernel stays."""
        for tracker in self._trackers.values():
            tracker.close()
        super().close()
        self._spaces.close()
