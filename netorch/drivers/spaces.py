"""The namespaces of a host that are open, and which of them holds what a device in another leads to."""

from __future__ import annotations

import os

from netorch.drivers import home
from netorch.drivers.netlink import Channel
from netorch.drivers.rtnl.devices import Device, End
from netorch.errors import KernelError
from netorch.state.base import OVERLAY, UNDERLAY


class Spaces:
    """Descriptors by label, shared by all drivers of a host; who opens or closes a namespace says so here."""

    def __init__(self, underlay: int, overlay: int) -> None:
        self.fds: dict[str, int] = {}
        self.births: dict[str, int] = {}  # a label's number is another one when the label means another namespace
        self._count = 0
        self.add(UNDERLAY, underlay)
        self.add(OVERLAY, overlay)

    def add(self, label: str, fd: int) -> None:
        """Take in a namespace that was opened."""
        self._count += 1
        self.fds[label], self.births[label] = fd, self._count

    def remove(self, label: str) -> None:
        """Let go of a namespace."""
        del self.births[label]
        os.close(self.fds.pop(label))

    def close(self) -> None:
        """Let go of all namespaces."""
        for label in tuple(self.fds):
            self.remove(label)


class FarEnds:
    """Finds what devices lead to as one namespace sees it: the kernel gives others' namespaces numbers of its own.

    That is the other end of a veth pair, and the device below a VLAN device.
    """

    def __init__(self, spaces: Spaces, channel: Channel) -> None:
        self._spaces = spaces
        self._channel = channel
        self._births: dict[str, int] = {}  # of the labels whose number is known
        self._labels: dict[int, str] = {}  # by number

    def find(self, dev: Device) -> End | None:
        """Return where a device leads to, if that is in another namespace of ours.

        Cost: one question, and one more for each namespace that had no number so far.
        """
        label = self.label_of(dev.netnsid) if dev.netnsid is not None else None
        if label is None:
            return None
        try:
            other = home.linked(dev, self._channel)
        except KernelError:  # it has just gone
            return None
        return End(label, other.ifname, other.lladdr) if other is not None else None

    def label_of(self, number: int) -> str | None:
        """Return what we call the namespace that the kernel gives this number here, if it is one of ours."""
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
        """Return whether the number that was found for a label is that of the namespace that it means now."""
        return self._births.get(label) == self._spaces.births.get(label, 0)
