"""Three customers with the same addresses and a peer, on one pair of edges, and their reachability by EC2's rules.

    a   an internet gateway and public addresses; one instance has none, another one no route to the gateway
    b   a NAT gateway, by an internet gateway; one instance has a public address, another one no route to either
    c   no gateway
    d   a peer of a, with routes that would lead through a's gateway to the internet; outside, its range belongs to others

`Rules` knows nothing of filters, tables and hosts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import product
from typing import Final

import msgspec

from netorch.model.addr import parse_ip, parse_prefix
from tests.integration.edges.isolation.ends import Arrival, Ends, Shot
from tests.rig.outskirts import BORDER, EDGES, INTERNET, SERVER, UPLINKS

CLOUD: Final = """
vpcs:
- name: a
  cidrs: [10.0.0.0/16]
  route_tables: [{name: dark}]
  subnets: [{name: app, cidr: 10.0.1.0/24}, {name: dark, cidr: 10.0.2.0/24, route_table: dark}]
  security_groups: [{name: open, ingress: [{protocol: all, source: 0.0.0.0/0}]}]
  instances:
  - {name: one, host: hv1, subnet: app, address: 10.0.1.5, security_groups: [open]}
  - {name: two, host: hv2, subnet: app, address: 10.0.1.6, security_groups: [open]}
  - {name: mute, host: hv1, subnet: app, address: 10.0.1.7, security_groups: [open]}
  - {name: dark, host: hv1, subnet: dark, address: 10.0.2.5, security_groups: [open]}
- name: b
  cidrs: [10.0.0.0/16]
  route_tables: [{name: dark}, {name: public}]
  subnets:
  - {name: app, cidr: 10.0.1.0/24}
  - {name: dark, cidr: 10.0.2.0/24, route_table: dark}
  - {name: pub, cidr: 10.0.9.0/24, route_table: public}
  security_groups: [{name: open, ingress: [{protocol: all, source: 0.0.0.0/0}]}]
  instances:
  - {name: one, host: hv1, subnet: app, address: 10.0.1.5, security_groups: [open]}
  - {name: two, host: hv2, subnet: app, address: 10.0.1.6, security_groups: [open]}
  - {name: dark, host: hv1, subnet: dark, address: 10.0.2.5, security_groups: [open]}
  - {name: web, host: hv2, subnet: pub, address: 10.0.9.5, security_groups: [open]}
- name: c
  cidrs: [10.0.0.0/16]
  subnets: [{name: app, cidr: 10.0.1.0/24}]
  security_groups: [{name: open, ingress: [{protocol: all, source: 0.0.0.0/0}]}]
  instances:
  - {name: one, host: hv1, address: 10.0.1.5, security_groups: [open]}
  - {name: two, host: hv2, address: 10.0.1.6, security_groups: [open]}
- name: d
  cidrs: [11.7.0.0/16]
  route_tables:
  - {name: greedy, routes: [10.0.0.0/16 via pcx-a, 203.0.113.0/24 via pcx-a, 198.51.100.0/24 via pcx-a, 198.19.0.0/16 via pcx-a]}
  subnets: [{name: app, cidr: 11.7.1.0/24, route_table: greedy}]
  security_groups: [{name: open, ingress: [{protocol: all, source: 0.0.0.0/0}]}]
  instances:
  - {name: one, host: hv2, address: 11.7.1.5, security_groups: [open]}
  peerings: [{name: a, peer: a}]
"""
NAT, NAT_PUBLIC = "10.0.9.9", "198.51.100.12"
ROUTERS: Final = {
    "a": ("10.0.1.1", "10.0.2.1"),
    "b": ("10.0.1.1", "10.0.2.1", "10.0.9.1"),
    "c": ("10.0.1.1",),
    "d": ("11.7.1.1",),
}


class Instance(msgspec.Struct, frozen=True, kw_only=True):
    """An instance as its customer sees it."""

    host: str
    private: str
    public: str = ""
    leads_to: str = ""  # target of its default route: igw, nat, eigw or nothing
    peers: str = ""  # the VPCs to which its route table has routes
    shut: str = "-"  # prefix of addresses for which its route table has no route


INSTANCES: Final[Mapping[str, Instance]] = {
    "a/one": Instance(host="hv1", private="10.0.1.5", public="198.51.100.5", leads_to="igw", peers="d"),
    "a/two": Instance(host="hv2", private="10.0.1.6", public="198.51.100.6", leads_to="igw", peers="d"),
    "a/mute": Instance(host="hv1", private="10.0.1.7", leads_to="igw", peers="d"),
    "a/dark": Instance(host="hv1", private="10.0.2.5", public="198.51.100.8"),
    "b/one": Instance(host="hv1", private="10.0.1.5", leads_to="nat"),
    "b/two": Instance(host="hv2", private="10.0.1.6", leads_to="nat"),
    "b/dark": Instance(host="hv1", private="10.0.2.5"),
    "b/web": Instance(host="hv2", private="10.0.9.5", public="198.51.100.13", leads_to="igw"),
    "c/one": Instance(host="hv1", private="10.0.1.5"),
    "c/two": Instance(host="hv2", private="10.0.1.6"),
    "d/one": Instance(host="hv2", private="11.7.1.5", peers="a"),
}
UPLINK: Final = {edge: UPLINKS[edge].address.partition("/")[0] for edge in EDGES}
ROUTERS_OF_UPLINKS: Final = tuple(UPLINKS[edge].gateway for edge in EDGES)
BORDERS: Final = (*ROUTERS_OF_UPLINKS, "203.0.113.1")
HOSTS: Final = {name: f"192.0.2.{11 + number}" for number, name in enumerate(("hv1", "hv2", *EDGES))}
SPINE: Final = "198.18.0.1"
WIRES: Final = {f"{what} by {edge}": (what, edge) for what, edge in product((INTERNET, BORDER), EDGES)}
LOUD: Final = ("224.0.0.1", "255.255.255.255")
# Addresses without a host: of cables, VPCs' ranges and the pool; that no network announces; that Linux takes as its own.
NOBODYS: Final = ("192.0.0.8", "10.0.77.7", "10.0.255.255", "198.51.100.99", "100.64.0.1", "169.254.169.254", "192.168.0.1")
STRANGE: Final = ("127.0.0.1", "0.0.0.0", "240.0.0.1", *LOUD)
PUBLIC: Final = tuple(sorted({NAT_PUBLIC, *(instance.public for instance in INSTANCES.values() if instance.public)}))
OUTSIDE: Final = (SERVER, *PUBLIC, *UPLINK.values(), *BORDERS)
ADDRESSES: Final = tuple(
    sorted(
        {instance.private for instance in INSTANCES.values()}
        | {address for routers in ROUTERS.values() for address in routers}
        | {NAT, SPINE, *OUTSIDE, *HOSTS.values(), *NOBODYS, *STRANGE}
    )
)


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """The world outside of VPCs, by addresses of one IP version."""

    server: str
    uplinks: Mapping[str, str]  # edge -> its address on the uplink
    gateways: Mapping[str, str]  # edge -> the border router's address on the uplink
    borders: tuple[str, ...]  # all addresses of the border router
    loud: tuple[str, ...]
    ranges: Mapping[str, str]  # VPC -> its range
    routers: Mapping[str, tuple[str, ...]]  # VPC -> the router's addresses
    public: tuple[str, ...]  # the addresses routed to edges


SITE: Final = Site(
    server=SERVER,
    uplinks=UPLINK,
    gateways={edge: UPLINKS[edge].gateway for edge in EDGES},
    borders=BORDERS,
    loud=LOUD,
    ranges={"a": "10.0.0.0/16", "b": "10.0.0.0/16", "c": "10.0.0.0/16", "d": "11.7.0.0/16"},
    routers=ROUTERS,
    public=PUBLIC,
)


def is_on_the_way(arrival: Arrival) -> bool:
    """Return whether a packet was seen as it left an edge."""
    return arrival.at.endswith(" uplink")


class Rules(msgspec.Struct, frozen=True):
    """Reachability, while the instances are as given."""

    instances: Mapping[str, Instance]
    nat_public: str = NAT_PUBLIC
    site: Site = SITE

    def reached(self, shot: Shot) -> set[Arrival]:
        """Return the ends at which a packet arrives."""
        name = shot.sender
        if name in self.instances:
            return self._from_instance(shot, name, self.instances[name])
        if name in HOSTS:
            return self._from_underlay(shot, HOSTS[name])
        if name in WIRES:
            return self._from_wire(shot, *WIRES[name])
        return self._to_outside(shot, self.site.uplinks[name.removesuffix(" outside")])

    def broken_by(self, found: Mapping[Shot, set[Arrival]]) -> dict[Shot, set[Arrival]]:
        """Return the shots that arrive at wrong ends, or leave an edge with a wrong source or to the pool; with arrivals."""
        return {shot: got for shot, got in found.items() if self._is_broken_by(shot, got)}

    def missing(self, found: Mapping[Shot, set[Arrival]]) -> list[Shot]:
        """Return the shots that should have arrived and have not."""
        return [shot for shot, got in found.items() if not got and self.reached(shot)]

    def _is_broken_by(self, shot: Shot, got: set[Arrival]) -> bool:
        leaving = {each for each in got if is_on_the_way(each)}
        reached = self.reached(shot)
        if shot.sender in self.instances and shot.destination in self.site.gateways.values():
            # The packet leaves by the other uplink, or not at all: an uplink's own network is not part of the internet.
            reached = reached if leaving else set()
        return got - leaving != reached or any(self._leaves_wrongly(shot, each) for each in leaving)

    def _leaves_wrongly(self, shot: Shot, leaving: Arrival) -> bool:
        router = self.site.gateways[leaving.at.removesuffix(" uplink")]
        is_operators = leaving.destination == router and shot.sender in self.instances
        return is_operators or leaving.destination in self.site.public or leaving.source != self.source_outside(shot.sender)

    def source_outside(self, name: str) -> str:
        """Return the source address of an end's packets on an uplink, or nothing."""
        if name in self.instances:
            sender = self.instances[name]
            return {"igw": sender.public, "nat": self.nat_public, "eigw": sender.private}.get(sender.leads_to, "")
        return self.site.uplinks.get(name.removesuffix(" outside"), "")

    def _from_instance(self, shot: Shot, name: str, sender: Instance) -> set[Arrival]:
        vpc, to, router = name[0], shot.destination, f"{sender.host} overlay"
        if shot.kind == "error":  # about a packet that the end has not received
            return set()
        if to in (*self.site.routers[vpc], *self.site.loud):  # packets to all are not answered
            return {Arrival(router, sender.private, to)} if shot.kind == "ping" else set()
        for other, instance in self.instances.items():
            if instance.private == to and other[0] in vpc + sender.peers:
                return {Arrival(other, sender.private, to)}
        source = self.source_outside(name)
        is_local = parse_prefix(self.site.ranges[vpc]).holds(*parse_ip(to))
        return self._to_outside(shot, source) if source and not is_local and not to.startswith(sender.shut) else set()

    def _to_outside(self, shot: Shot, source: str) -> set[Arrival]:
        """Return the ends outside of VPCs at which a packet with a public source arrives."""
        to = shot.destination
        if to == self.site.server:
            return {Arrival(INTERNET, source, to)}
        if to in self.site.borders:
            return {Arrival(BORDER, source, to)}
        return self._to_edge(shot, source, EDGES) or self._to_public(shot, source)

    def _from_wire(self, shot: Shot, what: str, edge: str) -> set[Arrival]:
        """Return the ends at which a packet from the border to an edge arrives."""
        source = self.site.server if what == INTERNET else self.site.gateways[edge]
        return self._to_edge(shot, source, (edge,)) or self._to_public(shot, source)

    def _to_edge(self, shot: Shot, source: str, edges: tuple[str, ...]) -> set[Arrival]:
        meant = [edge for edge in edges if shot.destination in (self.site.uplinks[edge], *self.site.loud)]
        return {Arrival(f"{edge} outside", source, shot.destination) for edge in meant if shot.kind == "ping"}

    def _to_public(self, shot: Shot, source: str) -> set[Arrival]:
        if shot.kind == "error":
            return set()
        holders = [name for name, instance in self.instances.items() if instance.public == shot.destination]
        return {Arrival(name, source, self.instances[name].private) for name in holders}

    def _from_underlay(self, shot: Shot, source: str) -> set[Arrival]:
        """Return the ends at which a packet that a host itself sends arrives."""
        to = shot.destination
        found = {Arrival(name, source, to) for name, vtep in HOSTS.items() if vtep == to}
        return found | ({Arrival("spine", source, to)} if to == SPINE else set())


RULES: Final = Rules(INSTANCES)


def played(ends: Ends, rules: Rules, shots: Iterable[Shot]) -> dict[Shot, set[Arrival]]:
    """Return all arrivals. A lost packet that should arrive is sent again several times: hosts may be changing edges."""
    found = ends.play(shots)
    for _ in range(10):
        missing = rules.missing(found)
        if not missing:
            break
        found |= ends.play(missing)
    return found
