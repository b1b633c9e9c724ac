"""The fake and Linux as stands, each with another program that changes things behind the agent's back."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from netorch.drivers import ethtool, netns
from netorch.drivers.base import Kernel
from netorch.drivers.daemons.sealing import EdgeKey
from netorch.drivers.fake.kernel import FakeKernel
from netorch.drivers.nft.commands import steps
from netorch.drivers.nft.wire.commit import CommitSocket
from netorch.drivers.nft.wire.encode import messages
from netorch.drivers.nft.wire.messages import transaction
from netorch.state.base import OUTSIDE, OVERLAY, KernelObject, link_key
from netorch.state.l2 import Fdb
from netorch.state.l3 import Address, Neighbour, Route
from netorch.state.link import AdminUp, CableEnd, Gro, IncompleteLink, Link, Uplink
from netorch.state.netns import Namespace
from netorch.state.nft import Flowtable, FlowtableDevice, NftElement, NftTable, PortChain
from netorch.state.op import Create, Delete, Replace
from netorch.state.owner import altname, netns_name, overlay_netns
from netorch.state.rooted import Vlan, Xfrm
from netorch.state.tc import Clsact, StrangeFilter, TcFilter
from tests.contract.kernel.stands import HOST, STRAY, UNDERLAY_NAME, Movable, by_key


class FakeStand:
    """The fake, changed through its `disturb`."""

    def __init__(self) -> None:
        self.fake = FakeKernel()
        self.kernel: Kernel = self.fake

    def foreigner_deletes(self, obj: KernelObject) -> None:
        self.fake.disturb(Delete(obj))

    def foreigner_changes(self, obj: Movable) -> None:
        self.fake.disturb(Replace(self.fake.objects[obj.key], obj))

    def foreigner_renames(self, obj: Movable) -> None:
        left: list[KernelObject] = [IncompleteLink(netns=obj.netns, ifname=STRAY)]
        if isinstance(obj, CableEnd):
            other = self.fake.objects[link_key(obj.peer)]
            assert isinstance(other, CableEnd)
            left.append(msgspec.structs.replace(other, peer=STRAY))
        self.fake.disturb(Delete(obj))
        self.fake.objects.update(by_key(*left))

    def foreigner_carries_off(self, obj: Xfrm | Vlan) -> None:
        self.fake.disturb(Delete(obj))

    def foreigner_makes(self, obj: Xfrm | Vlan) -> None:
        theirs = _theirs(obj)
        self.fake.foreign[theirs.key] = theirs

    def foreigner_has(self, obj: Xfrm | Vlan) -> bool:
        return _theirs(obj).key in self.fake.foreign

    def foreigner_takes_back(self, uplink: Uplink) -> None:
        self.fake.disturb(Delete(uplink))
        self.fake.devices.add(uplink.ifname)

    def foreigner_filters(self, theirs: StrangeFilter) -> None:
        self.fake.disturb(Create(theirs))

    def foreigner_switches(self, gro: Gro) -> None:
        self.fake.disturb(Create(gro))

    def foreigner_makes_route(self, route: Route) -> None:
        self.fake.foreign[route.key] = route

    def foreigner_has_route(self, route: Route) -> bool:
        return route.key in self.fake.foreign

    def foreigner_deletes_namespace(self, label: str) -> None:
        self.fake.disturb(Delete(Namespace(label=label)))

    def foreigner_unmarks(self, uplink: Uplink) -> None:
        self.fake.disturb(Delete(uplink))

    def host_gets(self, ifname: str, mtu: int = 1500) -> None:
        self.fake.devices.add(ifname)
        self.fake.host.mtus[ifname] = mtu

    def has_device(self, ifname: str) -> bool:
        return ifname in self.fake.devices

    @contextmanager
    def restarted(self) -> Iterator[Kernel]:
        kernel = FakeKernel(self.fake.objects.values())
        kernel.host.objects = self.fake.objects
        yield kernel
        kernel.close()


class LinuxStand:
    """A LinuxKernel in namespaces of its own, and an operator with ip(8), bridge(8) and nft(8)."""

    def __init__(self, kernel: Kernel, key: EdgeKey) -> None:
        self.kernel = kernel
        self._key = key

    def foreigner_deletes(self, obj: KernelObject) -> None:
        match obj:
            case Link():
                self._run(obj.netns, "ip", "link", "del", obj.ifname)
            case AdminUp():
                self._run(obj.netns, "ip", "link", "set", obj.ifname, "down")
            case Route():
                self._run(obj.netns, "ip", "route", "del", obj.dst, "table", str(obj.table))
            case Neighbour():
                self._run(obj.netns, "ip", "neigh", "del", obj.dst, "dev", obj.ifname)
            case Fdb():
                self._run(obj.netns, "bridge", "fdb", "del", obj.lladdr, "dev", obj.ifname, "dst", obj.dst, "self")
            case Address():
                self._run(obj.netns, "ip", "addr", "del", obj.address, "dev", obj.ifname)
            case Clsact():
                self._run(obj.netns, "tc", "qdisc", "del", "dev", obj.ifname, "clsact")
            case TcFilter():
                place = ("dev", obj.ifname, obj.hook, "pref", str(obj.pref), "handle", hex(obj.handle))
                self._run(obj.netns, "tc", "filter", "del", *place, obj.match.text().split()[0])
            case NftElement():
                self._run(obj.netns, "nft", f"delete element {obj.family} netorch {obj.set} {{ {' . '.join(obj.items)} }}")
            case PortChain():
                self._run(obj.netns, "nft", f"flush chain netdev netorch {obj.ifname}; delete chain netdev netorch {obj.ifname}")
            case Flowtable():
                self._run(obj.netns, "nft", f"delete flowtable inet netorch {obj.name}")
            case FlowtableDevice():
                self._delete_packed(obj)  # nft 1.0.6 names no hook in such a command, and Linux refuses it
            case NftTable():
                self._run(obj.netns, "nft", f"delete table {obj.family} netorch")
            case _:
                raise AssertionError(obj)

    def foreigner_changes(self, obj: Movable) -> None:
        address = ("address", obj.lladdr) if isinstance(obj, CableEnd) else ()
        words = (*address, "mtu", str(obj.mtu), "group", str(obj.group), "master", obj.vrf)
        self._run(obj.netns, "ip", "link", "set", obj.ifname, *words)

    def foreigner_renames(self, obj: Movable) -> None:
        self._run(obj.netns, "ip", "link", "set", obj.ifname, "down")
        self._run(obj.netns, "ip", "link", "set", obj.ifname, "name", STRAY)

    def foreigner_carries_off(self, obj: Xfrm | Vlan) -> None:
        self._run(obj.netns, "ip", "link", "set", obj.ifname, "netns", UNDERLAY_NAME)

    def foreigner_makes(self, obj: Xfrm | Vlan) -> None:
        words = ("type", "xfrm", "if_id", str(obj.if_id)) if isinstance(obj, Xfrm) else ("link", obj.lower, *_vlan_words(obj))
        self._run(OUTSIDE, "ip", "link", "add", _theirs(obj).ifname, *words)

    def foreigner_has(self, obj: Xfrm | Vlan) -> bool:
        return f" {_theirs(obj).ifname}@" in self._run(OUTSIDE, "ip", "link")

    def foreigner_takes_back(self, uplink: Uplink) -> None:
        self._run(uplink.netns, "ip", "link", "set", uplink.ifname, "netns", UNDERLAY_NAME)

    def foreigner_filters(self, theirs: StrangeFilter) -> None:
        place = ("dev", theirs.ifname, theirs.hook, "protocol", "ip", "pref", str(theirs.pref), "handle", hex(theirs.handle))
        self._run(theirs.netns, "tc", "filter", "add", *place, "matchall", "action", "drop")

    def foreigner_switches(self, gro: Gro) -> None:
        descriptor = netns.find(overlay_netns(HOST))
        assert ethtool.apply(descriptor, [Create(gro)]) == []
        os.close(descriptor)

    def foreigner_makes_route(self, route: Route) -> None:
        self._run(
            route.netns, "ip", "route", "add", "unreachable", route.dst, "table", str(route.table), "metric", str(route.metric)
        )

    def foreigner_has_route(self, route: Route) -> bool:
        return route.dst in self._run(route.netns, "ip", "route", "show", "table", str(route.table))

    def foreigner_deletes_namespace(self, label: str) -> None:
        subprocess.run(["ip", "netns", "del", netns_name(HOST, label)], check=True)

    def foreigner_unmarks(self, uplink: Uplink) -> None:
        self._run(uplink.netns, "ip", "link", "property", "del", "dev", uplink.ifname, "altname", altname(uplink.ifname))

    def host_gets(self, ifname: str, mtu: int = 1500) -> None:
        words = ("mtu", str(mtu), "type", "veth", "peer", "name", f"{ifname}-wire", "mtu", str(mtu))
        subprocess.run(["ip", "-n", UNDERLAY_NAME, "link", "add", ifname, *words], check=True)

    def has_device(self, ifname: str) -> bool:
        shown = subprocess.run(["ip", "-n", UNDERLAY_NAME, "link"], check=True, capture_output=True, text=True).stdout
        assert "altname" not in shown, "what is given back bears no mark"
        return f" {ifname}@" in shown

    @contextmanager
    def restarted(self) -> Iterator[Kernel]:
        from tests.rig.hosts import restarted

        with restarted(HOST, self._key) as kernel:
            yield kernel

    def _delete_packed(self, obj: KernelObject) -> None:
        fd = netns.find(overlay_netns(HOST))
        with netns.inside(fd):
            another = CommitSocket()
        os.close(fd)
        assert another.commit(transaction(messages(steps([Delete(obj)]), lambda change: change.spec))) == 0
        another.close()

    def _run(self, label: str, *words: str) -> str:
        name = overlay_netns(HOST) if label == OVERLAY else netns_name(HOST, label)
        command = ["ip", "netns", "exec", name, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _vlan_words(vlan: Vlan) -> tuple[str, ...]:
    return ("type", "vlan", "protocol", vlan.protocol, "id", str(vlan.vlan))


def _theirs(obj: Xfrm | Vlan) -> Xfrm | Vlan:
    return msgspec.structs.replace(obj, ifname="theirs", netns=OUTSIDE, vrf="")
