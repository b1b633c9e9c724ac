"""The hosts of a VPC as models for walks: from their agents' desired state, and from the kernels on this machine."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from netorch.diagnose.desired import desired_objects
from netorch.diagnose.vpn.ends import learned_routes, site_ends
from netorch.drivers.base import Kernel
from netorch.drivers.netns import RUN_NETNS, find, inside
from netorch.errors import KernelError, NetorchError
from netorch.model.mapping import GatewayMapping
from netorch.model.routing.peering import PeeringConnection
from netorch.records.vpc import VpcRecords
from netorch.state.base import HOST_SLICE, OVERLAY, KernelObject, Key
from netorch.state.l3 import Route
from netorch.state.link import Vrf
from netorch.state.names import VPN_GATEWAY_NUMBER, vrf_number
from netorch.state.netns import Namespace
from netorch.state.nft import OVER_ALLOWANCE, VPC_TABLE, NftElement, NftTable
from netorch.state.owner import overlay_netns
from netorch.store.base import Store
from netorch.trace.host_model import HostModel, Objects


def hosts_of(records: VpcRecords) -> list[str]:
    """Return the hosts with interfaces of a VPC, and those that interfaces move to."""
    found = {stored.record.host for stored in records.mappings.values()}
    moves = (stored.record.move for stored in records.mappings.values())
    return sorted(found | {move.host for move in moves if move is not None})


def edges_of(records: VpcRecords) -> list[str]:
    """Return the edges with gateways of a VPC."""
    return sorted({seat.host for mapping in gateways_of(records) for seat in mapping.seats})


def gateways_of(records: VpcRecords) -> Iterator[GatewayMapping]:
    """Yield the places of a VPC's gateways, including mapped peering connections."""
    yield from records.each(GatewayMapping)
    halves = (half.gateway for half in records.each(PeeringConnection))
    yield from (found for found in halves if found is not None)


def modelled(store: Store, hosts: list[str], on_way: Sequence[VpcRecords]) -> tuple[dict[str, HostModel], dict[str, str]]:
    """Return the models of hosts from their agents' desired state for the first of some VPCs, and the errors of other hosts."""
    host_models, problems = {}, {}
    for host in hosts:
        try:
            objects = desired_objects(host, store, on_way[0].vni)
            ends = {ifname: end for records in on_way for ifname, end in site_ends(store, records, host).items()}
            routes = (route for records in on_way for route in learned_routes(records, host, ends))
            host_models[host] = HostModel(host, objects | {route.key: route for route in routes}, ends)
        except NetorchError as error:
            problems[host] = str(error)
    return host_models, problems


def dumped(hosts: list[str], desired: Mapping[str, HostModel]) -> dict[str, HostModel]:
    """Return the models of those hosts whose kernels are on this machine. Raises KernelError for an unreadable one."""
    host_models = {}
    for host in filter(is_here, hosts):
        with kernel_of(host) as kernel:
            objects = kernel.dump() | _refusals(kernel)
            objects |= _learned(kernel, objects)
        texts, ends = (desired[host].objects, desired[host].ends) if host in desired else ({}, {})
        host_models[host] = HostModel(host, with_texts(objects, texts), ends)
    return host_models


def drop_counters(hosts: Iterable[str], gateways: Collection[str]) -> dict[tuple[str, str], int]:
    """Return the drop counters of those hosts that are on this machine, and of gateways there, by host and counter."""
    found: Counter[tuple[str, str]] = Counter()
    for host in filter(is_here, hosts):
        with kernel_of(host) as kernel:
            kernel.dump(frozenset({Namespace.kind}))  # an edge also counts in its outside and in gateways
            found.update({(host, name): count for name, count in kernel.counters().items()})
            for gateway in gateways:
                found.update({(host, name): count.packets for name, count in kernel.gateway_counters(gateway).items()})
    return found


def is_here(host: str) -> bool:
    """Return whether a host's overlay is on this machine. In a lab several are."""
    return (RUN_NETNS / overlay_netns(host)).exists()


def with_texts(objects: Objects, desired: Objects) -> dict[Key, KernelObject]:
    """Return dumped objects with the known texts of tables. A kernel keeps only their digests."""
    return {key: desired[key] if _is_text_of(desired.get(key), obj) else obj for key, obj in objects.items()}


def _refusals(kernel: Kernel) -> dict[Key, KernelObject]:
    """Return the elements of zones that cannot open connections now. They expire, so a dump does not show them."""
    name, family = OVER_ALLOWANCE, str(VPC_TABLE[2])
    zones = kernel.trackers[OVERLAY].refused()
    found = [NftElement(netns=OVERLAY, family=family, set=name, items=(hex(zone),), vni=HOST_SLICE) for zone in zones]
    return {element.key: element for element in found}


def _learned(kernel: Kernel, objects: Objects) -> dict[Key, KernelObject]:
    """Return the BGP routes to customers' sites, which are not netorch's. Raises KernelError."""
    vrfs = [obj for obj in objects.values() if isinstance(obj, Vrf) and vrf_number(obj.ifname) == VPN_GATEWAY_NUMBER]
    found = [
        Route(vni=vrf.vni, table=vrf.table, dst=one.prefix, ifname=one.ifname, metric=one.metric)
        for vrf in vrfs
        for one in kernel.learned(vrf.table)
    ]
    return {route.key: route for route in found}


def _is_text_of(table: KernelObject | None, dumped_object: KernelObject) -> bool:
    return isinstance(table, NftTable) and table.matches(dumped_object)


@contextmanager
def kernel_of(host: str) -> Iterator[Kernel]:
    """Open a host's kernel: from its own namespace, which has its name in a lab, else from the current one."""
    from netorch.drivers.linux import LinuxKernel

    if (RUN_NETNS / host).exists():
        descriptor = find(host)
        try:
            with inside(descriptor):
                kernel = LinuxKernel(host)
        except OSError as error:
            raise KernelError(f"enter host {host}", error.errno or 0) from error
        finally:
            os.close(descriptor)
    else:
        kernel = LinuxKernel(host)
    try:
        yield kernel
    finally:
        kernel.close()
