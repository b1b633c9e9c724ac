"""Sentences on hosts whose underlays have different MTUs, or a smaller one than a VPC needs. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final

import msgspec

from netorch.compiler.base import IPV4_MIN_MTU, IPV6_MIN_MTU, VXLAN_OVERHEAD
from netorch.control.base.writes import Writes
from netorch.decoding import decoder_of
from netorch.model.mapping import Mapping as AddressMapping
from netorch.model.mapping import MoveDirection
from netorch.model.vpc import Vpc
from netorch.records import keys
from netorch.records.codec import parse_value
from netorch.records.inventory import Inventory
from netorch.records.kinds import mapped as type_at

_NAMED: Final = 5  # VPCs or hosts named in a sentence; the others are counted


class Sharing(msgspec.Struct, frozen=True):
    """A VPC and the hosts of its addresses."""

    vpc: Vpc
    hosts: Collection[str]


def sharing(inventory: Inventory) -> list[Sharing]:
    """Return every VPC with its hosts. Cost: O(mappings)."""
    return [
        Sharing(records.vpc.record, {_home(found.record) for found in records.mappings.values()})
        for records in inventory.vpcs.values()
    ]


def sharing_after(inventory: Inventory, steps: Iterable[Writes]) -> list[Sharing]:
    """Return the VPCs in which a plan's steps map addresses, with the addresses' hosts after the plan."""
    written: dict[str, bytes | None] = {}
    for step in steps:
        written |= step.values
    mapped: dict[int, dict[str, str]] = {}
    for key in [key for key in written if key.startswith("map/")]:
        _, digits, address = key.split("/", 2)
        if type_at(address) is not AddressMapping:
            continue
        vni, value = int(digits, 16), written[key]
        if vni not in mapped:
            before = inventory.vpcs[vni].mappings.values() if vni in inventory.vpcs else ()
            mapped[vni] = {found.record.address: _home(found.record) for found in before}
        mapped[vni].pop(address, None)
        if value is not None:
            mapped[vni][address] = _home(decoder_of(AddressMapping).decode(value))
    return [Sharing(_vpc_after(inventory, written, vni), set(homes.values())) for vni, homes in sorted(mapped.items()) if homes]


def _vpc_after(inventory: Inventory, written: Mapping[str, bytes | None], vni: int) -> Vpc:
    key = keys.vpc(vni)
    value = written.get(key)
    return inventory.vpcs[vni].vpc.record if value is None else parse_value(key, value, Vpc)


def unequal(found: Iterable[Sharing], mtus: Mapping[str, int]) -> list[str]:
    """Return sentences on the VPCs whose hosts have different MTUs; none if all are equal or unknown."""
    by_sizes: dict[tuple[tuple[int, tuple[str, ...]], ...], list[str]] = {}
    for item in found:
        sizes = sorted({mtus[host] for host in item.hosts if host in mtus}, reverse=True)
        if len(sizes) > 1:
            groups = tuple((size, tuple(sorted(host for host in item.hosts if mtus.get(host) == size))) for size in sizes)
            by_sizes.setdefault(groups, []).append(f"{item.vpc.owner}/{item.vpc.name}")
    return [_unequal_text(groups, vpcs) for groups, vpcs in by_sizes.items()]


def _unequal_text(groups: tuple[tuple[int, tuple[str, ...]], ...], vpcs: list[str]) -> str:
    noun = "VPC" if len(vpcs) == 1 else "VPCs"
    said = ", ".join(f"{size} on {_names(hosts)}" for size, hosts in groups)
    return f"{noun} {_names(sorted(vpcs))}: the hosts' underlays have different MTUs ({said}); senders use the smaller one"


def too_small(found: Iterable[Sharing], mtus: Mapping[str, int]) -> list[str]:
    """Return a sentence for each host whose underlay MTU is smaller than IP in its VPCs needs."""
    short: dict[tuple[str, bool], list[str]] = {}
    for item in found:
        dual_stack = bool(item.vpc.ipv6_cidrs)
        for host in item.hosts:
            if mtus.get(host, _needed(dual_stack)) < _needed(dual_stack):
                short.setdefault((host, dual_stack), []).append(f"{item.vpc.owner}/{item.vpc.name}")
    return [_short_text(host, mtus[host], dual_stack, vpcs) for (host, dual_stack), vpcs in sorted(short.items())]


def _short_text(host: str, mtu: int, dual_stack: bool, vpcs: list[str]) -> str:
    what = f"{'IPv6' if dual_stack else 'IPv4'} in {_names(sorted(vpcs))}"
    needed = _needed(dual_stack)
    return (
        f"host {host}: its underlay's MTU is {mtu}, {what} needs {needed}: "
        f"larger packets are fragmented; raise the MTU to {needed} or more"
    )


def _needed(dual_stack: bool) -> int:
    return VXLAN_OVERHEAD + (IPV6_MIN_MTU if dual_stack else IPV4_MIN_MTU)


def _home(mapping: AddressMapping) -> str:
    """Return the host of an address; during a move, the target host."""
    move = mapping.move
    return move.host if move is not None and move.direction is MoveDirection.TO else mapping.host


def _names(found: Collection[str]) -> str:
    names = list(found)
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return " ".join(names[:_NAMED]) + more
