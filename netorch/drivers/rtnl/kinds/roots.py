"""Devices that are made in the outside namespace and work in the overlay: xfrm interfaces and VLAN devices.

Linux makes such a device in the one namespace and moves it to the other while it answers one message, so a process that is killed
leaves it behind in the overlay without its mark, or not at all. What it is made of stays in the outside: the SAs and policies of
its number, the device below it. There Linux takes a number or a VLAN once only, whatever the device is called and wherever it is
now. So a device of ours that somebody has renamed or carried off stands in the way of its successor, and is looked for then.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import closing, suppress

from netorch.drivers import home, netns
from netorch.drivers.netlink import ABSENT, Channel, Message, NetlinkError, attr_u32
from netorch.drivers.rtnl import devices, encode, rooted
from netorch.drivers.rtnl.devices import Device
from netorch.drivers.rtnl.dump import read_link
from netorch.drivers.rtnl.kinds.single import Single
from netorch.drivers.rtnl.uapi import IFLA, RTEXT_FILTER_SKIP_STATS, RTM
from netorch.errors import KernelError
from netorch.state.base import HOST_SLICE, OUTSIDE, OVERLAY
from netorch.state.link import IncompleteLink, Link
from netorch.state.names import is_vlan_of_port, vni_of_ifname
from netorch.state.op import Create, Op
from netorch.state.owner import ALTNAME_PREFIX
from netorch.state.rooted import Rooted, Vlan, Xfrm

_KINDS = frozenset({"xfrm", "vlan"})


class Roots(Single):
    """The devices of one namespace that have their root in the outside."""

    def uproot(self, lower: int = 0) -> None:
        """Delete our devices that have their root here, in the outside, or only those on the device of this number.

        Linux lets VLAN devices live on when the device below them is moved.

        Raises:
          OSError: the kernel does not show them.
        """
        _delete(self._channel, [dev for dev in _all(self._channel) if dev.netnsid is None and lower in (0, dev.peer)])
        with closing(Channel(self._spaces.fds[OVERLAY])) as overlay:
            number = home.number_of(self._spaces.fds[self._place.netns], overlay)
            found = [dev for dev in _all(overlay) if number is not None and dev.netnsid == number]
            _delete(overlay, [dev for dev in found if lower in (0, dev.peer)])

    def _make(self, op: Op) -> NetlinkError | None:
        obj = op.obj
        if not isinstance(obj, Rooted):
            return NetlinkError(errno.EINVAL, "it has no root in the outside")
        found = read_link(self._channel, obj.ifname, self._place)
        standing = found[1] if found is not None else None
        if isinstance(op, Create) and standing is not None and obj.matches(standing):
            return None
        try:
            vrf = self._index_of(obj.vrf) if obj.vrf else encode.NO_VRF
        except LookupError:
            return NetlinkError(errno.ENODEV, f"there is no VRF {obj.vrf}")
        try:
            lower = self._lower(obj)
            if standing is not None and obj.replaces(standing):
                return self._change(obj, standing, vrf)
            if found is not None:  # it bears a name of ours, and is something else
                self._channel.batch([encode.del_link(obj.ifname)])
            return self._create(obj, lower, vrf)
        except encode.NotPackable as error:
            return error.refusal

    def _change(self, obj: Rooted, standing: Link, vrf: int) -> NetlinkError | None:
        messages = [encode.set_link(obj.ifname, rooted.member(obj, vrf))]
        if isinstance(standing, IncompleteLink):
            messages.append(encode.set_altname(obj.ifname))
        return self._send(messages)

    def _create(self, obj: Rooted, lower: Device | None, vrf: int) -> NetlinkError | None:
        message = self._message(obj, lower, vrf)
        refusal = self._send([message])
        if refusal is not None and refusal.errno == errno.EEXIST:
            self._clear_the_way(obj)
            refusal = self._send([message])
            if refusal is not None and refusal.errno == errno.EEXIST:
                return NetlinkError(errno.EEXIST, _taken(obj))
        return refusal or self._send([encode.set_altname(obj.ifname)])

    def _message(self, obj: Rooted, lower: Device | None, vrf: int) -> Message:
        root = self._root(obj)
        if isinstance(obj, Vlan) and lower is not None:
            return rooted.new_vlan(obj, root, lower.index, vrf)
        if isinstance(obj, Xfrm) and root is not None:
            return rooted.new_xfrm(obj, root, vrf)
        raise encode.NotPackable(NetlinkError(errno.EINVAL, f"{obj.ifname} cannot be in the {obj.netns}"))

    def _root(self, obj: Rooted) -> int | None:
        """Return the number that the outside has here, None where it is here itself. Raises NotPackable."""
        if obj.netns == OUTSIDE:
            return None
        fd = self._spaces.fds.get(OUTSIDE)
        if fd is None:
            raise encode.NotPackable(NetlinkError(errno.ENOENT, f"there is no namespace {OUTSIDE}"))
        number = home.number_of(fd, self._channel)
        if number is None:
            self._channel.batch([rooted.new_namespace_number(fd)])
            number = home.number_of(fd, self._channel)
        if number is None:
            raise encode.NotPackable(NetlinkError(errno.ENOENT, f"the namespace {OUTSIDE} has no number in the {obj.netns}"))
        return number

    def _lower(self, obj: Rooted) -> Device | None:
        """Return the device below a VLAN device. Raises NotPackable where it is not there, or takes smaller packets only."""
        if not isinstance(obj, Vlan):
            return None
        root = self._root(obj)
        question = encode.get_link(obj.lower) + (attr_u32(IFLA.TARGET_NETNSID, root) if root is not None else b"")
        body = self._channel.get(RTM.GETLINK, question)
        if body is None:
            raise encode.NotPackable(NetlinkError(errno.ENODEV, f"there is no device {obj.lower} in the {OUTSIDE}"))
        lower = devices.device(body)
        if lower.mtu < obj.mtu:
            detail = f"{obj.lower} takes packets of {lower.mtu} bytes at most; give it an MTU of {obj.mtu}, or this one a smaller"
            raise encode.NotPackable(NetlinkError(errno.ERANGE, detail))
        return lower

    def _clear_the_way(self, obj: Rooted) -> None:
        """Delete what is left of the device under another name, or in another namespace, wherever it is."""
        outside = self._spaces.fds.get(OUTSIDE)
        if outside is None:
            return
        for fd in self._namespaces():
            with suppress(KernelError), home.channel(fd, f"look for {obj.ifname}") as channel:
                is_outside = home.identity(fd) == home.identity(outside)
                root = None if is_outside else home.number_of(outside, channel)
                if root is None and not is_outside:
                    continue  # it knows nothing of the outside
                questions = [encode.get_marked(obj.ifname), *([encode.get_link(obj.ifname)] if is_outside else [])]
                for body in filter(None, (channel.get(RTM.GETLINK, question) for question in questions)):
                    dev = devices.device(body)
                    if dev.kind in _KINDS and dev.netnsid == root:
                        channel.batch([encode.del_link(dev.ifname)])

    def _namespaces(self) -> Iterator[int]:
        """Yield descriptors of all namespaces that have a name, and of ours."""
        yield from tuple(self._spaces.fds.values())
        for path in netns.RUN_NETNS.iterdir():
            try:
                fd = netns.find(path.name)
            except KernelError:  # on its way in or out
                continue
            try:
                yield fd
            finally:
                os.close(fd)


def _taken(obj: Rooted) -> str:
    if isinstance(obj, Vlan):
        return f"{obj.lower} has another device for VLAN {obj.vlan}; delete that"
    return f"another device in the {OUTSIDE} has the number of {obj.text()}; delete that"


def _all(channel: Channel) -> list[Device]:
    """Return the devices that are ours and have a root."""
    body = encode.link_header() + attr_u32(IFLA.EXT_MASK, RTEXT_FILTER_SKIP_STATS)
    found = channel.read(RTM.GETLINK, body, devices.device)
    return [dev for dev in found if dev.kind in _KINDS and _is_ours(dev)]


def _is_ours(dev: Device) -> bool:
    named = vni_of_ifname(dev.ifname) != HOST_SLICE or is_vlan_of_port(dev.ifname)
    return named or any(name.startswith(ALTNAME_PREFIX) for name in dev.altnames)


def _delete(channel: Channel, found: list[Device]) -> None:
    refused = channel.batch([encode.del_link(dev.ifname) for dev in found])
    for refusal in refused.values():
        if refusal.errno not in ABSENT:
            raise OSError(refusal.errno, refusal.detail)
