"""The names of each VPC on a host, and the servers for all other names. Pure; sends no questions.

An answer for a VPC uses this VPC's objects only: every look-up has the VNI in its key.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Mapping
from typing import Final

import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.reversename
import dns.rrset
import msgspec
from dns.rdatatype import RdataType

from netorch.model.services import private_names
from netorch.model.services.private_names import PREFIX, TTL_S, address_label
from netorch.model.services.zones import MAX_SET_BYTES, set_bytes
from netorch.services.base import RefusedObject
from netorch.services.names.labels import Labels, labels_of, upward
from netorch.services.names.withheld import ROOT, zone_above
from netorch.state.daemons.services.base import ServiceObject
from netorch.state.daemons.services.names import NameRecord, NameView, NameZone

DOMAIN: Final = dns.name.from_text(private_names.DOMAIN)
NEGATIVE_TTL_S: Final = 60
_CHAIN: Final = 8  # CNAME records in a row that are followed
_SOA: Final = dns.rdata.from_text("IN", "SOA", f"ns.{DOMAIN} hostmaster.{DOMAIN} 1 7200 900 1209600 {NEGATIVE_TTL_S}")

Name = dns.name.Name
RRset = dns.rrset.RRset
Sets = dict[RdataType, RRset]  # of one name


class Found(msgspec.Struct):
    """The known part of an answer. `rest` is an unknown name that the last CNAME record points to."""

    answer: list[RRset] = []
    exists: bool = True
    zone: Name | None = None  # the zone whose SOA proves the absence
    rest: Name | None = None


class Book:
    """The names of all VPCs on a host."""

    def __init__(self) -> None:
        self._ranges: dict[int, list[ipaddress.IPv4Network | ipaddress.IPv6Network]] = {}
        self._zones: dict[int, set[Labels]] = {}
        self._records: dict[int, dict[Labels, Sets]] = {}
        self._above: dict[int, Counter[Labels]] = {}  # parent names, with the number of record names below each
        self.others: Mapping[Labels, tuple[str, ...]] = {}  # the servers to ask, by domain

    def put(self, obj: ServiceObject) -> None:
        """Add an object. Raises RefusedObject if it is no valid view, zone or record."""
        try:
            match obj:
                case NameView():
                    self._ranges[obj.vni] = [ipaddress.ip_network(cidr) for cidr in obj.ranges]
                case NameZone():
                    self._zones.setdefault(obj.vni, set()).add(labels_of(obj.origin))
                case NameRecord():
                    rrset = rrset_of(obj)
                    names, name = self._records.setdefault(obj.vni, {}), labels_of(rrset.name)
                    if name not in names:
                        names[name] = {}
                        self._above.setdefault(obj.vni, Counter()).update(upward(name))
                    names[name][rrset.rdtype] = rrset
                case _:
                    raise RefusedObject(f"{obj.text()} is not about names")
        except (dns.exception.DNSException, ValueError) as error:
            raise RefusedObject(f"{obj.text()}: {error}") from error

    def drop(self, obj: ServiceObject) -> None:
        """Remove an object."""
        match obj:
            case NameView():
                self._ranges.pop(obj.vni, None)
            case NameZone():
                zones = self._zones.get(obj.vni, set())
                zones.discard(labels_of(obj.origin))
                if not zones:
                    self._zones.pop(obj.vni, None)
            case NameRecord():
                names, name = self._records.get(obj.vni, {}), labels_of(obj.name)
                if name in names:
                    names[name].pop(dns.rdatatype.from_text(obj.type), None)
                    if not names[name]:
                        del names[name]
                        self._forget_above(obj.vni, name)
            case _:
                pass

    def _forget_above(self, vni: int, name: Labels) -> None:
        above = self._above[vni]
        for label in upward(name):
            above[label] -= 1
            if not above[label]:
                del above[label]

    def serves(self, vni: int) -> bool:
        """Return whether a VPC has name resolution."""
        return vni in self._ranges

    def servers(self, name: Labels) -> tuple[str, ...]:
        """Return the servers for a name: those of its longest matching domain."""
        return next((self.others[above] for above in upward(name) if above in self.others), ())

    def withheld(self, name: Labels, rdtype: RdataType) -> Found | None:
        """Return the answer to a withheld question, or None: it is not withheld, or has servers besides the root's."""
        zone = zone_above(name, rdtype)
        if zone is None or any(above in self.others for above in upward(name) if above != ROOT):
            return None
        return Found(exists=zone in (ROOT, name), zone=dns.name.Name(zone))

    def find(self, vni: int, name: Name, rdtype: RdataType) -> Found | None:
        """Return what a VPC's own names know of a canonical name. None: nothing is known, other servers must be asked."""
        found, seen = Found(answer=[]), 0
        while True:
            known = self._known(vni, name)
            if known is None:
                found.rest = name
                return found if found.answer else None
            sets, found.zone = known
            found.exists = sets is not None
            alias = (sets or {}).get(RdataType.CNAME)
            if sets is None or rdtype in sets or alias is None:
                if sets is not None and rdtype in sets:
                    found.answer.append(sets[rdtype])
                return found
            found.answer.append(alias)
            seen += 1
            if seen > _CHAIN:
                return found
            name = alias[0].target.canonicalize()

    def _known(self, vni: int, name: Name) -> tuple[Sets | None, Name] | None:
        """Return a name's record sets (None: the name does not exist) and its zone. None: the VPC does not know the name."""
        zones, records = self._zones.get(vni), self._records.get(vni)
        if zones or records:
            labels = labels_of(name)
            zone = next((above for above in upward(labels) if above in zones), None) if zones else None
            origin = dns.name.Name(zone) if zone is not None else name
            if records and labels in records:
                return (records[labels] if labels != zone else {RdataType.SOA: soa_of(name), **records[labels]}), origin
            if zone is not None and not name.is_subdomain(DOMAIN):  # no private zone is within this domain
                return self._of_zone(vni, name, labels, zone), origin
        return self._of_addresses(vni, name)

    def _of_zone(self, vni: int, name: Name, labels: Labels, zone: Labels) -> Sets | None:
        """Return the record sets of a name without own records. None: the name does not exist."""
        names, above = self._records.get(vni, {}), self._above.get(vni, Counter())
        if labels == zone:
            return {RdataType.SOA: soa_of(dns.name.Name(zone))}
        if labels in above:  # a parent of existing names exists. RFC 8020
            return {}
        for encloser in upward(labels[1:]):  # RFC 4592: the wildcard of the closest encloser applies
            if wild := names.get((b"*", *encloser)):
                return {rdtype: dns.rrset.from_rdata_list(name, rrset.ttl, list(rrset)) for rdtype, rrset in wild.items()}
            if encloser in above or encloser == zone:
                return None
        return None

    def _of_addresses(self, vni: int, name: Name) -> tuple[Sets | None, Name] | None:
        if name.is_subdomain(DOMAIN):
            return self._of_domain(vni, name), DOMAIN
        try:
            address = ipaddress.ip_address(dns.reversename.to_address(name))
        except (dns.exception.DNSException, ValueError):
            return None
        if not self._holds(vni, address):
            return None
        zone = name.parent()
        if address.version == 6:
            return None, zone
        target = dns.name.Name((address_label(str(address)).encode(), *DOMAIN.labels))
        return {RdataType.PTR: dns.rrset.from_text(name, TTL_S, "IN", "PTR", target.to_text())}, zone

    def _of_domain(self, vni: int, name: Name) -> Sets | None:
        if name == DOMAIN:
            return {}
        label = name.labels[0].decode("ascii", "replace")
        if len(name.labels) != len(DOMAIN.labels) + 1 or not label.startswith(PREFIX):
            return None
        try:
            address = ipaddress.IPv4Address(label.removeprefix(PREFIX).replace("-", "."))
        except ValueError:
            return None
        if not self._holds(vni, address):
            return None
        return {RdataType.A: dns.rrset.from_text(name, TTL_S, "IN", "A", str(address))}

    def _holds(self, vni: int, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
        return any(address in network for network in self._ranges.get(vni, ()))


def parse_name(text: str) -> Name:
    """Return a canonical name; an empty text is the root. Raises DNSException."""
    return dns.name.from_text(text, dns.name.root).canonicalize()


def rrset_of(record: NameRecord) -> RRset:
    """Return a record set. Raises DNSException, ValueError."""
    size = set_bytes(record.values)
    if size > MAX_SET_BYTES:
        raise ValueError(f"{len(record.values)} values take {size} bytes of an answer, which has {MAX_SET_BYTES}; leave some out")
    return dns.rrset.from_text_list(parse_name(record.name), record.ttl, "IN", record.type, list(record.values))


def soa_of(zone: Name) -> RRset:
    """Return the SOA record of a zone, which gives the negative TTL. Source: RFC 2308 section 3."""
    return dns.rrset.from_rdata(zone, NEGATIVE_TTL_S, _SOA)
