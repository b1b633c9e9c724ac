"""The open namespaces of a host, and lookups of devices' peers in other namespaces."""

from __future__ import annotations

import os

from netorch.drivers import home
from netorch.drivers.netlink import Channel
from netorch.drivers.rtnl.devices import Device, End
from netorch.errors import KernelError
from netorch.state.base import OVERLAY, UNDERLAY


class Spaces:
    """Descriptors by label, shared by all drivers of a host. Code that opens or closes a namespace must register it here."""

    def __init__(self, underlay: int, overlay: int) -> None:
        self.fds: dict[str, int] = {}
        self.births: dict[str, int] = {}  # by label; the number changes when the label refers to another namespace
        self._count = 0
        self.add(UNDERLAY, underlay)
        self.add(OVERLAY, overlay)

    def add(self, label: str, fd: int) -> None:
        """Register an opened namespace."""
        self._count += 1
        self.fds[label], self.births[label] = fd, self._count

    def remove(self, label: str) -> None:
        """Close a namespace."""
        del self.births[label]
        os.close(self.fds.pop(label))

    def close(self) -> None:
        """Close all namespaces."""
        for label in tuple(self.fds):
            self.remove(label)


class FarEnds:
    """Finds peers of devices in one namespace. The kernel identifies other namespaces by nsids local to this one.

    A peer is the other end of a veth pair, or the parent of a VLAN device.
    """

    def __init__(self, spaces: Spaces, channel: Channel) -> None:
        self._spaces = spaces
        self._channel = channel
        self._births: dict[str, int] = {}  # of labels with a known nsid
        self._labels: dict[int, str] = {}  # by nsid

    def find(self, dev: Device) -> End | None:
        """Return a device's peer if it is in another namespace of netorch.

        Cost: one request, and one more for each namespace without a known nsid.
        """
        label = self.label_of(dev.netnsid) if dev.netnsid is not None else None
        if label is None:
            return None
        try:
            other = home.linked(dev, self._channel)
        except KernelError:  # the peer has just gone
            return None
        return End(label, other.ifname, other.lladdr) if other is not None else None

    def label_of(self, number: int) -> str | None:
        """Return the label of the namespace with this nsid, if netorch has that namespace open."""
        label = self._labels.get(number)
        if label is not None and self._is_known(label):
            return label
        for other, fd in self._spaces.fds.items():
            if self._is_known(other):
                continue
            found = home.number_of(fd, self._channel)
            if found is not None:
                self._labels[found], self._births[other] = other, self._spaces.births[other]
                if found == number:
                    return other
        return None

    def _is_known(self, label: str) -> bool:
        """Return whether the nsid found for a label belongs to the namespace that the label refers to now."""
        return self._births.get(label) == self._spaces.births.get(label, 0)
