"""The namespaces of a host that are open, and which of them holds the other end of a veth pair."""

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
        self.fds: dict[str, int] = {UNDERLAY: underlay, OVERLAY: overlay}
        self.version = 0  # grows with each change

    def add(self, label: str, fd: int) -> None:
        """Take in a namespace that was opened."""
        self.fds[label] = fd
        self.version += 1

    def remove(self, label: str) -> None:
        """Let go of a namespace."""
        self.version += 1
        os.close(self.fds.pop(label))

    def close(self) -> None:
        """Let go of all namespaces."""
        for label in tuple(self.fds):
            self.remove(label)


class FarEnds:
    """Finds the other ends of veth pairs as one namespace sees them: the kernel gives others' namespaces numbers of its own."""

    def __init__(self, spaces: Spaces, channel: Channel) -> None:
        self._spaces = spaces
        self._channel = channel
        self._version = -1
        self._labels: dict[int, str] = {}

    def find(self, dev: Device) -> End | None:
        """Return where the other end is, if that is in another namespace of ours.

        Cost: one question; one more for each namespace after some have come or gone.
        """
        label = self._label_of(dev.netnsid) if dev.netnsid is not None else None
        if label is None:
            return None
        try:
            other = home.other_end(dev, self._channel)
        except KernelError:  # it has just gone
            return None
        return (label, other.ifname) if other is not None else None

    def _label_of(self, number: int) -> str | None:
        if self._version != self._spaces.version or number not in self._labels:
            numbered = ((home.number_of(fd, self._channel), label) for label, fd in self._spaces.fds.items())
            self._labels = {found: label for found, label in numbered if found is not None}
            self._version = self._spaces.version
        return self._labels.get(number)
