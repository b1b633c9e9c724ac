"""Creation, change and deletion of devices: VRF and VXLAN here, other kinds in netorch.drivers.rtnl.kinds."""

from __future__ import annotations

import errno
from collections.abc import Callable

from netorch.drivers.home import release
from netorch.drivers.netlink import ABSENT, Channel, Message, NetlinkError
from netorch.drivers.rtnl import encode
from netorch.drivers.rtnl.devices import Place
from netorch.drivers.rtnl.dump import read_link
from netorch.drivers.rtnl.entries import failure
from netorch.drivers.rtnl.kinds.cables import Cables
from netorch.drivers.rtnl.kinds.port import Ports
from netorch.drivers.rtnl.kinds.roots import Roots
from netorch.drivers.rtnl.kinds.uplinks import Uplinks
from netorch.drivers.spaces import Spaces
from netorch.errors import KernelError
from netorch.state.base import UNDERLAY, KernelObject
from netorch.state.link import CableEnd, IncompleteLink, Link, TapPort, VethPort, Vrf, Vxlan
from netorch.state.names import is_port
from netorch.state.op import Create, Delete, Failure, Op, Replace, describe
from netorch.state.rooted import Rooted


class Links:
    """The devices of one namespace."""

    def __init__(self, channel: Channel, underlay: Channel, place: Place, spaces: Spaces, index_of: encode.IndexOf) -> None:
        self._channel = channel
        self._underlay = underlay
        self._place = place
        self._fd = spaces.fds[place.netns]
        self.ports = Ports(self._fd, spaces.fds[UNDERLAY], channel, index_of)
        self.roots = Roots(channel, place, spaces, index_of)
        self.uplinks = Uplinks(channel, underlay, place, spaces, self.roots.uproot)
        self._cables = Cables(channel, place, spaces, index_of)
        self._index_of = index_of

    def handler(self, op: Op) -> Callable[[list[Op]], list[Failure]]:
        """Return the handler of an operation on a device; consecutive operations with one handler share messages."""
        if self.uplinks.concerns(op.obj):
            return self.uplinks.apply
        if isinstance(op, Delete):
            return self.delete
        if isinstance(op.obj, VethPort | TapPort):
            return self.make_ports
        if isinstance(op.obj, CableEnd):
            return self._cables.make
        if isinstance(op.obj, Rooted):
            return self.roots.make
        # A VXLAN device is created in the underlay, where its UDP socket stays, and changed in the overlay.
        return self.make_vxlans if isinstance(op.obj, Vxlan) and isinstance(op, Create) else self.make

    def make(self, ops: list[Op]) -> list[Failure]:
        """Create VRF devices, each in one message, and mark them in a second batch; or change VRF and VXLAN devices."""
        return self._make(self._channel, ops)

    def make_vxlans(self, ops: list[Op]) -> list[Failure]:
        """Create VXLAN devices likewise."""
        return self._make(self._underlay, ops)

    def make_ports(self, ops: list[Op]) -> list[Failure]:
        """Plug, take over or change ports, one by one."""
        failures: list[Failure] = []
        for op in ops:
            try:
                self._make_port(op)
            except KernelError as error:
                failures.append(Failure(op, error))
        return failures

    def delete(self, ops: list[Op]) -> list[Failure]:
        """Delete devices, several at once as a group. An instance's namespace made by netorch goes with its last port."""
        names = [_ifname(op.obj) for op in ops]
        homes = {op.obj.instance_netns: "" for op in ops if isinstance(op.obj, VethPort) and op.obj.make_netns}
        labels = [self.ports.label_of(name) for name in names if is_port(name)]
        homes |= {label.instance: label.made for label in labels if label is not None and label.made}
        if len(names) > 1:
            self._channel.batch([encode.set_link(name, encode.group(encode.DELETED_GROUP)) for name in names])
            self._channel.batch([encode.del_group(encode.DELETED_GROUP)])
        # Delete the rest one by one: a single device, or a group with a member that the kernel refused to delete.
        refused = self._channel.batch([encode.del_link(name) for name in names])
        failures = [failure(ops[i], refusal) for i, refusal in refused.items() if refusal.errno not in ABSENT]
        for home, made in homes.items():
            try:
                release(home, made)
            except KernelError as error:
                failures.append(Failure(ops[0], error))
        return failures

    def _make(self, channel: Channel, ops: list[Op]) -> list[Failure]:
        failures: list[Failure] = []
        messages: list[Message] = []
        sent: list[Op] = []
        for op in ops:
            try:
                messages.append(self._message(op))
                sent.append(op)
            except encode.NotPackable as error:
                failures.append(failure(op, error.refusal))
            except LookupError:
                failures.append(failure(op, NetlinkError(errno.ENODEV, "there is no such VRF")))
        refused = channel.batch(messages)
        marks: list[Op] = []
        for position, op in enumerate(sent):
            refusal = refused.get(position)
            if refusal is not None and not (refusal.errno == errno.EEXIST and self._exists(op.obj)):
                failures.append(failure(op, refusal))
            elif refusal is None and (isinstance(op, Create) or (isinstance(op, Replace) and isinstance(op.old, IncompleteLink))):
                marks.append(op)
        refused = self._channel.batch([encode.set_altname(_ifname(op.obj)) for op in marks])
        return failures + [failure(marks[position], refusal) for position, refusal in refused.items()]

    def _message(self, op: Op) -> Message:
        obj = op.obj
        if isinstance(obj, Vxlan):
            vrf = self._index_of(obj.vrf)
            if isinstance(op, Replace):
                # Linux flushes a device's neighbours when its MAC is set, even to the same value.
                mac = encode.lladdr(obj.lladdr) if getattr(op.old, "lladdr", "") != obj.lladdr else b""
                return encode.set_link(obj.ifname, mac, encode.mtu(obj.mtu), encode.group(obj.group), encode.master(vrf))
            return encode.new_vxlan(obj, self._fd, vrf)
        if isinstance(obj, Vrf):
            return encode.new_vrf(obj) if isinstance(op, Create) else encode.set_link(obj.ifname)  # only its mark is missing
        raise encode.NotPackable(NetlinkError(errno.EINVAL, f"a {type(obj).__name__} cannot be created"))

    def _make_port(self, op: Op) -> None:
        port = op.obj
        if not isinstance(port, VethPort | TapPort):
            raise KernelError(describe(op), errno.EINVAL, "not a port")
        if isinstance(op, Create) and self._exists(port):
            return
        if isinstance(port, VethPort):
            stays = isinstance(op, Replace) and port.same_place(op.old)
            self.ports.adjust(port) if stays else self.ports.plug(port)
        elif isinstance(op, Replace):
            self.ports.finish_tap(port)
        else:
            self.ports.make_tap(port)

    def _exists(self, obj: KernelObject) -> bool:
        found = read_link(self._channel, _ifname(obj), self._place)
        return found is not None and found[1] is not None and obj.matches(found[1])


def _ifname(obj: KernelObject) -> str:
    if not isinstance(obj, Link):
        raise TypeError(f"{type(obj).__name__} is not a device")
    return obj.ifname
