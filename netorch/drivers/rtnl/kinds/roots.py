"""Overlay devices rooted in the outside namespace: xfrm interfaces and VLAN devices.

Linux creates such a device in one namespace and moves it to the other within a single message, so a killed process leaves it
in the overlay without its mark, or not at all. Its root stays in the outside: the SAs and policies with its if_id, or its
parent device. Linux accepts each if_id or VLAN there only once, whatever the device's name and present namespace. So a
netorch device that others renamed or moved blocks its successor; the agent then searches for it.
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
    """The devices of one namespace that are rooted in the outside."""

    def uproot(self, lower: int = 0) -> None:
        """Delete netorch's devices that are rooted here, in the outside, or only those on the device with ifindex `lower`.

        Linux keeps VLAN devices when their parent is moved.

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
            if found is not None:  # has netorch's name, but is another device
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
        """Return the nsid of the outside as seen from here, or None if this is the outside. Raises NotPackable."""
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
        """Return a VLAN device's parent. Raises NotPackable if it does not exist or its MTU is too small."""
        if not isinstance(obj, Vlan):
            return None
        root = self._root(obj)
        question = encode.get_link(obj.lower) + (attr_u32(IFLA.TARGET_NETNSID, root) if root is not None else b"")
        body = self._channel.get(RTM.GETLINK, question)
        if body is None:
            raise encode.NotPackable(NetlinkError(errno.ENODEV, f"there is not a device {obj.lower} in the {OUTSIDE}"))
        lower = devices.device(body)
        if lower.mtu < obj.mtu:
            detail = f"{obj.lower} has an MTU of {lower.mtu}; raise it to {obj.mtu}, or give this device a smaller MTU"
            raise encode.NotPackable(NetlinkError(errno.ERANGE, detail))
        return lower

    def _clear_the_way(self, obj: Rooted) -> None:
        """Delete earlier devices with this root under another name or in another namespace, wherever they are."""
        outside = self._spaces.fds.get(OUTSIDE)
        if outside is None:
            return
        for fd in self._namespaces():
            with suppress(KernelError), home.channel(fd, f"find {obj.ifname}") as channel:
                is_outside = home.identity(fd) == home.identity(outside)
                root = None if is_outside else home.number_of(outside, channel)
                if root is None and not is_outside:
                    continue  # it has no link to the outside
                questions = [encode.get_marked(obj.ifname), *([encode.get_link(obj.ifname)] if is_outside else [])]
                for body in filter(None, (channel.get(RTM.GETLINK, question) for question in questions)):
                    dev = devices.device(body)
                    if dev.kind in _KINDS and dev.netnsid == root:
                        channel.batch([encode.del_link(dev.ifname)])

    def _namespaces(self) -> Iterator[int]:
        """Yield descriptors of netorch's namespaces, and of all named ones."""
        yield from tuple(self._spaces.fds.values())
        for path in netns.RUN_NETNS.iterdir():
            try:
                fd = netns.find(path.name)
            except KernelError:  # being created or deleted
                continue
            try:
                yield fd
            finally:
                os.close(fd)


def _taken(obj: Rooted) -> str:
    if isinstance(obj, Vlan):
        return f"{obj.lower} has another device for VLAN {obj.vlan}; delete that device"
    return f"another device in the {OUTSIDE} has the number of {obj.text()}; delete that device"


def _all(channel: Channel) -> list[Device]:
    """Return netorch's rooted devices."""
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
