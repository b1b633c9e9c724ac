"""Entries on devices and in tables: addresses, routes, neighbours, FDB entries, rules, and whether a device is up."""

from __future__ import annotations

import errno

from netorch.drivers.netlink import ABSENT, Channel, Message, NetlinkError
from netorch.drivers.rtnl import encode
from netorch.drivers.rtnl.dump import read_routes
from netorch.drivers.rtnl.monitor import Monitor
from netorch.errors import KernelError
from netorch.state.l3 import Address, Route, Rule
from netorch.state.op import Create, Delete, Failure, Op, Replace, describe


class Entries:
    """The entries of one namespace."""

    def __init__(self, channel: Channel, monitor: Monitor, index_of: encode.IndexOf) -> None:
        self._channel = channel
        self._monitor = monitor
        self._index_of = index_of

    def send(self, ops: list[Op]) -> list[Failure]:
        """Apply operations in one batch of messages."""
        messages: list[Message] = []
        owners: list[Op] = []
        failures: list[Failure] = []
        for op in ops:
            delete = isinstance(op, Delete)
            try:
                made = encode.pack(op.obj, self._index_of, delete=delete, replace=isinstance(op, Replace))
            except LookupError:
                if not delete:
                    failures.append(failure(op, NetlinkError(errno.ENODEV)))
                continue
            messages += made
            owners += [op] * len(made)
        refused = self._channel.batch(messages)
        hard = [(owners[i], refusal) for i, refusal in refused.items() if not _tolerated(owners[i], refusal.errno)]
        in_the_way = [item for item in hard if isinstance(item[0].obj, Route) and item[1].errno == errno.EEXIST]
        failures += [failure(op, refusal) for op, refusal in hard if (op, refusal) not in in_the_way]
        return failures + self._settle_routes(in_the_way)

    def _settle_routes(self, in_the_way: list[tuple[Op, NetlinkError]]) -> list[Failure]:
        """Replace netorch's routes that conflict with new ones; equal ones are fine, foreign ones are failures."""
        if not in_the_way:
            return []
        ours = {route.key: route for route in read_routes(self._channel, self._monitor.place)}
        failures: list[Failure] = []
        for op, refusal in in_the_way:
            found = ours.get(op.obj.key)
            if found is None:
                failures.append(failure(op, NetlinkError(refusal.errno, "a route of a foreign one exists; remove it")))
            elif not op.obj.matches(found):
                failures += self.send([Replace(found, op.obj)])
        return failures


def failure(op: Op, refusal: NetlinkError) -> Failure:
    """Return the Failure for an operation that the kernel refused."""
    return Failure(op, KernelError(describe(op), refusal.errno, refusal.detail))


def _tolerated(op: Op, number: int) -> bool:
    """Return whether the refusal means that the wanted state already exists."""
    match op:
        case Create(Rule()):
            return number in {errno.EEXIST, errno.ENOENT}  # netorch's rule exists; the kernel's own is gone already
        case Delete(Rule()):
            return number in ABSENT or number == errno.EEXIST
        case Delete():
            return number in ABSENT
        case Create(Address()):
            return number == errno.EEXIST
        case _:
            return False
