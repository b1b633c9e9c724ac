"""What a host knows of names: those of each VPC, and whom to ask for all others. Pure; nobody is asked.

An answer for one VPC is made of that VPC's own objects alone: there is no look-up that has not its VNI in the key.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.reversename
import dns.rrset
import msgspec
from dns.rdatatype import RdataType

from netorch.services.base import RefusedObject
from netorch.state.daemons.services.base import ServiceObject
from netorch.state.daemons.services.names import NameRecord, NameView, NameZone

DOMAIN: Final = dns.name.from_text("compute.internal.")  # of instances' private names. Source: VPC User Guide, "DNS hostnames"
_PREFIX: Final = "ip-"
TTL_S: Final = 60
NEGATIVE_TTL_S: Final = 60
_CHAIN: Final = 8  # CNAME records behind each other that are followed

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
        self._zones: dict[int, set[Name]] = {}
        self._records: dict[int, dict[Name, Sets]] = {}
        self._above: dict[int, Counter[Name]] = {}  # names above those of records, and of how many each
        self.others: Mapping[Name, tuple[str, ...]] = {}  # whom to ask, by domain

    def put(self, obj: ServiceObject) -> None:
        """Take in an object. Raises RefusedObject for what is no name, address or record."""
        try:
            match obj:
                case NameView():
                    self._ranges[obj.vni] = [ipaddress.ip_network(cidr) for cidr in obj.ranges]
                case NameZone():
                    self._zones.setdefault(obj.vni, set()).add(parse_name(obj.origin))
                case NameRecord():
                    rrset = rrset_of(obj)
                    names = self._records.setdefault(obj.vni, {})
                    if rrset.name not in names:
                        names[rrset.name] = {}
                        self._above.setdefault(obj.vni, Counter()).update(_upward(rrset.name))
                    names[rrset.name][rrset.rdtype] = rrset
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
                self._zones.get(obj.vni, set()).discard(parse_name(obj.origin))
            case NameRecord():
                names, name = self._records.get(obj.vni, {}), parse_name(obj.name)
                if name in names:
                    names[name].pop(dns.rdatatype.from_text(obj.type), None)
                    if not names[name]:
                        del names[name]
                        self._above[obj.vni].subtract(_upward(name))
                        self._above[obj.vni] += Counter()  # without those of which there are none left
            case _:
                pass

    def serves(self, vni: int) -> bool:
        """Return whether names are answered in a VPC."""
        return vni in self._ranges

    def servers(self, name: Name) -> tuple[str, ...]:
        """Return whom to ask for a name: the longest domain says so."""
        return next((self.others[above] for above in _upward(name) if above in self.others), ())

    def find(self, vni: int, name: Name, rdtype: RdataType) -> Found | None:
        """Return what a VPC's own names say; None: nothing, others must be asked."""
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
        zone = next((above for above in _upward(name) if above in self._zones.get(vni, ())), None)
        records = self._records.get(vni, {})
        if name in records:
            return records[name], zone or name
        if zone is not None:
            return self._of_zone(vni, name, zone), zone
        return self._of_addresses(vni, name)

    def _of_zone(self, vni: int, name: Name, zone: Name) -> Sets | None:
        """Return the record sets of a name that has none of its own; None: it does not exist."""
        names, above = self._records.get(vni, {}), self._above.get(vni, Counter())
        if name == zone or name in above:  # a name above others exists. RFC 8020
            return {}
        for encloser in _upward(name.parent()):  # RFC 4592: the closest one that exists has the wildcard that counts
            if wild := names.get(dns.name.Name((b"*", *encloser.labels))):
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
        target = dns.name.Name((f"{_PREFIX}{str(address).replace('.', '-')}".encode(), *DOMAIN.labels))
        return {RdataType.PTR: dns.rrset.from_text(name, TTL_S, "IN", "PTR", target.to_text())}, zone

    def _of_domain(self, vni: int, name: Name) -> Sets | None:
        if name == DOMAIN:
            return {}
        label = name.labels[0].decode("ascii", "replace")
        if len(name.labels) != len(DOMAIN.labels) + 1 or not label.startswith(_PREFIX):
            return None
        try:
            address = ipaddress.IPv4Address(label.removeprefix(_PREFIX).replace("-", "."))
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
    return dns.rrset.from_text_list(parse_name(record.name), record.ttl, "IN", record.type, list(record.values))


def soa_of(zone: Name) -> RRset:
    """Return the SOA record of a zone, which says how long a name's absence may be remembered. Source: RFC 2308 section 3."""
    said = f"ns.{DOMAIN} hostmaster.{DOMAIN} 1 7200 900 1209600 {NEGATIVE_TTL_S}"
    return dns.rrset.from_text(zone, NEGATIVE_TTL_S, "IN", "SOA", said)


def _upward(name: Name) -> Iterator[Name]:
    """Yield a name and all those above it, the root last."""
    labels: Sequence[bytes] = name.labels
    return (dns.name.Name(labels[first:]) for first in range(len(labels)))
