"""Traffic control in one namespace: clsact and its filters, and detection of other qdiscs."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec

from netorch.drivers.base import Count, Gone, KernelEvent, Lost, Seen
from netorch.drivers.netlink import ABSENT, Channel, Message, NetlinkError, arrived, open_socket, skip_ports
from netorch.drivers.rtnl.entries import failure
from netorch.drivers.rtnl.kinds.port import index_in
from netorch.drivers.rtnl.uapi import RTM, RTNLGRP
from netorch.drivers.tc import decode, encode
from netorch.drivers.tc.actions import Names
from netorch.drivers.tc.uapi import TCMSG
from netorch.errors import KernelError
from netorch.state.base import KernelObject, Key
from netorch.state.op import Create, Delete, Failure, Op
from netorch.state.tc import Clsact, StrangeFilter, TcFilter

_QUEUE_BYTES: Final = 4 << 20
_DATAGRAMS: Final = 1 << 16  # more than fit into the queue
_RECV: Final = 1 << 17  # bytes


class Tc:
    """Implements `netorch.drivers.base.Driver`. `names` returns all devices' names by ifindex, as last notified."""

    kinds: Final = frozenset({Clsact.kind, TcFilter.kind})

    def __init__(self, label: str, netns_fd: int, names: Callable[[], Names]) -> None:
        """Open the namespace with that label. Raises OSError."""
        self.netns = label
        self._names = names
        self._channel = Channel(netns_fd)
        self._monitor = open_socket(netns_fd, 1 << (RTNLGRP.TC - 1), _QUEUE_BYTES)
        self._monitor.setblocking(False)
        skip_ports(self._monitor, (self._channel.port,))

    def dump(self) -> dict[Key, KernelObject]:
        """Return clsact qdiscs and filters of netorch's devices, and foreign qdiscs. Cost: one dump, and two per clsact."""
        self.events()
        try:
            return {obj.key: obj for obj in map(self._placed, self._read())}
        except OSError as error:
            raise KernelError(f"dump traffic control of the {self.netns} namespace", error.errno or 0, str(error)) from error

    def apply(self, ops: Sequence[Op]) -> list[Failure]:
        """Apply the operations in one batch of messages."""
        indexes: dict[str, int] = {}

        def index_of(ifname: str) -> int:
            if ifname not in indexes:
                indexes[ifname] = index_in(self._channel, ifname)
            return indexes[ifname]

        messages: list[Message] = []
        sent: list[Op] = []
        failures: list[Failure] = []
        for op in ops:
            delete = isinstance(op, Delete)
            try:
                messages.append(encode.pack(op.obj, index_of, delete=delete))
                sent.append(op)
            except LookupError:
                failures += [] if delete else [failure(op, NetlinkError(errno.ENODEV))]
        refused = self._channel.batch(messages)
        hard = ((sent[i], refusal) for i, refusal in refused.items() if not _tolerated(sent[i], refusal.errno))
        return failures + [failure(op, refusal) for op, refusal in hard]

    def counts(self, ifname: str) -> dict[Key, Count]:
        """Return the counters of each filter of a device; empty if the device does not exist. Cost: two dumps.

        Raises:
          KernelError: the kernel refused.
        """
        names = self._names()
        device = next((number for number, name in names.items() if name == ifname), None)
        if device is None:
            return {}
        try:
            return {found.key: decode.count(body) for found, body in self._filters(device, names)}
        except OSError as error:
            raise KernelError(f"read the counters of the filters of {ifname}", error.errno or 0, str(error)) from error

    def events(self) -> list[KernelEvent]:
        """Return changes made by others since the last call; never blocks."""
        found: list[KernelEvent] = []
        for answer in arrived(self._monitor, _DATAGRAMS, _RECV):
            found += [Lost(self.kinds)] if answer is None else self._event(answer[0], answer[2])
        return found

    def fileno(self) -> int:
        """Return a descriptor that is readable when `events` has something to return."""
        return self._monitor.fileno()

    def close(self) -> None:
        """Close the sockets."""
        self._monitor.close()
        self._channel.close()

    def _read(self) -> Iterator[KernelObject]:
        names = self._names()
        for _, _, body in self._channel.dump(RTM.GETQDISC, bytes(TCMSG.SIZE)):
            found = decode.qdisc(body, names)
            if found is None:
                continue
            yield found
            if isinstance(found, Clsact):
                yield from (each for each, _ in self._filters(decode.device_number(body), names))

    def _placed(self, obj: KernelObject) -> KernelObject:
        return obj if obj.netns == self.netns else msgspec.structs.replace(obj, netns=self.netns)

    def _filters(self, device: int, names: Names) -> Iterator[tuple[TcFilter | StrangeFilter, bytes]]:
        """Yield a device's filters, each with its message."""
        for hook in encode.HOOKS.values():
            for _, _, body in self._channel.dump(RTM.GETTFILTER, encode.head_of(device, parent=hook)):
                found = decode.tc_filter(body, names)
                if found is not None:
                    yield found, body

    def _event(self, kind: int, body: bytes) -> list[KernelEvent]:
        names = self._names()
        if kind in (RTM.NEWQDISC, RTM.DELQDISC):
            found: KernelObject | None = decode.qdisc(body, names)
        elif kind in (RTM.NEWTFILTER, RTM.DELTFILTER):
            found = decode.tc_filter(body, names)
            if found is None:
                return [Lost(self.kinds)]  # for some kinds of filters, Linux does not report which filter changed
        else:
            return []
        if found is None:
            return []
        found = self._placed(found)
        return [Seen(found)] if kind in (RTM.NEWQDISC, RTM.NEWTFILTER) else [Gone(found.key, found.vni)]


def _tolerated(op: Op, number: int) -> bool:
    """Return whether the refusal means that the wanted state already exists."""
    if isinstance(op, Delete):
        return number in ABSENT or number == errno.EINVAL  # its device has no clsact any more
    return isinstance(op, Create) and isinstance(op.obj, Clsact) and number == errno.EEXIST
