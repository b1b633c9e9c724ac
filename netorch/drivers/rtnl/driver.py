"""Route netlink in one namespace: devices, their addresses, routes and entries, and their settings.

This is one driver, because its objects share a notification socket: notifications name a device by ifindex, and report its
deletion before that of its routes. Generic receive offload (GRO) is set by an ioctl, but read and notified of together with
the devices.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import groupby, islice
from typing import Final

from netorch.drivers import ethtool, foreign
from netorch.drivers.base import KernelEvent, LearnedRoute
from netorch.drivers.netlink import Channel
from netorch.drivers.rtnl import devices, encode, learned, settings
from netorch.drivers.rtnl.devices import Place
from netorch.drivers.rtnl.dump import read_all, read_devices
from netorch.drivers.rtnl.entries import Entries
from netorch.drivers.rtnl.kinds.port import index_in
from netorch.drivers.rtnl.links import Links
from netorch.drivers.rtnl.monitor import Monitor
from netorch.drivers.rtnl.uapi import RTM
from netorch.drivers.spaces import FarEnds, Spaces
from netorch.errors import KernelError
from netorch.state.base import UNDERLAY, KernelObject, Key
from netorch.state.l2 import Fdb
from netorch.state.l3 import Address, Neighbour, Route, Rule
from netorch.state.link import AdminUp, CableEnd, Gro, Link, Settings, Vxlan
from netorch.state.op import Delete, Failure, Op, Replace

_SLICE: Final = 1000  # operations between reads of our own notifications, which would otherwise overflow the buffer

Handler = Callable[[list[Op]], list[Failure]]


class Rtnl:
    """Implements `netorch.drivers.base.Driver`. Only one thread at a time may use it, but any thread may."""

    kinds: Final = frozenset(of.kind for of in (Link, AdminUp, Gro, Settings, Address, Route, Neighbour, Fdb, Rule))

    def __init__(self, label: str, spaces: Spaces) -> None:
        """Open the namespace with that label, and the underlay, in which some devices are created. Raises OSError."""
        self.netns = label
        self._fd = fd = spaces.fds[label]
        self._underlay = Channel(spaces.fds[UNDERLAY])
        self._channel = Channel(fd)
        far_ends = FarEnds(spaces, self._channel)
        self._place = Place(netns=label, far_end=far_ends.find, label_of=far_ends.label_of)
        self._monitor = Monitor(fd, self._channel, self._place)
        read_devices(self._channel, self._place)
        self._indexes: dict[str, int] = {}
        self._links = Links(self._channel, self._underlay, self._place, spaces, self._index_of)
        self._ports = self._links.ports
        entries = Entries(self._channel, self._monitor, self._index_of)
        self._handlers: dict[str, Handler] = {
            Gro.kind: partial(ethtool.apply, fd),
            Settings.kind: partial(settings.apply, fd, self._channel),
            **dict.fromkeys((AdminUp.kind, Address.kind, Route.kind, Neighbour.kind, Fdb.kind, Rule.kind), entries.send),
        }

    def dump(self) -> dict[Key, KernelObject]:
        """Return netorch's objects and foreign ones. Cost: ten dumps, and one lookup of the namespace's name per port."""
        self._monitor.forget()
        try:
            objects = [*read_all(self._channel, self._place), *foreign.old_tables(self._fd, self.netns)]
            objects += ethtool.read(self._fd, [obj.ifname for obj in objects if isinstance(obj, Vxlan)])
        except OSError as error:
            raise KernelError(f"dump the {self.netns} namespace", error.errno or 0, str(error)) from error
        self._monitor.learn({obj.ifname for obj in objects if isinstance(obj, AdminUp)})
        return {obj.key: obj for obj in objects}

    def apply(self, ops: Sequence[Op]) -> list[Failure]:
        """Apply the operations; consecutive ones with the same handler share netlink messages."""
        failures: list[Failure] = []
        self._monitor.drain(_made_elsewhere(ops))
        self._indexes.clear()
        for handler, group in groupby(ops, key=self._handler_of):
            while batch := list(islice(group, _SLICE)):
                refused = handler(batch)
                failures += refused
                self._skip_own(batch, {failure.op.obj.key for failure in refused})
        if any(isinstance(op.obj, AdminUp) for op in ops):  # routes to the ports exist now, too
            self._ports.wake_taken()
        failed = {failure.op.obj.key for failure in failures}
        self._monitor.settle([op.obj.key for op in ops if op.obj.key not in failed])
        return failures

    def events(self) -> list[KernelEvent]:
        """Return changes since the last call that `apply` did not make; never blocks."""
        return self._monitor.take()

    def skip(self, keys: Collection[Key]) -> None:
        """Treat queued notifications about these objects as netorch's own: another driver has set them."""
        self._monitor.drain()
        self._monitor.settle(keys)

    def names(self) -> Mapping[int, str]:
        """Return the names of all devices by ifindex, as last notified."""
        return self._place.names

    def fileno(self) -> int:
        """Return a descriptor that is readable when `events` has something to return."""
        return self._monitor.fileno()

    def left_alone(self, ifname: str) -> str:
        """Return what was found in an instance's namespace and kept when its port was plugged; empty if nothing."""
        return self._ports.left_alone(ifname)

    def has_carrier(self, ifname: str) -> bool:
        """Return whether a device exists, is up, and is connected to something. Raises KernelError."""
        try:
            body = self._channel.get(RTM.GETLINK, encode.get_link(ifname))
        except OSError as error:
            raise KernelError(f"read {ifname}", error.errno or 0, str(error)) from error
        return body is not None and devices.device(body).carries

    def learned(self, table: int) -> tuple[LearnedRoute, ...]:
        """Return a routing daemon's routes in a table. Raises KernelError."""
        self.skip(())  # updates the devices' names
        try:
            return learned.read(self._channel, table, self._place.names)
        except OSError as error:
            raise KernelError(f"read the learned routes of table {table}", error.errno or 0, str(error)) from error

    def remove_learned(self) -> None:
        """Remove all routes of a routing daemon from this namespace. Raises OSError."""
        for table in learned.remove(self._channel):
            self._monitor.note_learned(table)
        self._monitor.settle(())

    def empty(self) -> None:
        """Move uplinks back, and delete veth pairs and devices rooted here: the kernel would do so later, and lose uplinks.

        Raises:
          OSError: the kernel does not show what is in the namespace.
        """
        self._links.roots.uproot()
        self._links.uplinks.give_back_all()
        veths = [dev.ifname for dev in read_devices(self._channel, self._place) if dev.kind == "veth"]
        self._channel.batch([encode.del_link(ifname) for ifname in veths])

    def close(self) -> None:
        """Close the sockets."""
        self._ports.close()
        self._monitor.close()
        self._channel.close()
        self._underlay.close()

    def _handler_of(self, op: Op) -> Handler:
        return self._links.handler(op) if isinstance(op.obj, Link) else self._handlers[op.obj.kind]

    def _skip_own(self, ops: list[Op], failed: Container[Key]) -> None:
        """Consume the notifications of the driver's own changes of devices and FDBs, and record their contents."""
        links: set[str] = set()
        made: set[str] = set()
        fdb: set[int] = set()
        for op in ops:
            obj = op.obj
            if isinstance(obj, Link | AdminUp | Gro | Settings):
                links.add(obj.ifname)
                if isinstance(op, Delete) or (isinstance(obj, Link) and obj.key in failed):
                    made.discard(obj.ifname)
                else:
                    made.add(obj.ifname)
                if isinstance(obj, CableEnd) and obj.peer_netns == self.netns and not isinstance(op, Delete):
                    links.add(obj.peer)  # created together with it
                if isinstance(op, Delete):
                    self._indexes.pop(obj.ifname, None)
                elif isinstance(obj, AdminUp):
                    self._monitor.note_up(obj.ifname)
            elif isinstance(obj, Fdb):
                with suppress(LookupError):
                    fdb.add(self._index_of(obj.ifname))
            elif isinstance(obj, Address) and isinstance(op, Delete) and _takes_routes(obj):
                self._monitor.lose()
        if links or fdb:
            self._indexes.update(self._monitor.drain(links, fdb, made))

    def _index_of(self, ifname: str) -> int:
        """Return a device's ifindex, requested at most once per `apply`. Raises LookupError."""
        index = self._indexes.get(ifname)
        if index is None:
            index = self._indexes[ifname] = index_in(self._channel, ifname)
        return index


def _takes_routes(ended: Address) -> bool:
    """Return whether deleting this address may have removed routes. The agent deleted the address itself.

    With a device's last IPv4 address, the kernel flushes its IPv4 routes without notification. A VRF with routes of netorch
    to itself also has a router's address (netorch.compiler.services.near), so the agent never deletes its last one.
    """
    return ":" not in ended.address and not ended.ifname.startswith("vrf")


def _made_elsewhere(ops: Sequence[Op]) -> set[str]:
    """Return ends of veth pairs that were created or deleted from their other end's namespace by the agent itself."""
    return {
        op.obj.ifname
        for op in ops
        if isinstance(op.obj, CableEnd) and op.obj.peer_netns != op.obj.netns and not isinstance(op, Replace)
    }
