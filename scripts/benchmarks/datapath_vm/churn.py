"""Another tenant's changes: what they cost the packets of a connection that flowtables forward.

The connection has a fixed rate. Between two changes pass as many of its packets as it has in that time: two, an answer, and the
rest one way, as TCP does. So nothing depends on the speed of this machine. Each change is a record in the store that both
agents carry out. A packet that no flowtable forwards passes the VRF's device, which counts it.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable

import msgspec

from datapath_vm.policy import THIRD
from datapath_vm.topologies import SIDES, VNI, Site
from datapath_vm.traffic import PORT, SOURCE, Flow, begin, frames_at, received, send
from netorch.model.ids import make_id
from netorch.model.mapping import Mapping
from netorch.model.security import ALL_PROTOCOLS, SecurityGroup, SecurityGroupRule
from netorch.records import keys
from netorch.records.codec import decode
from netorch.state.names import vrf_name
from netorch.state.owner import overlay_netns

OTHER = VNI + 1  # a VPC of another owner, with instances on both hosts
PACKETS_PER_S = 10_000  # of the measured connection
RATES = (10, 100, 1_000)  # changes a second
ROUNDS = 20  # changes of one run


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What a packet of the connection costs."""

    nanoseconds: float  # on both hosts
    slow: float  # of its two passages, one on each host: the share that no flowtable forwards


class Tenant:
    """The other VPC. Each call of a method is one change that both agents have carried out."""

    def __init__(self, site: Site) -> None:
        self._site = site
        found = next(kv for kv in site.store.list(keys.vpc_prefix(OTHER)).kvs if "/sg/" in kv.key)
        self._group = decode(found, SecurityGroup)
        self._numbers = iter(range(1, 1 << 16))

    def launches(self) -> None:
        """Launch an instance elsewhere: an IPv4 route on each host."""
        number = next(self._numbers)
        self._place(f"10.44.{64 + (number >> 8)}.{number & 255}", number)

    def launches6(self) -> None:
        """Launch an instance elsewhere that has only an IPv6 address here: an IPv6 route on each host."""
        number = next(self._numbers)
        self._place(f"fd00:44:0:40::{number:x}", number)

    def permits(self) -> None:
        """Change a rule of the group of the instances on both hosts."""
        number = next(self._numbers)
        rule = SecurityGroupRule(
            id=make_id("sgr", OTHER, number), protocol=ALL_PROTOCOLS, cidr=f"172.{16 + (number >> 8)}.{number & 255}.0/24"
        )
        group = msgspec.structs.replace(self._group, ingress=(*self._group.ingress, rule))
        self._site.put([(keys.resource(group.id), group)])

    def _place(self, address: str, number: int) -> None:
        host, vtep = THIRD
        mac = f"02:00:00:02:{number >> 8:02x}:{number & 255:02x}"
        eni = make_id("eni", OTHER, 0xBE7C00000 + number)
        mapping = Mapping(vni=OTHER, address=address, eni=eni, mac=mac, host=host, vtep=vtep, groups=(self._group.id,))
        self._site.put([(keys.mapping(OTHER, address), mapping)])


def measure_changes(change: Callable[[], None] | None, rate: int, dst_mac: str, version: int) -> Cost:
    """Return what a packet costs while the other tenant makes `rate` changes a second, or none in the same rounds (None).

    Raises RuntimeError for lost packets.
    """
    begin(Flow.LASTING, dst_mac, version=version)
    count = PACKETS_PER_S // rate
    _converse(count, dst_mac, version)
    before, took = _slow(), []
    for _ in range(ROUNDS):
        if change is not None:
            change()
        took.append(_converse(count, dst_mac, version))
    slow = (_slow() - before) / ROUNDS / count / len(SIDES)
    return Cost(nanoseconds=statistics.median(took) / count, slow=slow)  # not the mean: some rounds have the kernel's own work


def _converse(count: int, dst_mac: str, version: int) -> float:
    """Send packets of the connection, the third one as an answer; return the nanoseconds that all of them take together."""
    sender, receiver = SIDES
    before = received(sender), received(receiver)
    took = 2 * send(2, dst_mac, version=version)
    took += send(1, dst_mac, ends=(receiver, sender), ports=(PORT, SOURCE), version=version)
    took += (count - 3) * send(count - 3, dst_mac, version=version)
    if received(sender) < before[0] + 1 or received(receiver) < before[1] + count - 1:
        raise RuntimeError(f"datapath: of {count} packets of a connection not all arrived")
    return took


def _slow() -> int:
    """Return how many packets have passed the VRFs of the measured VPC."""
    return sum(frames_at(overlay_netns(side.host), vrf_name(VNI, 0)) for side in SIDES)


def changes_of(tenant: Tenant) -> Iterable[tuple[str, Callable[[], None], int]]:
    """Return the kinds of changes, and the IP version of the connection that each is measured with."""
    return (
        ("launches", tenant.launches, 4),
        ("launches", tenant.launches, 6),
        ("IPv6 launches", tenant.launches6, 4),
        ("IPv6 launches", tenant.launches6, 6),
        ("rules", tenant.permits, 4),
        ("rules", tenant.permits, 6),
    )
