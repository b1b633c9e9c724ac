"""Ports: veth pairs into instances, taps for virtual machines, and ports that another host's fabric hands over.

A new port is marked last, so one that a killed process left behind is recognised as half made, deleted and made again.
A port that is pulled over from another fabric keeps its mark; until its master is set it shows a wrong VRF and is mended.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Final

from netorch.drivers import netns, packed, parsed, sysctl
from netorch.drivers.describe import describe_object
from netorch.drivers.rtnl import Channel, Message, Refusal, attr_text, attr_u32, attrs
from netorch.drivers.source_routes import last_resort, source_routes, stale_rules
from netorch.errors import KernelError
from netorch.model.ids import is_id
from netorch.state.link import TapPort, VethPort
from netorch.state.owner import NETNS_PREFIX

_TUN: Final = "/dev/net/tun"
_TUNSETIFF: Final = 0x400454CA
_TUNSETPERSIST: Final = 0x400454CB
_TAP_WITHOUT_HEADER: Final = 0x0002 | 0x1000
_IFREQ_FLAGS = struct.Struct("=16sH22x")


class Ports:
    """Makes and takes over the ports of one fabric namespace."""

    def __init__(self, fabric_fd: int, channel: Channel, index_of: packed.IndexOf) -> None:
        self._fabric_fd = fabric_fd
        self._channel = channel
        self._index_of = index_of
        self._taken: list[VethPort] = []

    def plug(self, port: VethPort) -> None:
        """Make the port, or take it over when the instance is already plugged into another host's fabric.

        Raises:
          KernelError: the instance's namespace is gone, has such a device of its own, or the kernel refused a step.
        """
        fd = netns.make(port.netns) if port.make_netns else netns.find(port.netns)
        try:
            with _channel(fd, f"open {port.netns}") as inside:
                found = inside.get(packed.GETLINK, packed.get_link(port.inside.ifname))
                if found is None:
                    self._make(port, fd, inside)
                else:
                    self._take_over(port, parsed.device(found), inside)
        finally:
            os.close(fd)

    def make_tap(self, port: TapPort) -> None:
        """Make a persistent tap, ready for a virtual machine to open.

        Raises:
          KernelError: there is no /dev/net/tun, or the kernel refused a step.
        """
        try:
            with netns.inside(self._fabric_fd):  # the namespace in which the file is opened gets the device
                fd = os.open(_TUN, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.ioctl(fd, _TUNSETIFF, _IFREQ_FLAGS.pack(port.ifname.encode(), _TAP_WITHOUT_HEADER))
                fcntl.ioctl(fd, _TUNSETPERSIST, 1)
            finally:
                os.close(fd)
        except OSError as error:
            raise KernelError(f"create {describe_object(port)}", error.errno or 0, f"see {_TUN}") from error
        self.adjust(port)
        _run(self._channel, [packed.mark(port.ifname)], f"mark {port.ifname}")

    def adjust(self, port: VethPort | TapPort) -> None:
        """Give an existing port its MAC, MTU and VRF, and the instance's end of it the MTU.

        The instance's end comes first, so that a port that has its MTU says that both have it; until then the larger one takes
        what the instance sends, and the router tells it what is too large. Of a tap the other end is the virtual machine's.

        Raises:
          KernelError: the kernel refused, or the instance's namespace cannot be found.
        """
        if isinstance(port, VethPort):
            self._adjust_inside(port)
        try:
            vrf = self._index_of(port.vrf)
        except LookupError:
            raise KernelError(f"enslave {port.ifname} to {port.vrf}", errno.ENODEV) from None
        change = packed.set_link(port.ifname, packed.lladdr(port.lladdr), packed.mtu(port.mtu), packed.master(vrf))
        _run(self._channel, [change], f"configure {describe_object(port)}")

    def _adjust_inside(self, port: VethPort) -> None:
        """Let the instance's end follow a change of the MTU, unless the instance has chosen a smaller one."""
        body = self._channel.get(packed.GETLINK, packed.get_link(port.ifname))
        if body is None or (ours := parsed.device(body)).mtu == port.mtu:
            return
        what = f"give the end of {port.ifname} in {port.netns} the MTU {port.mtu}"
        fd = netns.find(port.netns)
        try:
            with _channel(fd, what) as inside:
                answer = inside.get(packed.GETLINK, packed.link_header(ours.peer) + attr_u32(29, 8))
                theirs = parsed.device(answer) if answer is not None else None
                if theirs is None or theirs.peer != ours.index or not _leads_to(theirs, inside, self._fabric_fd):
                    raise KernelError(what, errno.ENODEV, "it is not in that namespace; set its MTU there")
                if theirs.mtu == ours.mtu or theirs.mtu > port.mtu:
                    _run(inside, [(packed.SETLINK, 0, packed.link_header(theirs.index) + packed.mtu(port.mtu))], what)
        finally:
            os.close(fd)

    def alias_of(self, ifname: str) -> str:
        """Return the instance whose namespace we made for this port, or nothing."""
        found = self._channel.get(packed.GETLINK, packed.get_link(ifname))
        return parsed.device(found).alias if found else ""

    def _make(self, port: VethPort, instance_fd: int, inside: Channel) -> None:
        try:
            vrf = self._index_of(port.vrf)
        except LookupError:
            raise KernelError(f"create {describe_object(port)}", errno.ENODEV, f"there is no {port.vrf}") from None
        _run(self._channel, [packed.new_veth(port, instance_fd, vrf)], f"create {describe_object(port)}")
        if port.make_netns:  # so that whoever deletes the port, memory or none, knows which namespace goes with it
            _run(self._channel, [packed.set_link(port.ifname, packed.alias(port.netns))], f"label {port.ifname}")
        _furnish(port, instance_fd, inside)
        _run(self._channel, [packed.mark(port.ifname)], f"mark {port.ifname}")

    def _take_over(self, port: VethPort, peer: parsed.Device, inside: Channel) -> None:
        """Pull the other end of the instance's device over. Cost: three messages, since the instance is under traffic."""
        source = _fabric_of(peer, inside)
        if source is None:
            detail = f"{port.netns} has a device {port.inside.ifname} of its own; remove it or name another"
            raise KernelError(f"create {describe_object(port)}", errno.EEXIST, detail)
        fd = netns.find(source)
        try:
            with _channel(fd, f"open {source}") as theirs:
                body = packed.link_header(peer.peer) + attr_text(3, port.ifname) + packed.netns_fd(self._fabric_fd)
                _run(theirs, [(packed.SETLINK, 0, body)], f"move {port.ifname} from {source}")
        finally:
            os.close(fd)
        self.adjust(port)
        _run(self._channel, [packed.mark(port.ifname)], f"mark {port.ifname}", (errno.EEXIST,))
        self._taken.append(port)

    def wake_taken(self) -> None:
        """Let instances whose ports were taken over ask for their neighbours anew, now that somebody answers.

        An instance that sent while its device had no carrier has asked in vain, and would ask again only a second later.

        Raises:
          KernelError: the instance's namespace is gone.
        """
        taken, self._taken = self._taken, []
        for port in taken:
            fd = netns.find(port.netns)
            try:
                with _channel(fd, f"open {port.netns}") as inside:
                    what = f"flush neighbours of {port.inside.ifname} in {port.netns}"
                    _run(inside, packed.forget_neighbours(port.inside.ifname), what)
            finally:
                os.close(fd)


def release(name: str) -> None:
    """Take away the namespace that we made for an instance, unless one of its ports lives on in some host's fabric.

    Raises:
      KernelError: the kernel refused.
    """
    if not is_id(name, "i"):
        return
    try:
        fd = netns.find(name)
    except KernelError:
        netns.remove(name)
        return
    try:
        with _channel(fd, f"open {name}") as inside:
            devices = [parsed.device(body) for _, _, body in inside.dump(packed.GETLINK, packed.link_header() + attr_u32(29, 8))]
            if any(_fabric_of(dev, inside) for dev in devices if dev.kind == "veth"):
                _run(inside, stale_rules(inside), f"take away rules in {name}")
                return
    finally:
        os.close(fd)
    netns.remove(name)


def _furnish(port: VethPort, instance_fd: int, inside: Channel) -> None:
    """Configure the instance's side: addresses usable at once, default routes, everything up."""
    device = port.inside
    what = f"configure {device.ifname} in {port.netns}"
    if any(":" in address for address in device.addresses):
        conf = f"ipv6/conf/{device.ifname}"
        try:
            sysctl.write(instance_fd, ((f"{conf}/accept_ra", "0"), (f"{conf}/accept_dad", "0")))
        except OSError as error:
            raise KernelError(what, error.errno or 0) from error
    index = index_in(inside, device.ifname)
    messages = [packed.set_up("lo", up=True), packed.set_up(device.ifname, up=True)]
    messages += (packed.new_address(index, address) for address in device.addresses)
    metric = 0 if device.is_primary else last_resort(index)
    messages += (packed.default_route(index, gateway, metric=metric) for gateway in device.gateways)
    messages += [*source_routes(index, device), *stale_rules(inside)]
    _run(inside, messages, what, (errno.EEXIST,))


def _fabric_of(dev: parsed.Device, inside: Channel) -> str | None:
    """Return the name of the fabric namespace that holds the other end of an instance's veth."""
    if dev.kind != "veth" or dev.netnsid is None:
        return None
    for path in netns.RUN_NETNS.glob(f"{NETNS_PREFIX}*"):
        try:
            fd = netns.find(path.name)
        except KernelError:
            continue  # on its way in or out
        try:
            if _leads_to(dev, inside, fd):
                return path.name
        finally:
            os.close(fd)
    return None


def _leads_to(dev: parsed.Device, inside: Channel, fd: int) -> bool:
    """Return whether the other end of a veth that `inside` shows is in the namespace of `fd`."""
    answer = inside.get(packed.GETNSID, bytes(4) + attr_u32(3, fd))
    return dev.kind == "veth" and answer is not None and attrs(answer, 4).get(1) == struct.pack("=I", dev.netnsid or 0)


def index_in(channel: Channel, ifname: str) -> int:
    """Return the number of a device in the channel's namespace. Raises LookupError when there is none."""
    try:
        answer = fcntl.ioctl(channel.socket, _SIOCGIFINDEX, _IFREQ_INDEX.pack(ifname.encode(), 0))
    except OSError as error:
        raise LookupError(ifname) from error
    return int(_IFREQ_INDEX.unpack(answer)[1])


_SIOCGIFINDEX: Final = 0x8933
_IFREQ_INDEX = struct.Struct("=16si20x")


@contextmanager
def _channel(fd: int, what: str) -> Iterator[Channel]:
    try:
        channel = Channel(fd)
    except OSError as error:
        raise KernelError(what, error.errno or 0) from error
    with closing(channel):
        yield channel


def _run(channel: Channel, messages: Sequence[Message], what: str, tolerated: tuple[int, ...] = ()) -> None:
    refusals: list[Refusal] = [refusal for refusal in channel.batch(messages).values() if refusal.errno not in tolerated]
    if refusals:
        raise KernelError(what, refusals[0].errno, refusals[0].detail)
