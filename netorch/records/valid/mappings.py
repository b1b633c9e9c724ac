"""The consistency check of the mapping service: against itself, against interfaces, gateways and hosts, and against what the
hosts must carry.

map/<vni>/<address>              names an interface of the VPC and its host
map/<vni>/<gateway id>           names the edges of a gateway
host/<host>/placement/<id>       exists on exactly the hosts that these name
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Final

import msgspec

from netorch.model.eni import Host, NetworkInterface, Role
from netorch.model.ids import prefix_of, vni_of
from netorch.model.mapping import GatewayMapping, PublicMapping
from netorch.model.mapping import Mapping as AddressMapping
from netorch.model.routing.peering import PeeringConnection
from netorch.records.hosts import vni_of_placement
from netorch.records.inventory import Inventory
from netorch.records.kinds import BY_PREFIX, of_vpc
from netorch.records.part import hosts_of
from netorch.records.vpc import VpcRecords
from netorch.store.base import Store

_CHECKED: Final = (AddressMapping, GatewayMapping)  # kinds of mappings that other records need

Places = Mapping[str, Collection[str]]  # host -> ids of its placements


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with a mapping or a placement."""

    vpc: str  # owner/name, or nothing for a VPC that is not there
    vni: int
    address: str  # of the mapping, or the id of a gateway or of what a host carries
    finding: str  # a sentence without its subject


def read_places(store: Store, revision: int) -> dict[str, set[str]]:
    """Return what each host must carry. Cost: O(hosts + what they carry)."""
    found: dict[str, set[str]] = {}
    for kv in store.list("host/", revision).kvs:
        _, host, what = kv.key.split("/", 2)
        if what.startswith("placement/"):
            found.setdefault(host, set()).add(what.removeprefix("placement/"))
    return found


def wrong_mappings(inventory: Inventory, places: Places) -> Iterator[Finding]:
    """Yield what is wrong, in order of VPCs. `places` is of the inventory's revision. Cost: O(records).

    Of a VPC with damaged records the readable ones are checked. Damaged hosts are taken for right.
    """
    hosts = {name: state.host for name, state in inventory.hosts.items()}
    carried: dict[int, set[tuple[str, str]]] = {}
    for host, ids in places.items():
        for found in ids:
            carried.setdefault(vni_of_placement(found), set()).add((host, found))
    rests = {vni: isolated.rest for vni, isolated in inventory.isolated.items()}
    for vni in sorted({*inventory.vpcs, *rests, *carried}):
        records = inventory.vpcs.get(vni) or rests.get(vni)
        here = carried.get(vni, set())
        if records is not None:
            check = _Check(records, hosts, set(inventory.isolated_hosts))
            found_here = sorted((*check.mappings(), *check.gateways(), *check.needed(), *check.placements(here)))
            vpc = records.vpc.record
            yield from (
                Finding(vpc=f"{vpc.owner}/{vpc.name}", vni=vni, address=address, finding=text) for address, text in found_here
            )
        elif vni not in rests:
            yield from (
                Finding(vpc="", vni=vni, address=name, finding=f"{host} has a placement of it, and its VPC is not there")
                for host, name in sorted(here)
            )


class _Check:
    """Checks one VPC; each function yields addresses or ids, and what is wrong with them."""

    def __init__(self, records: VpcRecords, hosts: Mapping[str, Host], unreadable: Collection[str]) -> None:
        self._records, self._hosts, self._unreadable = records, hosts, unreadable
        self._enis = records.of(NetworkInterface)

    def mappings(self) -> Iterator[tuple[str, str]]:
        """Check addresses, private and public ones, against their interfaces and hosts."""
        first: dict[str, str] = {}  # interface -> an address of it
        for address, mapping in ((address, stored.record) for address, stored in self._records.mappings.items()):
            for text in self._against_interface(address, mapping):
                yield address, text
            yield from ((address, text) for text in self._seat(mapping.host, mapping.vtep, Role.HYPERVISOR))
            if mapping.move is not None:
                yield from ((address, text) for text in self._seat(mapping.move.host, mapping.move.vtep, Role.HYPERVISOR))
            other = first.setdefault(mapping.eni, address)
            there = self._records.mappings[other].record
            if (there.host, there.move) != (mapping.host, mapping.move):
                yield address, f"is on {_place(mapping)}, and {other} of the same interface on {_place(there)}"
        for public in self._records.each(PublicMapping):
            stored = self._enis.get(public.eni)
            if stored is None:
                yield public.address, f"is mapped to interface {public.eni}, which is not there"
            elif public.private_address not in stored.record.addresses:
                yield public.address, f"is mapped to {public.private_address}, which {public.eni} does not have"

    def _against_interface(self, address: str, mapping: AddressMapping) -> Iterator[str]:
        stored = self._enis.get(mapping.eni)
        if stored is None:
            yield f"leads to interface {mapping.eni}, which is not there"
            return
        eni = stored.record
        if not eni.instance:
            yield f"leads to interface {eni.id}, which is attached to no instance"
        if address not in eni.addresses:
            yield f"leads to interface {eni.id}, which has {' and '.join(eni.addresses)}"
        if mapping.mac != eni.mac:
            yield f"has the MAC {mapping.mac}, and interface {eni.id} has {eni.mac}"
        if mapping.groups != eni.groups:
            yield f"has the groups {_listed(mapping.groups)}, and interface {eni.id} has {_listed(eni.groups)}"

    def gateways(self) -> Iterator[tuple[str, str]]:
        """Check gateways' mappings against the gateways and their edges."""
        for gateway, stored in self._records.of(GatewayMapping).items():
            kind = BY_PREFIX[prefix_of(gateway)]
            if gateway not in self._records.of(kind.type):
                yield gateway, f"is mapped to edges, and there is no such {kind.noun}"
            for seat in stored.record.seats:
                yield from ((gateway, text) for text in self._seat(seat.host, seat.vtep, Role.EDGE))
            pairs = {self._hosts[seat.host].pair for seat in stored.record.seats if seat.host in self._hosts}
            if len(pairs) > 1:
                yield gateway, f"is mapped to edges of several pairs: {_listed(sorted(pairs))}"

    def needed(self) -> Iterator[tuple[str, str]]:
        """Check that everything that needs a mapping has it."""
        for kind in of_vpc():
            for resource_id, stored in self._records.of(kind.type).items():
                for of, name in kind.refers(stored.record):
                    if of in _CHECKED and name not in self._records.of(of):
                        yield name, "is not mapped" + (f", and {resource_id} has it" if name != resource_id else "")

    def placements(self, held: Collection[tuple[str, str]]) -> Iterator[tuple[str, str]]:
        """Check that exactly the hosts that mappings name must carry what these mappings lead to."""
        wanted = {(host, mapping.eni) for mapping in self._records.each(AddressMapping) for host in hosts_of(mapping)}
        wanted |= {(seat.host, found.gateway) for found in self._records.each(GatewayMapping) for seat in found.seats}
        own = (found for found in self._records.each(PeeringConnection) if vni_of(found.id) == self._records.vni)
        wanted |= {(seat.host, found.id) for found in own for seat in found.seats}
        for host, name in wanted - set(held):
            yield name, f"is mapped to {host}, which has no placement of it"
        for host, name in set(held) - wanted:
            yield name, f"{host} has a placement of it, and no mapping leads there"

    def _seat(self, name: str, vtep: str, role: Role) -> Iterator[str]:
        """Check a host that a mapping names."""
        host = self._hosts.get(name)
        if host is None:
            if name not in self._unreadable:
                yield f"names host {name}, which is not there"
            return
        if host.role is not role:
            yield f"names host {name}, which is no {role.value}"
        if host.underlay != vtep:
            yield f"names the VTEP {vtep} for {name}, which has {host.underlay}"


def _place(mapping: AddressMapping) -> str:
    return f"{mapping.host}, moving {mapping.move.direction.value} {mapping.move.host}" if mapping.move else mapping.host


def _listed(texts: Collection[str]) -> str:
    return ", ".join(texts) or "none"
