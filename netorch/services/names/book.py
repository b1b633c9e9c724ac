"""What a host knows of names: those of each VPC, and whom to ask for all others. Pure; nobody is asked.

An answer for one VPC is made of that VPC's own objects alone: there is no look-up that has not its VNI in the key.
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
from netorch.model.services.private_names import PREFIX, TTL_S, host_name
from netorch.services.base import RefusedObject
from netorch.services.names.labels import Labels, labels_of, upward
from netorch.services.names.withheld import ROOT, zone_above
from netorch.state.daemons.services.base import ServiceObject
from netorch.state.daemons.services.names import NameRecord, NameView, NameZone

DOMAIN: Final = dns.name.from_text(private_names.DOMAIN)
NEGATIVE_TTL_S: Final = 60
LARGEST_SET: Final = 16_384  # bytes of a record set in an answer, at most
_OF_RECORD: Final = 28  # bytes of a record beside those of its text, at most
_CHAIN: Final = 8  # CNAME records behind each other that are followed
_SOA: Final = dns.rdata.from_text("IN", "SOA", f"ns.{DOMAIN} hostmaster.{DOMAIN} 1 7200 900 1209600 {NEGATIVE_TTL_S}")

Name = dns.name.Name
RRset = dns.rrset.RRset
Sets = dict[RdataType, RRset]  # of one name


class Found(msgspec.Struct):
    """What is known of a question. `rest` is a name that the last CNAME record leads to, and of which nothing is known here."""

    answer: list[RRset] = []
    exists: bool = True
    zone: Name | None = None  # that says that there is nothing else
    rest: Name | None = None


class Book:
    """The names of all VPCs on a host."""

    def __init__(self) -> None:
        self._ranges: dict[int, list[ipaddress.IPv4Network | ipaddress.IPv6Network]] = {}
        self._zones: dict[int, set[Labels]] = {}
        self._records: dict[int, dict[Labels, Sets]] = {}
        self._above: dict[int, Counter[Labels]] = {}  # names above those of records, and of how many each
        self.others: Mapping[Labels, tuple[str, ...]] = {}  # whom to ask, by domain

    def put(self, obj: ServiceObject) -> None:
        """Take in an object. Raises RefusedObject for what is no name, address or record."""
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
                    raise RefusedObject(f"{obj.text()} is nothing of names")
        except (dns.exception.DNSException, ValueError) as error:
            raise RefusedObject(f"{obj.text()}: {error}") from error

    def drop(self, obj: ServiceObject) -> None:
        """Forget an object."""
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
                        self._above[obj.vni].subtract(upward(name))
                        self._above[obj.vni] += Counter()  # without those of which there are none left
            case _:
                pass

    def serves(self, vni: int) -> bool:
        """Return whether names are answered in a VPC."""
        return vni in self._ranges

    def servers(self, name: Labels) -> tuple[str, ...]:
        """Return whom to ask for a name: the longest domain says so."""
        return next((self.others[above] for above in upward(name) if above in self.others), ())

    def withheld(self, name: Labels, rdtype: RdataType) -> Found | None:
        """Return the answer to a question that the servers of all names are not asked, and no others are known for; else None."""
        zone = zone_above(name, rdtype)
        if zone is None or any(above in self.others for above in upward(name) if above != ROOT):
            return None
        return Found(exists=zone in (ROOT, name), zone=dns.name.Name(zone))

    def find(self, vni: int, name: Name, rdtype: RdataType) -> Found | None:
        """Return what a VPC's own names say of a canonical name; None: nothing, others must be asked."""
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
        """Return a name's record sets, None if it does not exist, with the zone that says so; None: nothing is known of it."""
        zones, records = self._zones.get(vni), self._records.get(vni)
        if zones or records:
            labels = labels_of(name)
            zone = next((above for above in upward(labels) if above in zones), None) if zones else None
            origin = dns.name.Name(zone) if zone is not None else name
            if records and labels in records:
                return (records[labels] if labels != zone else {RdataType.SOA: soa_of(name), **records[labels]}), origin
            if zone is not None and not name.is_subdomain(DOMAIN):  # no zone of a VPC's own is within that
                return self._of_zone(vni, name, labels, zone), origin
        return self._of_addresses(vni, name)

    def _of_zone(self, vni: int, name: Name, labels: Labels, zone: Labels) -> Sets | None:
        """Return the record sets of a name that has none of its own; None: it does not exist."""
        names, above = self._records.get(vni, {}), self._above.get(vni, Counter())
        if labels == zone:
            return {RdataType.SOA: soa_of(dns.name.Name(zone))}
        if labels in above:  # a name above others exists. RFC 8020
            return {}
        for encloser in upward(labels[1:]):  # RFC 4592: the closest one that exists has the wildcard that counts
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
        target = dns.name.Name((host_name(str(address)).encode(), *DOMAIN.labels))
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
    """Return a name; nothing is the root. Raises DNSException."""
    return dns.name.from_text(text, dns.name.root).canonicalize()


def rrset_of(record: NameRecord) -> RRset:
    """Return a record set. Raises DNSException, ValueError."""
    size = sum(len(value) + _OF_RECORD for value in record.values)
    if size > LARGEST_SET:
        raise ValueError(f"{len(record.values)} values take {size} bytes of an answer, which has {LARGEST_SET}; leave some out")
    return dns.rrset.from_text_list(parse_name(record.name), record.ttl, "IN", record.type, list(record.values))


def soa_of(zone: Name) -> RRset:
    """Return the SOA record of a zone, which says how long a name's absence may be remembered. Source: RFC 2308 section 3."""
    return dns.rrset.from_rdata(zone, NEGATIVE_TTL_S, _SOA)
