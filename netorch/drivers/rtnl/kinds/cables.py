"""Cables: veth pairs with both ends in netorch's namespaces, created, finished and changed end by end.

A new end is marked last, like every device, so an end left behind by a killed process is recognised as incomplete, and
finished.
"""

from __future__ import annotations

import errno

from netorch.drivers.netlink import Message, NetlinkError
from netorch.drivers.rtnl import encode
from netorch.drivers.rtnl.dump import read_link
from netorch.drivers.rtnl.encode import NotPackable
from netorch.drivers.rtnl.kinds.single import Single
from netorch.state.link import CableEnd, IncompleteLink, Link
from netorch.state.op import Create, Op


class Cables(Single):
    """The veth pairs with an end in one namespace. The state of the first end determines what the second one needs."""

    def _make(self, op: Op) -> NetlinkError | None:
        end = op.obj
        if not isinstance(end, CableEnd):
            return NetlinkError(errno.EINVAL, "it is not an end of a cable")
        found = read_link(self._channel, end.ifname, self._place)
        standing = found[1] if found is not None else None
        if found is not None and isinstance(op, Create):
            if standing is not None and end.matches(standing):
                return None
            if not isinstance(standing, IncompleteLink) or not end.replaces(standing):
                return NetlinkError(errno.EEXIST, "another device has that name")
        try:
            messages = self._messages(end, standing)
        except NotPackable as error:
            return error.refusal
        except LookupError:
            return NetlinkError(errno.ENODEV, f"there is no VRF {end.vrf}")
        return self._send(messages)

    def _messages(self, end: CableEnd, standing: Link | None) -> list[Message]:
        """Return the messages that create the end, or convert the existing device to it. Raises LookupError."""
        vrf = self._index_of(end.vrf) if end.vrf else encode.NO_VRF
        if standing is None:
            return [encode.new_cable(end, vrf, self._peer_fd(end)), encode.set_altname(end.ifname)]
        seems = standing.seems if isinstance(standing, IncompleteLink) else standing
        new_mac = not isinstance(seems, CableEnd) or seems.lladdr != end.lladdr
        change = encode.set_link(end.ifname, encode.cable_end(end, vrf, new_mac=new_mac))
        return [change, encode.set_altname(end.ifname)] if isinstance(standing, IncompleteLink) else [change]

    def _peer_fd(self, end: CableEnd) -> int | None:
        """Return a descriptor of the other end's namespace, or None for this one. Raises NotPackable if there is none."""
        if end.peer_netns == end.netns:
            return None
        fd = self._spaces.fds.get(end.peer_netns)
        if fd is None:
            raise NotPackable(NetlinkError(errno.ENOENT, f"there is no namespace {end.peer_netns}"))
        return fd
