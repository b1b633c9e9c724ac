"""A host's namespaces other than underlay and overlay, and their drivers."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence

from netorch.drivers import netns
from netorch.drivers.base import Count, Driver
from netorch.drivers.bird.border import Border
from netorch.drivers.bird.driver import Bird, border_directory
from netorch.drivers.bird.password import PasswordFile
from netorch.drivers.charon import driver as charon
from netorch.drivers.charon.driver import Charon
from netorch.drivers.conntrack.flows import Conntrack
from netorch.drivers.conntrack.tracker import GatewayTracker, Tracker
from netorch.drivers.daemons.sealing import EdgeKey
from netorch.drivers.namespace_name import NamespaceNames
from netorch.drivers.nft.tables import Nft
from netorch.drivers.rtnl.driver import Rtnl
from netorch.drivers.services.driver import Services, services_directory
from netorch.drivers.spaces import Spaces
from netorch.drivers.sysctl import LOOK_EVERY_S, Sysctls
from netorch.drivers.tc.driver import Tc
from netorch.errors import KernelError
from netorch.model.status import BorderSession, TunnelStatus
from netorch.state.base import HOST_SLICE, OUTSIDE
from netorch.state.names import vni_of_netns
from netorch.state.owner import label_of, netns_name


class FurtherNamespaces:
    """Implements `netorch.drivers.namespaces.Furnisher`."""

    def __init__(
        self, host: str, spaces: Spaces, names: NamespaceNames, trackers: dict[str, Tracker], key: EdgeKey | None
    ) -> None:
        """Take the host's open namespaces, their names, its trackers (those of gateways are added to them), and its key."""
        self._host = host
        self._key = key
        self._spaces = spaces
        self._names = names
        self._trackers = trackers
        self._rtnl: dict[str, Rtnl] = {}  # by label
        self._nft: dict[str, Nft] = {}
        self._bird: Bird[Border] | None = None  # in the outside namespace
        self._charon: Charon | None = None  # in the outside namespace
        self._services: Services | None = None  # in the outside namespace

    def labels(self) -> set[str]:
        """Return the labels of this host's namespaces in /run/netns."""
        labels = {label_of(name, self._host): name for name in os.listdir(netns.RUN_NETNS)}
        return {label for label, name in labels.items() if label and netns.exists(name)}

    def make(self, label: str) -> None:
        """Create a namespace if absent."""
        os.close(netns.make(netns_name(self._host, label)))

    def open(self, label: str) -> Sequence[Driver]:
        """Return the drivers of a namespace."""
        name = netns_name(self._host, label)
        fd = netns.find(name, follow=False)
        self._spaces.add(label, fd)
        try:
            drivers = self._drivers(label, fd)
        except OSError as error:
            self._spaces.remove(label)
            raise KernelError(f"open namespace {name}", error.errno or 0, str(error)) from error
        except KernelError:
            self._spaces.remove(label)
            raise
        self._names.keep(name, fd)
        return drivers

    def empty(self, label: str) -> None:
        """Move a namespace's uplinks back to the host, delete veth pairs that lead out of it, and stop its daemons."""
        try:
            if label == OUTSIDE:
                for daemon in (self._bird, self._charon, self._services):
                    if daemon is not None:
                        daemon.stop()
                self._bird = self._charon = self._services = None
            self._rtnl[label].empty()
        except OSError as error:
            raise KernelError(f"empty namespace {netns_name(self._host, label)}", error.errno or 0, str(error)) from error

    def remove(self, label: str) -> None:
        """Remove a namespace: its name, and everything opened in it."""
        name = netns_name(self._host, label)
        del self._rtnl[label], self._nft[label]
        if label in self._trackers:
            self._trackers.pop(label).close()
        self._spaces.remove(label)
        try:
            self._names.remove(name)
        except OSError as error:
            raise KernelError(f"remove namespace {name}", error.errno or 0, str(error)) from error

    def shared_tables(self) -> Iterator[Nft]:
        """Yield the nftables drivers of namespaces that VPCs share."""
        return (nft for label, nft in self._nft.items() if not _is_gateway(label))

    def gateway_counters(self, label: str) -> dict[str, Count]:
        """Return the counters of a gateway's namespace; empty if the namespace does not exist. Raises KernelError."""
        tracker = self._trackers.get(label)
        if not isinstance(tracker, GatewayTracker) or label not in self._nft:
            return {}
        return {**tracker.gateway_counters(), **self._nft[label].counts()}

    def border_sessions(self) -> tuple[BorderSession, ...]:
        """Return the states of the BGP sessions of the outside's routing daemon."""
        return tuple(
            BorderSession(router=peer.remote, asn=peer.remote_asn, state=found.state, reason=found.reason)
            for peer, found in (self._bird.sessions() if self._bird is not None else ())
        )

    def tunnels(self) -> Mapping[str, TunnelStatus]:
        """Return the states of the tunnels of the outside's IKE daemon."""
        return self._charon.tunnels() if self._charon is not None else {}

    def service_counts(self) -> Mapping[str, Mapping[str, int]]:
        """Return the endpoint counters of the outside's daemon."""
        return self._services.counts() if self._services is not None else {}

    def has_carrier(self, ifname: str) -> bool:
        """Return whether a device in the outside namespace exists, is up, and is connected to something. Raises KernelError."""
        return OUTSIDE in self._rtnl and self._rtnl[OUTSIDE].has_carrier(ifname)

    def _drivers(self, label: str, fd: int) -> Sequence[Driver]:
        rtnl = self._rtnl[label] = Rtnl(label, self._spaces)
        nft = self._nft[label] = Nft(label, fd)
        if _is_gateway(label):
            self._trackers[label] = GatewayTracker(fd, Conntrack(fd, label), nft.commit)
        # Only the host's root can set a gateway's sysctls, and there may be many gateways: dumps read them, polls do not.
        look_every_s = math.inf if _is_gateway(label) else LOOK_EVERY_S
        drivers = (Sysctls(label, fd, rtnl.skip, look_every_s), rtnl, Tc(label, fd, rtnl.names), nft)
        if label != OUTSIDE:
            return drivers
        self._bird = Bird(label, fd, border_directory(self._host), Border, PasswordFile())
        self._charon = Charon(label, fd, charon.RUN / self._host, self._key)
        self._services = Services(label, self._spaces, services_directory(self._host, label))
        return *drivers, self._bird, self._charon, self._services


def _is_gateway(label: str) -> bool:
    return vni_of_netns(label) != HOST_SLICE
