"""The operations on devices, their entries and sysctls that Linux would refuse."""

from __future__ import annotations

import errno
from typing import Final

from netorch.drivers.fake.host import FakeDriver, FakeHost
from netorch.drivers.rtnl.driver import Rtnl
from netorch.drivers.sysctl import Sysctls
from netorch.state.base import OUTSIDE, KernelObject, Key, link_key, up_key
from netorch.state.foreign import Foreign
from netorch.state.l3 import Route
from netorch.state.link import CableEnd, IncompleteLink, Link, Member, Uplink, VethPort, Vrf, Vxlan
from netorch.state.names import vni_of_device
from netorch.state.op import Create, Delete, Op, Replace
from netorch.state.rooted import Rooted, Vlan

_ANY_MAC: Final = "02:00:00:00:00:01"  # chosen by the kernel


class FakeRtnl(FakeDriver):
    """The fake of `netorch.drivers.rtnl.driver`."""

    def __init__(self, host: FakeHost, netns: str) -> None:
        super().__init__(host, netns, Rtnl.kinds)

    def dump(self) -> dict[Key, KernelObject]:
        """Return the objects of its kinds, and foreign ones in the namespace."""
        foreign = (obj for obj in self.host.objects.values() if obj.kind == Foreign.kind and obj.netns == self.netns)
        return super().dump() | {obj.key: obj for obj in foreign}

    def carry_out(self, op: Op) -> None:
        """Apply one operation; creating a device that already exists as requested succeeds."""
        obj, found = op.obj, self.host.objects.get(op.obj.key)
        if isinstance(op, Create) and isinstance(obj, Link) and found is not None and obj.key not in self.host.foreign:
            self.check(obj)
            finishes = isinstance(obj, CableEnd) and isinstance(found, IncompleteLink) and obj.replaces(found)
            if not finishes and not obj.matches(found):
                raise OSError(errno.EEXIST, "")
            if not finishes:
                return
        if isinstance(op, Replace) and isinstance(obj, Link) and (found is None or not obj.replaces(found)):
            raise OSError(errno.ENODEV if found is None else errno.EOPNOTSUPP, "")
        super().carry_out(op)
        if isinstance(obj, Uplink):
            (self.host.devices.add if isinstance(op, Delete) else self.host.devices.discard)(obj.ifname)
        if isinstance(obj, CableEnd) and not isinstance(op, Delete) and not self.host.there(obj.needs or ()):
            self._bring_other_end(obj)

    def _bring_other_end(self, end: CableEnd) -> None:
        bare = CableEnd(
            netns=end.peer_netns,
            vni=vni_of_device(end.peer, end.peer_netns),
            ifname=end.peer,
            lladdr=_ANY_MAC,
            mtu=1500,
            vrf="",
            peer=end.ifname,
            peer_netns=end.netns,
        )
        self.host.objects[bare.key] = IncompleteLink(netns=bare.netns, vni=bare.vni, ifname=bare.ifname, seems=bare)

    def check(self, obj: KernelObject) -> None:
        match obj:
            case IncompleteLink():
                raise OSError(errno.EINVAL, "nothing asks for an incomplete device")
            case Member():
                self._check_member(obj)
            case Rooted():
                self._check_rooted(obj)
            case Uplink() if obj.ifname not in self.host.devices and obj.key not in self.host.objects:
                raise OSError(errno.ENODEV, f"the host has no device {obj.ifname} in its own namespace; name an existing device")
            case Route() if obj.ifname:
                super().check(obj)
                if up_key(obj.ifname, obj.netns) not in self.host.objects:
                    raise OSError(errno.ENETDOWN, "")
            case _:
                super().check(obj)

    def _check_member(self, link: Member) -> None:
        unbound = isinstance(link, CableEnd) and not link.vrf
        if not unbound and not isinstance(self.host.objects.get(link_key(link.vrf, link.netns)), Vrf):
            raise OSError(errno.ENODEV, f"there is no VRF {link.vrf}")
        if isinstance(link, VethPort) and not link.make_netns and link.instance_netns not in self.host.namespaces:
            raise OSError(errno.ENOENT, f"there is no namespace {link.instance_netns}")
        if isinstance(link, CableEnd) and not self.host.has_namespace(link.peer_netns):
            raise OSError(errno.ENOENT, f"there is no namespace {link.peer_netns}")
        if isinstance(link, Vxlan):
            for other in (*self.host.objects.values(), *self.host.foreign.values()):
                if isinstance(other, Vxlan) and other.vni == link.vni and other.ifname != link.ifname:
                    raise OSError(errno.EEXIST, f"{other.ifname} has the VNI {link.vni}")

    def _check_rooted(self, link: Rooted) -> None:
        if link.vrf and not isinstance(self.host.objects.get(link_key(link.vrf, link.netns)), Vrf):
            raise OSError(errno.ENODEV, f"there is no VRF {link.vrf}")
        if not self.host.has_namespace(OUTSIDE):
            raise OSError(errno.ENOENT, f"there is no namespace {OUTSIDE}")
        if isinstance(link, Vlan):
            self._check_lower(link)
        for other in (*self.host.objects.values(), *self.host.foreign.values()):
            if isinstance(other, Rooted) and other.key != link.key and other.root == link.root:
                raise OSError(errno.EEXIST, f"{other.ifname} has it")

    def _check_lower(self, link: Vlan) -> None:
        lower = self.host.objects.get(link_key(link.lower, OUTSIDE))
        if lower is None:
            raise OSError(errno.ENODEV, f"there is not a device {link.lower} in the {OUTSIDE}")
        port = lower.lower if isinstance(lower, Vlan) else link.lower
        most = self.host.mtus.get(port, 1500)
        if link.mtu > most:
            raise OSError(errno.ERANGE, f"{link.lower} has an MTU of {most}")


class FakeSysctls(FakeDriver):
    """The fake of `netorch.drivers.sysctl`."""

    no_parent = errno.ENOENT

    def __init__(self, host: FakeHost, netns: str) -> None:
        super().__init__(host, netns, Sysctls.kinds)
