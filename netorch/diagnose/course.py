"""From the ends of a trace to the packet, its start, and the VPCs on its way."""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec

from netorch.diagnose import sites
from netorch.diagnose.crossing import Crossing, crossing_between, crossing_to, waiting_between
from netorch.diagnose.ends import (
    INTERNET,
    End,
    interface,
    is_outside,
    make_packet,
    public_end,
    public_of,
    refuse_own,
    somebody,
    source_of,
)
from netorch.diagnose.outside import no_gateway, no_public_address, nobodys
from netorch.diagnose.services.ways import is_endpoint, joined_by_endpoint, not_mapped, provider_behind
from netorch.diagnose.vpn.ways import leads_to_site, starts_at_site
from netorch.errors import NetorchError
from netorch.model.addr import parse_ip, version_of
from netorch.model.eni import NetworkInterface
from netorch.model.ids import is_id, port_name
from netorch.model.outside.gateway import NatGateway
from netorch.model.packet import Packet
from netorch.model.routing.effective import ranges_of
from netorch.records.caller import Caller
from netorch.records.inventory import Inventory
from netorch.records.vpc import VpcRecords
from netorch.store.base import Store
from netorch.trace.codes import Code
from netorch.trace.explain import Across, Explanation
from netorch.trace.way import Arrival, Departure, Start


class Course(msgspec.Struct, frozen=True, kw_only=True):
    """A packet to follow, and the VPCs and hosts on its way."""

    on_way: tuple[VpcRecords, ...]  # the first is the sender's VPC, or the receiver's for a packet from the internet
    near: End | None  # the sender; None: on the internet, or at a site
    far: End | None  # the receiver; None: on the internet or at a site, or no holder of the address
    starts: tuple[Start, ...]
    packet: Packet
    outside: bool = False  # whether it leaves the VPC for the internet, a site or a service
    apart: bool = False  # whether VPCs on its way may have the same addresses, because edges translate between them
    site: bool = False  # whether one end is at a customer's site, behind a virtual private gateway
    anybody: str = ""  # the address that stands for the whole internet, if none was named
    across: Across | None = None
    seen: frozenset[int] | None = None  # the VNIs of the VPCs that the caller sees; None: all

    @property
    def hosts(self) -> list[str]:
        """Return the hosts that it may pass."""
        found = {host for records in self.on_way for host in sites.hosts_of(records)}
        passed = [records for records in self.on_way if self.outside or self.apart or any(records.each(NatGateway))]
        return sorted(found.union(*map(sites.edges_of, passed)))


def from_interface(
    store: Store, inventory: Inventory, caller: Caller, source: str, destination: str, service: str
) -> tuple[VpcRecords, Course | Explanation]:
    """Return the course of a packet that an instance or interface sends, or why there is no such packet.

    If a mapped connection gives the receiver another address on the sender's side, the packet goes to that address.
    """
    near = interface(inventory, caller, source)
    records, eni = near
    if eni.gateway:
        what = "a NAT gateway" if is_id(eni.gateway, "nat") else "an interface endpoint, or of a service behind one"
        raise NetorchError(f"trace: {source} is the interface of {what}, which opens no connections; name an instance")
    named = None if is_outside(destination) else interface(inventory, caller, destination)
    address = named.eni.address if named is not None else somebody(store, inventory, destination)
    problem = _problem(near, named, source, destination)
    if problem is not None:
        return records, problem
    joined = crossing_between(records, named.records) if named is not None and named.records.vni != records.vni else None
    if named is not None and joined is not None and not (address := joined.seen_as(address)):
        return records, not_mapped(named, joined, destination)
    refuse_own(eni, address, source, destination)
    packet = make_packet(source_of(eni, address), address, service)
    crossing = joined if named is not None else crossing_to(inventory, caller, records, eni, address)
    anybody = address if destination == INTERNET else ""
    return records, _from_interface(inventory, caller, near, packet, crossing, anybody)


def _from_interface(
    inventory: Inventory, caller: Caller, near: End, packet: Packet, crossing: Crossing | None, anybody: str
) -> Course:
    """Return the course of a packet from an interface, over a connection to a peer or to another destination."""
    (records, eni), address = near, packet.destination
    provider = provider_behind(inventory, caller, records, address) if crossing is None else None
    outside = crossing is None and not any(prefix.holds(*parse_ip(address)) for prefix in ranges_of(records.vpc.record))
    site = outside and leads_to_site(records, eni, address)
    joined = [crossing.peer] if crossing is not None else []
    apart = is_endpoint(records, address) if crossing is None else crossing.mapped is not None
    if outside:
        far = public_end(inventory, caller, address) if not site else None
    elif crossing is not None and crossing.mapped is not None:
        far = holder(joined, crossing.own(address))
    else:
        far = holder([records, *joined], address)
    on_way = [records, *joined, *([provider] if provider is not None else [])]
    if far is not None and far.records.vni not in {found.vni for found in on_way}:
        on_way.append(far.records)
    return Course(
        on_way=tuple(on_way),
        near=near,
        far=far,
        starts=(Departure(host=records.mappings[eni.address].record.host, ifname=port_name(eni.id), mac=eni.mac),),
        packet=packet,
        outside=outside,
        apart=apart,
        site=site,
        anybody=anybody,
        across=crossing.across(records, eni, address) if crossing is not None else None,
        seen=_seen(inventory, caller),
    )


def from_internet(
    store: Store, inventory: Inventory, caller: Caller, source: str, destination: str, service: str
) -> tuple[VpcRecords | None, Course | Explanation]:
    """Return the course of a packet from the internet, or from a site of a VPC; or why there is no such packet."""
    if destination == INTERNET:
        raise NetorchError("trace: both ends are on the internet; name an instance or its public address")
    named = None if is_outside(destination) else interface(inventory, caller, destination)
    sender = somebody(store, inventory, source)
    if named is not None and source != INTERNET and (site := starts_at_site(store, named, sender)):
        return named.records, Course(
            on_way=(named.records,),
            near=None,
            far=named,
            starts=site,
            packet=make_packet(sender, named.eni.address, service),
            outside=True,
            site=True,
            seen=_seen(inventory, caller),
        )
    address = public_of(named, version_of(sender)) if named is not None else somebody(store, inventory, destination)
    far = named if named is not None else public_end(inventory, caller, address)
    if far is None:
        return None, nobodys(address)
    if not address:
        return far.records, no_public_address(store, far, destination)
    if not far.eni.gateway and not far.records.mappings_of(far.eni):
        return far.records, _not_attached(far.eni, destination)
    edges = (inventory.hosts[name].host for name in sites.edges_of(far.records) if name in inventory.hosts)
    starts = tuple(Arrival(host=edge.name, ifname=edge.uplink.device) for edge in edges if edge.uplink is not None)
    if not starts:
        return far.records, no_gateway(store, far)
    return far.records, Course(
        on_way=(far.records,),
        near=None,
        far=far,
        starts=starts,
        packet=make_packet(sender, address, service),
        outside=True,
        anybody=sender if source == INTERNET else "",
        seen=_seen(inventory, caller),
    )


def _seen(inventory: Inventory, caller: Caller) -> frozenset[int] | None:
    """Return the VNIs of the VPCs whose inside a trace may show; None: all."""
    if caller.operator:
        return None
    return frozenset(vni for vni, records in inventory.vpcs.items() if caller.sees(records.vpc.record.owner))


def holder(on_way: Sequence[VpcRecords], address: str) -> End | None:
    """Return the holder of an address, in the first VPC that has one: the sender's, then the peer."""
    for records in on_way:
        mapping = records.mappings.get(address)
        if mapping is not None:
            return End(records, records.of(NetworkInterface)[mapping.record.eni].record)
    return None


def _problem(near: End, far: End | None, source: str, destination: str) -> Explanation | None:
    """Return why there can be no packet at all, or None."""
    if far is not None and far.records.vni != near.records.vni and crossing_between(near.records, far.records) is None:
        waiting = waiting_between(near.records, far.records, time.time())
        if waiting is not None:
            sentence = f"{Code.BAD_STATE.text}: {waiting.id} is {waiting.status.value}"
            return Explanation(code=Code.BAD_STATE, sentence=sentence, fix=f"netorch peering accept {waiting.id}")
        names = near.records.vpc.record.name, far.records.vpc.record.name
        sentence = f"{source} is in VPC {names[0]}, {destination} in {names[1]}: {Code.DIFFERENT_VPCS.text}"
        fix = joined_by_endpoint(near.records, far.records, source)
        return Explanation(code=Code.DIFFERENT_VPCS, sentence=sentence, fix=fix)
    for end, name in ((near, source), (far, destination)):
        if end is not None and not end.eni.gateway and not end.records.mappings_of(end.eni):
            return _not_attached(end.eni, name)
    return None


def _not_attached(eni: NetworkInterface, name: str) -> Explanation:
    fix = f"attach it, {eni.id}, to an instance: netorch instance list"
    return Explanation(code=Code.INTERFACE_NOT_ATTACHED, sentence=f"{name}: {Code.INTERFACE_NOT_ATTACHED.text}", fix=fix)
