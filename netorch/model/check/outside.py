"""What is wrong with what a cloud declares towards the outside: edges, and pools of public addresses."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

import msgspec

from netorch.model import rules
from netorch.model.addr import Prefix, first_overlaps
from netorch.model.check.notes import Notes, Where
from netorch.model.cloud import AddressPoolDecl, HostDecl
from netorch.model.eni import Role, Uplink
from netorch.model.outside.uplink import networks_of, violation_of, violation_of_edge
from netorch.model.rules import Violation, shown

EDGES = 2  # of a pair


class KnownHost(msgspec.Struct, frozen=True):
    """What a check knows of a host that stands in no file."""

    role: Role
    pair: str = ""


def check_edges(notes: Notes, hosts: Sequence[HostDecl]) -> None:
    """Report what is wrong with pairs and uplinks."""
    pairs: dict[str, list[int]] = {}
    for i, host in enumerate(hosts):
        where: Where = ("hosts", i)
        if not host.pair and host.uplink is None:
            continue
        if violation := violation_of_edge(host.role, host.pair, host.uplink):
            notes.add(violation, where, ("pair" if host.pair else "uplink",))
        if host.pair and (violation := notes.names[host.pair]):
            notes.add(violation, where, ("pair",))
        elif host.pair and host.role is Role.EDGE:
            others = pairs.setdefault(host.pair, [])
            if len(others) == EDGES:
                what = f"pair {host.pair} has two edges, {' and '.join(f'hosts[{other}]' for other in others)}"
                notes.add(Violation(what, "name another pair"), where, ("pair",))
            else:
                others.append(i)
        if host.uplink is not None and _is_whole(host.uplink) and (violation := violation_of(host.uplink)):
            notes.add(violation, where, ("uplink",))


def _is_whole(uplink: Uplink) -> bool:
    """Return whether no field of an uplink is missing or of another type, which was reported already."""
    return not any("\0" in str(value) for value in msgspec.structs.astuple(uplink))


def check_pools(notes: Notes, pools: Sequence[AddressPoolDecl], hosts: Sequence[HostDecl], pairs: Collection[str] | None) -> None:
    """Report what is wrong with address pools; `pairs` are those that have edges, None: nobody knows."""
    names: dict[str, int] = {}
    ranges: list[tuple[Prefix, tuple[int, int]]] = []
    for i, pool in enumerate(pools):
        where: Where = ("address_pools", i)
        if violation := notes.names[pool.name]:
            notes.add(violation, where, ("name",))
        elif (other := names.setdefault(pool.name, i)) != i:
            notes.add(Violation(f"{shown(pool.name)} is also the name of address_pools[{other}]", "rename one"), where, ("name",))
        if violation := notes.names[pool.pair]:
            notes.add(violation, where, ("pair",))
        elif pairs is not None and pool.pair not in pairs:
            fix = "give edges this pair and an uplink, or name another pair"
            notes.add(Violation(f"pair {shown(pool.pair)} has no edges", fix), where, ("pair",))
        if not pool.cidrs:
            notes.add(Violation("the pool has no range", "give it one, e.g. [198.51.100.0/24]"), where, ("cidrs",))
        for k, text in enumerate(pool.cidrs):
            prefix = rules.public_cidr(text)
            if isinstance(prefix, Violation):
                notes.add(prefix, where, ("cidrs", k))
            else:
                ranges.append((prefix, (i, k)))
        if pool.tags:
            notes.tags(pool.tags, where)
    _check_ranges(notes, ranges, hosts)


def _check_ranges(notes: Notes, ranges: list[tuple[Prefix, tuple[int, int]]], hosts: Sequence[HostDecl]) -> None:
    """Report ranges that overlap others, or what leads to a host. Cost: O(ranges of pools * hosts)."""
    for pair in first_overlaps((prefix, index) for index, (prefix, _) in enumerate(ranges)):
        (first, (i, _)), (second, (j, k)) = (ranges[index] for index in sorted(pair))
        what = f"{second} overlaps {first} of address_pools[{i}]"
        notes.add(Violation(what, "choose a range that is free"), ("address_pools", j, "cidrs", k))
    for network, host in _networks(hosts) if ranges else ():
        for prefix, (i, k) in ranges:
            if prefix.overlaps(network):
                what = f"{prefix} overlaps {network} of hosts[{host}]"
                notes.add(Violation(what, "choose another range"), ("address_pools", i, "cidrs", k))


def _networks(hosts: Sequence[HostDecl]) -> Iterator[tuple[Prefix, int]]:
    """Yield what no pool may hold of hosts, each with the host's index, as far as it can be read."""
    for i, host in enumerate(hosts):
        uplink = host.uplink if host.uplink is not None and violation_of(host.uplink) is None else None
        if not isinstance(rules.underlay_address(host.underlay), Violation):
            yield from ((network, i) for network in networks_of(host.underlay, uplink))


def known_pairs(hosts: Sequence[HostDecl], known: Mapping[str, KnownHost] | None) -> Collection[str] | None:
    """Return the pairs that have edges, in the file or besides; None when the file does not say which hosts there are."""
    if known is None and not hosts:
        return None
    named = {host.name for host in hosts}
    others = {host.pair for name, host in (known or {}).items() if name not in named}
    return {host.pair for host in hosts if host.role is Role.EDGE} | others
