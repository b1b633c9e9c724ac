"""Ports: veth pairs into instances, taps for virtual machines, and ports taken over from another host's overlay.

A new port is marked last, so a port left behind by a killed process is recognised as incomplete, and finished. A port moved
from another overlay keeps its label and mark; until its master is set, its VRF is wrong, which the agent corrects.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import msgspec

from netorch.drivers import home, netns, sysctl
from netorch.drivers.netlink import Channel, Message, NetlinkError, attr_text, attr_u32
from netorch.drivers.rtnl import devices, encode
from netorch.drivers.rtnl.dump import default_routes
from netorch.drivers.rtnl.kinds.source_routes import configuration, stale_rules
from netorch.drivers.rtnl.uapi import IFLA, RTEXT_FILTER_SKIP_STATS, RTM
from netorch.errors import KernelError
from netorch.state.link import TapPort, VethPort
from netorch.state.op import shortened
from netorch.state.owner import PortLabel, altname, read_label

_TUN: Final = "/dev/net/tun"
_TUNSETIFF: Final = 0x400454CA
_TUNSETPERSIST: Final = 0x400454CB
_TAP_WITHOUT_HEADER: Final = 0x0002 | 0x1000
_IFREQ_FLAGS = struct.Struct("=16sH22x")


class Ports:
    """Creates and takes over the ports of one overlay namespace."""

    def __init__(self, overlay_fd: int, underlay_fd: int, channel: Channel, index_of: encode.IndexOf) -> None:
        self._overlay_fd = overlay_fd
        self._underlay_fd = underlay_fd
        self._channel = channel
        self._index_of = index_of
        self._taken: list[tuple[VethPort, int]] = []  # with a descriptor of the instance's namespace

    def plug(self, port: VethPort) -> None:
        """Create or finish the port, or take it over if the instance is plugged into another host's overlay.

        Raises:
          KernelError: the instance's namespace does not exist, may not be used, or has another device with that name; or the
            kernel refused a step.
        """
        fd = netns.make(port.instance_netns) if port.make_netns else netns.find(port.instance_netns)
        try:
            with home.channel(fd, f"open {port.instance_netns}") as inside:
                home.check(port, fd, inside, self._underlay_fd, self._overlay_fd)
                own = _device(self._channel, port.ifname)
                peer = self._peer(own, fd, inside) if own is not None else None
                if peer is not None:
                    self._finish(port, fd, inside, peer)
                    return
                if own is not None:  # a device of netorch's overlay, but its peer is elsewhere
                    _run(self._channel, [encode.del_link(own.ifname)], f"remove the placeholder of {own.ifname}")
                found = _device(inside, port.inside.ifname)
                if found is None:
                    self._make(port, fd, inside)
                else:
                    self._take_over(port, fd, found, inside)
        finally:
            os.close(fd)

    def make_tap(self, port: TapPort) -> None:
        """Create a persistent tap that a virtual machine can open.

        Raises:
          KernelError: there is no /dev/net/tun, or the kernel refused a step.
        """
        try:
            with netns.inside(self._overlay_fd):  # the device is created in the namespace in which the file is opened
                fd = os.open(_TUN, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.ioctl(fd, _TUNSETIFF, _IFREQ_FLAGS.pack(port.ifname.encode(), _TAP_WITHOUT_HEADER))
                fcntl.ioctl(fd, _TUNSETPERSIST, 1)
            finally:
                os.close(fd)
        except OSError as error:
            raise KernelError(f"create {shortened(port)}", error.errno or 0, f"see {_TUN}") from error
        self.adjust(port)
        _run(self._channel, [encode.set_altname(port.ifname)], f"mark {port.ifname}")

    def adjust(self, port: VethPort | TapPort) -> None:
        """Set an existing port's MAC, MTU and VRF, and the MTU of its peer in the instance.

        The peer comes first, so a port's MTU implies that both ends have it. Meanwhile the end with the larger MTU accepts
        the instance's packets, and the router answers too large ones. The other end of a tap belongs to the virtual machine.

        Raises:
          KernelError: the kernel refused, or the instance's namespace cannot be found.
        """
        if isinstance(port, VethPort):
            self._adjust_inside(port)
        try:
            vrf = self._index_of(port.vrf)
        except LookupError:
            raise KernelError(f"enslave {port.ifname} to {port.vrf}", errno.ENODEV) from None
        change = encode.set_link(port.ifname, encode.lladdr(port.lladdr), encode.mtu(port.mtu), encode.master(vrf))
        _run(self._channel, [change], f"configure {shortened(port)}")

    def _adjust_inside(self, port: VethPort) -> None:
        """Apply an MTU change to the instance's end, unless the instance has set a smaller one."""
        body = self._channel.get(RTM.GETLINK, encode.get_link(port.ifname))
        if body is None or (ours := devices.device(body)).mtu == port.mtu:
            return
        what = f"give the end of {port.ifname} in {port.instance_netns} the MTU {port.mtu}"
        fd = netns.find(port.instance_netns)
        try:
            with home.channel(fd, what) as inside:
                answer = inside.get(RTM.GETLINK, encode.link_header(ours.peer) + attr_u32(IFLA.EXT_MASK, RTEXT_FILTER_SKIP_STATS))
                theirs = devices.device(answer) if answer is not None else None
                if theirs is None or theirs.peer != ours.index or theirs.netnsid != home.number_of(self._overlay_fd, inside):
                    raise KernelError(what, errno.ENODEV, "it is not in that namespace; set its MTU there")
                if theirs.mtu == ours.mtu or theirs.mtu > port.mtu:
                    _run(inside, [(RTM.SETLINK, 0, encode.link_header(theirs.index) + encode.mtu(port.mtu))], what)
        finally:
            os.close(fd)

    def finish_tap(self, port: TapPort) -> None:
        """Complete a tap without a mark, which a virtual machine may have open. Raises KernelError."""
        self.adjust(port)
        _run(self._channel, [encode.set_altname(port.ifname)], f"mark {port.ifname}", (errno.EEXIST,))

    def label_of(self, ifname: str) -> PortLabel | None:
        """Return a port's label, or None."""
        found = _device(self._channel, ifname)
        return read_label(found.alias) if found is not None else None

    def left_alone(self, ifname: str) -> str:
        """Return what was found in the instance's namespace and kept when the port was plugged; empty if nothing."""
        label = self.label_of(ifname)
        versions = " and ".join(f"IPv{version}" for version in label.left_alone) if label is not None else ""
        what = f"its namespace already had an {versions} default route, which stays"
        return f"{what}; route to the VPC's CIDRs by the subnet's router there" if versions else ""

    def _peer(self, own: devices.Device, fd: int, inside: Channel) -> devices.Device | None:
        """Return the peer of an overlay device, if it is in the instance's namespace."""
        if own.kind != "veth" or own.netnsid is None or own.netnsid != home.number_of(fd, self._channel):
            return None
        found = inside.get(RTM.GETLINK, encode.link_header(own.peer) + attr_u32(IFLA.EXT_MASK, RTEXT_FILTER_SKIP_STATS))
        return devices.device(found) if found is not None else None

    def _make(self, port: VethPort, instance_fd: int, inside: Channel) -> None:
        try:
            vrf = self._index_of(port.vrf)
        except LookupError:
            raise KernelError(f"create {shortened(port)}", errno.ENODEV, f"there is no {port.vrf}") from None
        _run(self._channel, [encode.new_veth(port, instance_fd, vrf)], f"create {shortened(port)}")
        self._complete(port, instance_fd, inside)

    def _finish(self, port: VethPort, instance_fd: int, inside: Channel, peer: devices.Device) -> None:
        self.adjust(port)
        furnished = msgspec.structs.replace(port, inside=msgspec.structs.replace(port.inside, ifname=peer.ifname))
        self._complete(furnished, instance_fd, inside)

    def _complete(self, port: VethPort, instance_fd: int, inside: Channel) -> None:
        """Label, configure and mark a port. The label comes first, because it says which namespace to delete with the port."""
        standing = () if port.make_netns else _standing_routes(port, inside)
        made, place = (home.identity(instance_fd), "") if port.make_netns else ("", port.instance_netns)
        label = PortLabel(port.holder, port.inside.lladdr, made, place, standing)
        _run(self._channel, [encode.set_link(port.ifname, encode.alias(label.text()))], f"label {port.ifname}")
        _furnish(port, instance_fd, inside, standing)
        _run(self._channel, [encode.set_altname(port.ifname)], f"mark {port.ifname}", (errno.EEXIST,))

    def _take_over(self, port: VethPort, instance_fd: int, found: devices.Device, inside: Channel) -> None:
        """Move the other end of the instance's device to this overlay, if it belongs to this ENI.

        Cost: three messages, because the instance has traffic.
        """
        other = home.other_end(found, inside)
        label = read_label(other.alias) if other is not None and altname(port.ifname) in other.altnames else None
        if label is None or (label.instance, label.mac) != (port.holder, port.inside.lladdr):
            detail = f"{port.instance_netns} has another device {port.inside.ifname}; remove it or name another"
            raise KernelError(f"create {shortened(port)}", errno.EEXIST, detail)
        source = home.overlay_of(found, inside)
        if source is None:  # the other end was moved away; deleting this end deletes both
            _run(inside, [encode.del_link(found.ifname)], f"remove {found.ifname} in {port.instance_netns}")
            self._make(port, instance_fd, inside)
            return
        fd = netns.find(source)
        try:
            with home.channel(fd, f"open {source}") as theirs:
                body = encode.link_header(found.peer) + attr_text(IFLA.IFNAME, port.ifname) + encode.netns_fd(self._overlay_fd)
                _run(theirs, [(RTM.SETLINK, 0, body)], f"move {port.ifname} from {source}")
        finally:
            os.close(fd)
        self.adjust(port)
        _run(self._channel, [encode.set_altname(port.ifname)], f"mark {port.ifname}", (errno.EEXIST,))
        self._taken.append((port, os.dup(instance_fd)))

    def close(self) -> None:
        """Close the namespaces of instances whose ports were taken over but never came up."""
        for _, fd in self._taken:
            os.close(fd)
        self._taken = []

    def wake_taken(self) -> None:
        """Flush the neighbours of instances whose ports were taken over: they resolve them again, and now get answers.

        An instance that sent without carrier has failed to resolve its neighbours, and would only retry a second later.
        Instances that are gone are skipped.
        """
        taken, self._taken = self._taken, []
        for port, fd in taken:
            try:
                with suppress(KernelError), home.channel(fd, f"open {port.instance_netns}") as inside:
                    what = f"flush neighbours of {port.inside.ifname} in {port.instance_netns}"
                    _run(inside, encode.forget_neighbours(port.inside.ifname), what)
            finally:
                os.close(fd)


def _furnish(port: VethPort, instance_fd: int, inside: Channel, standing: Sequence[int]) -> None:
    """Configure the instance's side: addresses usable at once, default routes, all devices up.

    Existing configuration stays, and IP versions in `standing` get no default route in the main table: the port's is in its
    own table.
    """
    device = port.inside
    what = f"configure {device.ifname} in {port.instance_netns}"
    if any(":" in address for address in device.addresses):
        conf = f"ipv6/conf/{device.ifname}"
        try:
            sysctl.write(instance_fd, ((f"{conf}/accept_ra", "0"), (f"{conf}/accept_dad", "0")))
        except OSError as error:
            raise KernelError(what, error.errno or 0) from error
    index = index_in(inside, device.ifname)
    messages = [encode.set_up("lo", up=True), encode.set_up(device.ifname, up=True)]
    messages += [*configuration(index, device, standing), *stale_rules(inside)]
    _run(inside, messages, what, (errno.EEXIST,))


def _standing_routes(port: VethPort, inside: Channel) -> tuple[int, ...]:
    """Return the IP versions for which the port would add a default route, but the namespace has one via another device.

    Its metric does not matter: a second default route would either win or never be used.
    """
    device = port.inside
    own = index_in(inside, device.ifname)
    versions = [_version(gateway) for gateway in device.gateways if device.is_primary]
    return tuple(version for version in versions if any(index != own for index in default_routes(inside, version)))


def _version(address: str) -> int:
    return 6 if ":" in address else 4


def _device(channel: Channel, ifname: str) -> devices.Device | None:
    found = channel.get(RTM.GETLINK, encode.get_link(ifname))
    return devices.device(found) if found is not None else None


def index_in(channel: Channel, ifname: str) -> int:
    """Return the ifindex of a device in the channel's namespace. Raises LookupError if there is no such device."""
    try:
        answer = fcntl.ioctl(channel.socket, _SIOCGIFINDEX, _IFREQ_INDEX.pack(ifname.encode(), 0))
    except OSError as error:
        raise LookupError(ifname) from error
    return int(_IFREQ_INDEX.unpack(answer)[1])


_SIOCGIFINDEX: Final = 0x8933
_IFREQ_INDEX = struct.Struct("=16si20x")


def _run(channel: Channel, messages: Sequence[Message], what: str, tolerated: tuple[int, ...] = ()) -> None:
    refusals: list[NetlinkError] = [refusal for refusal in channel.batch(messages).values() if refusal.errno not in tolerated]
    if refusals:
        raise KernelError(what, refusals[0].errno, refusals[0].detail)
