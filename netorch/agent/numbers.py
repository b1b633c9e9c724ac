"""Numbers that a host chooses: conntrack zones, and VRFs of inlets and of single subnets.

The kernel stores them: a restarted agent learns them from there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Final

from netorch.compiler.base import Inlet
from netorch.errors import CompileError
from netorch.model.vpc import TABLE_NUMBER_LAST, Subnet
from netorch.state.base import OVERLAY, KernelObject, Key, link_key
from netorch.state.link import CableEnd, TapPort, VethPort
from netorch.state.names import INLET_NUMBER_LAST, is_inlet, is_port, vni_of_ifname, vrf_name, vrf_number, vxlan_name
from netorch.state.nft import VPC_TABLE, ZONES, NftElement

ZONE_LAST: Final = 0xFFFF

Holds = Callable[[Key], bool]  # whether an object should be, or still is, in the kernel


class Zones:
    """Conntrack zones: connections of two VPCs may have the same addresses and ports.

    A zone has 16 bits, a VNI 24. If a VPC's zone changed, the kernel would not recognize its connections. A VPC's zone is that
    of its VXLAN device, and each inlet has its own zone. A freed number is reused as late as possible.
    """

    def __init__(self) -> None:
        self._of: dict[str, int] = {}  # device -> zone
        self._devices: dict[int, list[str]] = {}  # VNI -> its devices with a zone
        self._taken: dict[int, int] = {}  # zone -> VNI
        self._last = 0

    def learn(self, obj: KernelObject) -> None:
        """Record the zone of a kernel object, unless it contradicts a known zone."""
        if not isinstance(obj, NftElement) or obj.set != ZONES or not obj.value:
            return
        device = obj.items[0]
        if device not in self._of and (device == vxlan_name(obj.vni) or is_inlet(device)):
            zone = int(obj.value, 0)
            if zone not in self._taken and 1 <= zone <= ZONE_LAST:
                self._take(device, zone)

    def of(self, device: str) -> int:
        """Return the zone of a VXLAN device or an inlet; choose one if it has none. Raises CompileError when all are taken."""
        if device not in self._of:
            if len(self._taken) == ZONE_LAST:
                raise CompileError(f"conntrack: all {ZONE_LAST} zones of this host are in use; move some VPCs to other hosts")
            zone = self._last % ZONE_LAST + 1
            while zone in self._taken:
                zone = zone % ZONE_LAST + 1
            self._take(device, zone)
        return self._of[device]

    def known(self, device: str) -> int | None:
        """Return the zone of a VXLAN device or an inlet, None if it has none yet."""
        return self._of.get(device)

    def of_vpc(self, vni: int) -> Collection[int]:
        """Return the zones that a VPC has now."""
        return [self._of[device] for device in self._devices.get(vni, ())]

    def vnis(self) -> Mapping[int, int]:
        """Return the VPCs by zone."""
        return self._taken

    def settle(self, vni: int, holds: Holds) -> None:
        """Free the zones of devices that are gone. The kernel forgets a zone's connections when its element is removed."""
        devices = self._devices.get(vni, [])
        for device in [device for device in devices if not _is_in_use(device, holds)]:
            devices.remove(device)
            del self._taken[self._of.pop(device)]
        if not devices:
            self._devices.pop(vni, None)

    def _take(self, device: str, zone: int) -> None:
        vni = vni_of_ifname(device)
        self._of[device] = zone
        self._devices.setdefault(vni, []).append(device)
        self._taken[zone] = vni
        self._last = zone


class VrfNumbers:
    """Numbers of VRFs above those of route tables: for inlets, and for subnets that have a VRF apart from their table's."""

    def __init__(self) -> None:
        self._of: dict[int, dict[str, int]] = {}  # VNI -> inlet, or subnet id -> number
        self._of_ports: dict[int, dict[str, int]] = {}  # VNI -> port -> number of its VRF in the kernel

    def learn(self, obj: KernelObject) -> None:
        """Record the VRF of a kernel object, unless it contradicts a known number."""
        if not isinstance(obj, CableEnd | VethPort | TapPort):
            return
        number = vrf_number(obj.vrf)
        if not TABLE_NUMBER_LAST < number <= INLET_NUMBER_LAST:
            return
        if is_port(obj.ifname):
            self._of_ports.setdefault(obj.vni, {})[obj.ifname] = number
        elif is_inlet(obj.ifname):
            known = self._of.setdefault(obj.vni, {})
            if number not in known.values():
                known.setdefault(obj.ifname, number)

    def of_inlet(self, device: str) -> int:
        """Return the number of an inlet's VRF; choose one if it has none. Raises CompileError when all are taken."""
        return self._number(vni_of_ifname(device), device, ())

    def of_subnet(self, subnet: Subnet, ports: Collection[str]) -> int:
        """Return the number of the VRF with a subnet's ports; choose one if it has none. Raises CompileError."""
        return self._number(subnet.vni, subnet.id, ports)

    def _number(self, vni: int, name: str, ports: Collection[str]) -> int:
        known, shown = self._of.setdefault(vni, {}), self._of_ports.get(vni, {})
        if name not in known:
            taken = set(known.values())
            last = [shown[port] for port in ports if port in shown and shown[port] not in taken]
            free = (n for n in range(TABLE_NUMBER_LAST + 1, INLET_NUMBER_LAST + 1) if n not in taken | set(shown.values()))
            number = last[0] if last else next(free, None)
            if number is None:
                most = INLET_NUMBER_LAST - TABLE_NUMBER_LAST
                what = f"{most} interfaces and subnets of the VPC have a VRF of their own on this host, which is the limit"
                raise CompileError(f"{what}; move some to other hosts")
            known[name] = number
        return known[name]

    def settle(self, vni: int, holds: Holds) -> bool:
        """Free the numbers of VRFs that are gone; return whether any were freed."""
        known, shown = self._of.get(vni, {}), self._of_ports.get(vni, {})
        gone = [number for number in {*known.values(), *shown.values()} if not holds(link_key(vrf_name(vni, number)))]
        for numbers in (known, shown):
            for name in [name for name, number in numbers.items() if number in gone]:
                del numbers[name]
        for of in (self._of, self._of_ports):
            if not of.get(vni, True):
                del of[vni]
        return bool(gone)


class Numbers:
    """All numbers that a host chooses for its VPCs."""

    def __init__(self) -> None:
        self.zones = Zones()
        self._vrfs = VrfNumbers()

    def learn(self, obj: KernelObject) -> None:
        """Record the numbers of a kernel object."""
        self.zones.learn(obj)
        self._vrfs.learn(obj)

    def zone_of(self, vni: int) -> int:
        """Return a VPC's zone. Raises CompileError."""
        return self.zones.of(vxlan_name(vni))

    def inlet(self, device: str) -> Inlet:
        """Return an inlet's own VRF number and zone. Raises CompileError."""
        return Inlet(number=self._vrfs.of_inlet(device), zone=self.zones.of(device))

    def vrf_of_subnet(self, subnet: Subnet, ports: Collection[str]) -> int:
        """Return the number of a subnet's VRF apart from its table's. Raises CompileError."""
        return self._vrfs.of_subnet(subnet, ports)

    def settle(self, vni: int, holds: Holds) -> bool:
        """Free the numbers of devices that are gone; return whether a VRF number became free."""
        self.zones.settle(vni, holds)
        return self._vrfs.settle(vni, holds)


def _is_in_use(device: str, holds: Holds) -> bool:
    element = NftElement(netns=OVERLAY, family=str(VPC_TABLE[2]), set=ZONES, items=(device,))
    return holds(link_key(device)) or holds(element.key)
