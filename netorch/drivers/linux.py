"""The kernel of a real host: its underlay namespace, which is the creating thread's own, and its fabric namespace.

Operations come in the plan's order and are carried out in lanes: neighbouring operations of one lane share netlink messages.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Collection, Iterable, Sequence, Set
from contextlib import suppress
from functools import partial
from itertools import groupby, islice
from typing import Final

from netorch.drivers import ethtool, foreign, netns, sysctl
from netorch.drivers.base import KernelEvent, Seen, TableUse, Underlay
from netorch.drivers.conntrack.flows import Conntrack
from netorch.drivers.conntrack.table import ConnectionTable, refusing
from netorch.drivers.home import release
from netorch.drivers.ip_counters import IpCounters
from netorch.drivers.netlink import ABSENT, Channel, Message, Refusal
from netorch.drivers.nft.tables import Nft
from netorch.drivers.rtnl import decode, encode, settings
from netorch.drivers.rtnl.dump import read_all, read_link, read_names, read_routes, read_underlay
from netorch.drivers.rtnl.monitor import Monitor
from netorch.drivers.rtnl.port import Ports, index_in
from netorch.errors import KernelError
from netorch.state.base import OVERLAY, UNDERLAY, KernelObject, Key
from netorch.state.flow import Flow
from netorch.state.l2 import Fdb
from netorch.state.l3 import Address, Route, Rule
from netorch.state.link import AdminUp, Gro, IncompleteLink, Link, Settings, Sysctl, TapPort, VethPort, Vrf, Vxlan
from netorch.state.nft import NftChain, NftElement, NftMap, NftTable, PortChain, freed_zone
from netorch.state.op import Create, Delete, Failure, Op, Replace, describe
from netorch.state.owner import fabric_netns

_SLICE: Final = 1000  # operations between two looks at our own notifications, which else overrun their buffer


class LinuxKernel:
    """Implements `netorch.drivers.base.Kernel`. One thread at a time may use it; which one does not matter."""

    def __init__(self, host: str) -> None:
        """Open the host, and make its fabric namespace when it is absent.

        Raises:
          KernelError: CAP_SYS_ADMIN or CAP_NET_ADMIN is missing, or so is a part of the kernel.
        """
        name = fabric_netns(host)
        self._underlay_fd = netns.current()
        self._fabric_fd = netns.make(name)
        try:
            self._underlay = Channel(self._underlay_fd)
            self._fabric = Channel(self._fabric_fd)
            self._conntrack = Conntrack(self._fabric_fd)
            self._table = ConnectionTable(self._fabric_fd)
            self._ip = IpCounters(self._fabric_fd)
            self._monitor = Monitor(self._underlay_fd, self._fabric_fd, name, self._fabric)
            self._monitor.learn(read_names(self._fabric), set())
        except OSError as error:
            raise KernelError(f"open namespace {name}", error.errno or 0, str(error)) from error
        self.identity = netns.identity(self._fabric_fd)
        self.claim = partial(netns.claim, self._fabric_fd)  # how to be its one agent, as long as what it returns is held
        self._indexes: dict[str, int] = {}
        self._sysctls = sysctl.Watch(self._fabric_fd)
        self._ports = Ports(self._fabric_fd, self._underlay_fd, self._fabric, self._index_of)
        self._nft = {UNDERLAY: Nft(UNDERLAY, self._underlay_fd), OVERLAY: Nft(OVERLAY, self._fabric_fd)}
        for nft in self._nft.values():
            self._monitor.also(nft.fileno())

    def dump(self) -> dict[Key, KernelObject]:
        """Return every object that is ours. Cost: eleven dumps, and for each port a look at what its namespace's name means."""
        self._monitor.keep_name()
        self._monitor.forget()
        try:
            reading = read_all(self._fabric)
            objects: list[KernelObject] = [*self._sysctls.read(), *reading.objects, *foreign.old_tables(self._fabric_fd)]
            objects += ethtool.read(self._fabric_fd, [obj.ifname for obj in reading.objects if isinstance(obj, Vxlan)])
        except OSError as error:
            raise KernelError("dump the fabric namespace", error.errno or 0, str(error)) from error
        self._monitor.learn(reading.names, reading.up)
        return {obj.key: obj for obj in objects} | self.dump_nft()

    def dump_nft(self) -> dict[Key, KernelObject]:
        """Return our tables and their elements only."""
        return self._nft[UNDERLAY].dump() | self._nft[OVERLAY].dump()

    def apply(self, ops: Sequence[Op]) -> list[Failure]:
        """Carry out the operations in order and return the refused ones."""
        failures: list[Failure] = []
        self._monitor.drain()
        self._indexes.clear()
        for lane, group in groupby(ops, key=_lane):
            while batch := list(islice(group, _SLICE)):
                failures += self._carry_out(lane, batch)
                self._skip_own(batch)
        self._ports.wake_taken()
        failed = {failure.op.obj.key for failure in failures}
        self._monitor.settle([op.obj.key for op in ops if op.obj.key not in failed])
        return failures

    def underlay(self, vtep: str) -> Underlay | None:
        """Return the device that holds the VTEP address, or None; from now on changes of it are events."""
        try:
            found = read_underlay(self._underlay, vtep)
        except OSError as error:
            raise KernelError(f"look for {vtep}", error.errno or 0, str(error)) from error
        mtus, underlay = found if found is not None else ({}, None)
        self._monitor.vtep = (vtep, mtus)
        return underlay

    def fileno(self) -> int:
        """Return a descriptor that is readable when `events` has something."""
        return self._monitor.fileno()

    def events(self) -> list[KernelEvent]:
        """Return what changed since the last call, other than by `apply`; never blocks."""
        events: list[KernelEvent] = self._monitor.take()
        events += (Seen(obj) for obj in self._sysctls.changes())
        for nft in self._nft.values():
            events += nft.events()
        return events

    def counters(self) -> dict[str, int]:
        """Return the packets counted by our named nft counters, and those that the kernel had no room for."""
        counted = self._nft[UNDERLAY].counters() | self._nft[OVERLAY].counters()
        return counted | {"table_full": self._table.turned_away(), "fragments_lost": self._ip.fragments_lost()}

    def flows(self, zone: int, addresses: Collection[str] | None = None) -> tuple[Flow, ...]:
        """Return the tracked connections of a conntrack zone of the fabric, or those of some addresses in it."""
        return self._conntrack.dump(zone, addresses)

    def forget_flows(self, flows: Iterable[Flow]) -> None:
        """Let the kernel forget connections."""
        self._conntrack.forget(flows)

    def restore_flows(self, flows: Iterable[Flow]) -> None:
        """Let the kernel know connections that began elsewhere."""
        self._conntrack.restore(flows)

    def left_alone(self, ifname: str) -> str:
        """Return what stood in an instance's namespace when its port was plugged, and was left alone, or nothing."""
        return self._ports.left_alone(ifname)

    def table_use(self) -> TableUse:
        """Return how full the fabric's connection table is."""
        return self._table.use()

    def sample_zones(self, size: int) -> dict[int, int]:
        """Return how many of some connections each zone has."""
        return self._table.sample(size)

    def refused_zones(self) -> frozenset[int]:
        """Return the zones that may begin no connection now."""
        return self._table.refused()

    def refuse_zones(self, zones: Set[int]) -> None:
        """Let these zones, and no others, begin no connection for some seconds from now on."""
        self._nft[OVERLAY].commit(refusing(zones))

    def close(self) -> None:
        """Let go of sockets; everything in the kernel stays."""
        self._conntrack.close()
        self._table.close()
        self._ip.close()
        for nft in self._nft.values():
            nft.close()
        self._monitor.close()
        self._fabric.close()
        self._underlay.close()
        os.close(self._fabric_fd)
        os.close(self._underlay_fd)

    def _carry_out(self, lane: str, ops: list[Op]) -> list[Failure]:
        handler: Callable[[list[Op]], list[Failure]] = {
            "sysctl": self._sysctls.apply,
            "gro": lambda batch: ethtool.apply(self._fabric_fd, batch),
            "settings": lambda batch: settings.apply(self._fabric_fd, self._fabric, batch),
            "vrf": self._make_links,
            "vxlan": self._make_links,
            "port": self._make_ports,
            "bury": self._bury,
            "packed": self._send_packed,
            UNDERLAY: self._nft[UNDERLAY].apply,
            OVERLAY: self._change_fabric_nft,
        }[lane]
        return handler(ops)

    def _change_fabric_nft(self, ops: list[Op]) -> list[Failure]:
        """Change tables, and forget the connections of each zone that a VPC gives back: the next one must not inherit them.

        Before the zone is given back, which is the only memory of it, lest who dies in between forget it with them; and after,
        for what has begun meanwhile.
        """
        failures = self._forget_freed_zones(ops)
        kept = {failure.op.obj.key for failure in failures}
        failures += self._nft[OVERLAY].apply([op for op in ops if op.obj.key not in kept])
        failed = {failure.op.obj.key for failure in failures}
        return failures + self._forget_freed_zones(op for op in ops if op.obj.key not in failed)

    def _forget_freed_zones(self, ops: Iterable[Op]) -> list[Failure]:
        failures = []
        for op in ops:
            if isinstance(op, Delete) and (zone := freed_zone(op.obj)):
                try:
                    self._conntrack.flush_zone(zone)
                except KernelError as error:
                    failures.append(Failure(op, error))
        return failures

    def _skip_own(self, ops: list[Op]) -> None:
        """Read the notifications of our own changes of devices and FDBs away, and remember what they would have told."""
        links: set[str] = set()
        fdb: set[int] = set()
        for op in ops:
            obj = op.obj
            if isinstance(obj, Link | AdminUp | Gro | Settings):
                links.add(obj.ifname)
                if isinstance(obj, AdminUp) and not isinstance(op, Delete):
                    self._monitor.note_up(obj.ifname)
            elif isinstance(obj, Fdb):
                with suppress(LookupError):
                    fdb.add(self._index_of(obj.ifname))
            elif isinstance(obj, Address) and isinstance(op, Delete) and decode.takes_routes(obj):
                self._monitor.lose("all")
        if links or fdb:
            self._indexes.update(self._monitor.drain(links, fdb))

    def _index_of(self, ifname: str) -> int:
        """Return a device's number, asked once an `apply`. Raises LookupError."""
        index = self._indexes.get(ifname)
        if index is None:
            index = self._indexes[ifname] = index_in(self._fabric, ifname)
        return index

    def _make_links(self, ops: list[Op]) -> list[Failure]:
        """Create VRF or VXLAN devices, each in one message, and mark them in a second batch; or change VXLAN devices."""
        failures: list[Failure] = []
        channel = self._fabric
        messages: list[Message] = []
        sent: list[Op] = []
        for op in ops:
            try:
                messages.append(self._link_message(op))
                sent.append(op)
            except encode.NotPackable as error:
                failures.append(_failure(op, error.refusal))
            except LookupError:
                failures.append(_failure(op, Refusal(errno.ENODEV, "there is no such VRF")))
            if isinstance(op, Create) and isinstance(op.obj, Vxlan):
                channel = self._underlay
        refused = channel.batch(messages)
        marks: list[Op] = []
        for position, op in enumerate(sent):
            refusal = refused.get(position)
            if refusal is not None and not (refusal.errno == errno.EEXIST and self._stands(op.obj)):
                failures.append(_failure(op, refusal))
            elif refusal is None and (isinstance(op, Create) or (isinstance(op, Replace) and isinstance(op.old, IncompleteLink))):
                marks.append(op)
        refused = self._fabric.batch([encode.mark(str(op.obj.key[2])) for op in marks])
        return failures + [_failure(marks[position], refusal) for position, refusal in refused.items()]

    def _link_message(self, op: Op) -> Message:
        obj = op.obj
        if isinstance(obj, Vxlan):
            vrf = self._index_of(obj.vrf)
            if isinstance(op, Replace):
                # Linux forgets a device's neighbours when it is given a MAC, were it the one that it has.
                mac = encode.lladdr(obj.lladdr) if getattr(op.old, "lladdr", "") != obj.lladdr else b""
                return encode.set_link(obj.ifname, mac, encode.mtu(obj.mtu), encode.group(obj.group), encode.master(vrf))
            return encode.new_vxlan(obj, self._fabric_fd, vrf)
        if isinstance(obj, Vrf):
            return encode.new_vrf(obj) if isinstance(op, Create) else encode.set_link(obj.ifname)  # it lacks its mark only
        raise encode.NotPackable(Refusal(errno.EINVAL, f"a {type(obj).__name__} cannot be created"))

    def _stands(self, obj: KernelObject) -> bool:
        found = read_link(self._fabric, str(obj.key[2]))
        return found is not None and found[1] is not None and obj.matches(found[1])

    def _make_ports(self, ops: list[Op]) -> list[Failure]:
        failures: list[Failure] = []
        for op in ops:
            try:
                self._make_port(op)
            except KernelError as error:
                failures.append(Failure(op, error))
        return failures

    def _make_port(self, op: Op) -> None:
        port = op.obj
        if not isinstance(port, VethPort | TapPort):
            raise KernelError(describe(op), errno.EINVAL, "not a port")
        if isinstance(op, Create) and self._stands(port):
            return
        if isinstance(port, VethPort):
            stays = isinstance(op, Replace) and port.same_place(op.old)
            self._ports.adjust(port) if stays else self._ports.plug(port)
        elif isinstance(op, Replace):
            self._ports.finish_tap(port)
        else:
            self._ports.make_tap(port)

    def _bury(self, ops: list[Op]) -> list[Failure]:
        """Delete devices, several at once as a group; the namespaces that we made for instances go with their last port."""
        names = [str(op.obj.key[2]) for op in ops]
        homes = {op.obj.instance_netns: "" for op in ops if isinstance(op.obj, VethPort) and op.obj.make_netns}
        labels = [self._ports.label_of(name) for name in names if name.startswith("v-")]
        homes |= {label.instance: label.made for label in labels if label is not None and label.made}
        if len(names) > 1:
            self._fabric.batch([encode.set_link(name, encode.group(encode.DOOMED_GROUP)) for name in names])
            self._fabric.batch([encode.del_group(encode.DOOMED_GROUP)])
        # One by one what is left: a single device, or a group of which the kernel refused to delete one.
        refused = self._fabric.batch([encode.del_link(name) for name in names])
        for name in names:
            self._indexes.pop(name, None)
        failures = [_failure(ops[i], refusal) for i, refusal in refused.items() if refusal.errno not in ABSENT]
        for home, made in homes.items():
            try:
                release(home, made)
            except KernelError as error:
                failures.append(Failure(ops[0], error))
        return failures

    def _send_packed(self, ops: list[Op]) -> list[Failure]:
        messages: list[Message] = []
        owners: list[Op] = []
        failures: list[Failure] = []
        for op in ops:
            delete = isinstance(op, Delete)
            try:
                made = encode.pack(op.obj, self._index_of, delete=delete, replace=isinstance(op, Replace))
            except LookupError:
                if not delete:
                    failures.append(_failure(op, Refusal(errno.ENODEV)))
                continue
            messages += made
            owners += [op] * len(made)
        refused = self._fabric.batch(messages)
        hard = [(owners[i], refusal) for i, refusal in refused.items() if not _tolerated(owners[i], refusal.errno)]
        standing = [item for item in hard if isinstance(item[0].obj, Route) and item[1].errno == errno.EEXIST]
        failures += [_failure(op, refusal) for op, refusal in hard if (op, refusal) not in standing]
        return failures + self._settle_routes(standing)

    def _settle_routes(self, standing: list[tuple[Op, Refusal]]) -> list[Failure]:
        """Replace routes of ours that stood in the way of new ones; equal ones are fine, foreign ones are failures."""
        if not standing:
            return []
        ours = {route.key: route for route in read_routes(self._fabric, self._monitor.names)}
        failures: list[Failure] = []
        for op, refusal in standing:
            found = ours.get(op.obj.key)
            if found is None:
                failures.append(_failure(op, Refusal(refusal.errno, "a route of somebody else's stands there; remove it")))
            elif not op.obj.matches(found):
                failures += self._send_packed([Replace(found, op.obj)])
        return failures


def _lane(op: Op) -> str:
    match op.obj:
        case NftTable() | NftElement():
            return op.obj.netns
        case PortChain() | NftMap() | NftChain():
            return OVERLAY
        case Sysctl():
            return "sysctl"
        case Gro():
            return "gro"
        case Settings():
            return "settings"
        case Link() if isinstance(op, Delete):
            return "bury"
        case Vrf():
            return "vrf"
        case Vxlan():
            return "vxlan" if isinstance(op, Create) else "vrf"
        case Link():
            return "port"
        case _:
            return "packed"


def _tolerated(op: Op, number: int) -> bool:
    """Return whether a refusal leaves things as they were asked for."""
    match op:
        case Create(Rule()):
            return number in {errno.EEXIST, errno.ENOENT}  # ours is there; the kernel's own is gone already
        case Delete(Rule()):
            return number in ABSENT or number == errno.EEXIST
        case Delete():
            return number in ABSENT
        case Create(Address()):
            return number == errno.EEXIST
        case _:
            return False


def _failure(op: Op, refusal: Refusal) -> Failure:
    return Failure(op, KernelError(describe(op), refusal.errno, refusal.detail))
