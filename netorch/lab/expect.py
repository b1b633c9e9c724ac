"""expect.yaml: which instances reach each other, checked with real packets.

Where customers have the same addresses, a reply alone proves nothing: it may come from another instance. So every echo has its
own token, and a raw socket in every instance's namespace records which instance received it. `a` reaches `b` only if `b`
received the token and `a` its reply.
"""

from __future__ import annotations

import ipaddress
import os
import secrets
import selectors
import socket
import struct
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from netorch.drivers import netns
from netorch.drivers.probe.echo import ECHO_REPLY_V4, ECHO_REPLY_V6, ECHO_REQUEST_V4, ECHO_REQUEST_V6, checksum
from netorch.errors import LabError, Problem, SpecError
from netorch.lab.services import INTERNET, FlowDecl, Outcome, Place, check_flows, check_internet, try_services
from netorch.lab.text import parse, repaired
from netorch.model.check.notes import path_of

if TYPE_CHECKING:
    from netorch.control.views.describe import InstanceInfo
    from netorch.records.inventory import Inventory

RESEND_S = 0.25
SETTLE_S = 0.5  # how long after the last expected echo an unexpected one may still arrive


class InternetDecl(msgspec.Struct, frozen=True, kw_only=True):
    """The node of the lab that flows call `internet`, with at most one address of each IP version."""

    node: str
    addresses: list[str]


class Expectations(msgspec.Struct, frozen=True, kw_only=True):
    """A decoded expect.yaml: islands of instances, addresses that must answer no instance, services that are open or closed."""

    islands: dict[str, tuple[str, ...]]
    unreachable: tuple[str, ...] = ()
    internet: InternetDecl | None = None
    flows: tuple[FlowDecl, ...] = ()

    @property
    def instances(self) -> tuple[str, ...]:
        """Return every instance, in the order of the file."""
        return tuple(name for members in self.islands.values() for name in members)


class Party(msgspec.Struct, frozen=True, kw_only=True):
    """An instance as the matrix needs it."""

    name: str
    netns: str
    addresses: tuple[str, ...]  # at most one of each family
    public: dict[str, str] = {}  # own address -> its address as seen from the internet


class Echo(msgspec.Struct, frozen=True, kw_only=True):
    """One cell of the matrix. `destination` is empty for an address that must answer no instance."""

    source: str
    destination: str
    address: str
    expected: bool


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """A cell with its result. `heard_by` are the instances that received the echo."""

    echo: Echo
    observed: bool
    replied: bool
    heard_by: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Return whether the result is as expected."""
        return self.observed == self.echo.expected

    @property
    def text(self) -> str:
        """Return the result as text."""
        heard = f"heard by {', '.join(self.heard_by)}" if self.heard_by else "heard by no instance"
        return f"{heard}, {'answered' if self.replied else 'no reply'}"


class _FileText(msgspec.Struct, kw_only=True):
    islands: dict[str, list[str]]
    unreachable: list[str] = []
    internet: InternetDecl | None = None
    flows: list[FlowDecl] = []


def load_expectations(path: str | Path, text: str | None = None) -> Expectations:
    """Return the expectations of a file, or of `text` if given; `path` is then only its name.

    Raises:
      SpecError: the file cannot be read, or is wrong; carries every problem.
    """
    values, lines, problems = repaired(parse(path, text), _FileText)
    file = msgspec.convert(values, _FileText)
    found = [*_check_islands(file.islands), *_check_addresses(("unreachable",), file.unreachable), *_check_flows(file)]
    known = {problem.path for problem in problems}
    problems += [msgspec.structs.replace(p, line=lines.get(p.path, 0)) for p in found if p.path not in known]
    if problems:
        raise SpecError(str(path), sorted(problems, key=lambda problem: problem.line))
    islands = {name: tuple(members) for name, members in file.islands.items()}
    return Expectations(islands=islands, unreachable=tuple(file.unreachable), internet=file.internet, flows=tuple(file.flows))


def json_schema() -> dict[str, object]:
    """Return the JSON Schema of expect.yaml, for editors."""
    schema = msgspec.json.schema(_FileText)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "expect.yaml of netorch", **schema}


def _check_islands(islands: Mapping[str, Sequence[str]]) -> Iterable[Problem]:
    if not islands:
        yield Problem(path="$.islands", what="no island is declared", fix="add one, e.g. acme: [acme/web-1, acme/web-2]")
    home: dict[str, str] = {}
    for island, members in islands.items():
        for index, name in enumerate(members):
            path = path_of(("islands", island, index))
            if not all(name.split("/")) or "/" not in name:
                yield Problem(
                    path=path, what=f"{name!r} is not the name of an instance", fix="write <vpc>/<instance>, e.g. acme/web-1"
                )
            elif name in home:
                yield Problem(path=path, what=f"{name} is already on island {home[name]}", fix="put it on one island only")
            home.setdefault(name, island)


def _check_addresses(where: tuple[str, ...], addresses: Sequence[str]) -> Iterable[Problem]:
    for index, address in enumerate(addresses):
        try:
            ipaddress.ip_address(address)
        except ValueError:
            path = path_of((*where, index))
            yield Problem(path=path, what=f"{address!r} is not an IP address", fix="write one, e.g. 192.0.2.11")


def _check_flows(file: _FileText) -> Iterable[Problem]:
    known = {name for members in file.islands.values() for name in members}
    yield from check_flows(file.flows, known)
    yield from check_internet(file.flows, file.internet is not None)
    if file.internet is not None:
        where = ("internet", "addresses")
        yield from _check_addresses(where, file.internet.addresses)
        if not 0 < len(file.internet.addresses) <= len({_family(address) for address in file.internet.addresses}):
            said = ", ".join(file.internet.addresses) or "none"
            yield Problem(path=path_of(where), what=f"addresses: {said}", fix="write one, or one of each IP version")


def find_parties(expectations: Expectations, inventory: Inventory) -> list[Party]:
    """Return the instances of the expectations as recorded in the store.

    Raises LabError when an instance does not exist, or two have the name.
    """
    from netorch.control.views.describe import describe_instances
    from netorch.records.caller import Caller

    known: dict[str, list[Party]] = {}
    for info in describe_instances(inventory, Caller(operator=True)):
        name = f"{info.vpc.name}/{info.instance.name}"
        addresses = tuple(address for interface in info.interfaces[:1] for address in interface.eni.addresses)
        space = info.instance.netns or info.instance.id
        public = _public(info)
        for key in (name, f"{info.vpc.owner}/{name}"):
            known.setdefault(key, []).append(Party(name=key, netns=space, addresses=addresses, public=public))
    parties = []
    for name in expectations.instances:
        found = known.get(name, [])
        if len(found) != 1:
            what = (
                "there is no such instance; apply vpc.yaml first"
                if not found
                else "two instances have that name; write owner/vpc/instance"
            )
            raise LabError(f"expect: {name}: {what}")
        parties.append(found[0])
    return parties


def _public(info: InstanceInfo) -> dict[str, str]:
    """Return the internet addresses of an instance's interface by its own: IPv6 addresses of a pool are the same."""
    found = {}
    for interface in info.interfaces[:1]:
        if interface.public is not None:
            found[interface.eni.address] = interface.public.address
        address, ranges = interface.eni.ipv6_address, map(ipaddress.ip_network, info.vpc.ipv6_pools)
        if address and any(ipaddress.ip_address(address) in network for network in ranges):
            found[address] = address
    return found


def matrix(expectations: Expectations, parties: Sequence[Party]) -> list[Echo]:
    """Return every cell: from each instance to each other in each common address family, and to the unreachable addresses."""
    island_of = {name: island for island, members in expectations.islands.items() for name in members}
    cells = []
    for a in parties:
        families = {_family(address) for address in a.addresses}
        for b in parties:
            if a is not b:
                expected = island_of[a.name] == island_of[b.name]
                addresses = (address for address in b.addresses if _family(address) in families)
                cells += [Echo(source=a.name, destination=b.name, address=x, expected=expected) for x in addresses]
        addresses = (address for address in expectations.unreachable if _family(address) in families)
        cells += [Echo(source=a.name, destination="", address=x, expected=False) for x in addresses]
    return cells


def _family(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


class _Endpoint:
    """A raw ICMP socket of one family in an instance's namespace: sends echoes, receives requests and replies."""

    def __init__(self, party: Party, family: int) -> None:
        self.party = party.name
        self.family = family
        protocol = socket.IPPROTO_ICMPV6 if family == socket.AF_INET6 else socket.IPPROTO_ICMP
        descriptor = netns.find(party.netns)
        try:
            with netns.inside(descriptor):
                self.socket = socket.socket(family, socket.SOCK_RAW | socket.SOCK_NONBLOCK, protocol)
        finally:
            os.close(descriptor)

    def send(self, address: str, token: bytes) -> None:
        """Send an echo request. An error of the instance's own kernel counts as no reply."""
        kind = ECHO_REQUEST_V6 if self.family == socket.AF_INET6 else ECHO_REQUEST_V4
        header = struct.pack("!BBHHH", kind, 0, 0, os.getpid() & 0xFFFF, 1)
        if self.family == socket.AF_INET:  # the kernel computes ICMPv6 checksums
            header = struct.pack("!BBHHH", kind, 0, checksum(header + token), os.getpid() & 0xFFFF, 1)
        try:
            self.socket.sendto(header + token, (address, 0))
        except OSError:
            return

    def hear(self) -> Iterable[tuple[bool, bytes]]:
        """Yield (is a reply, token) of every received echo."""
        requests, replies = (ECHO_REQUEST_V6, ECHO_REQUEST_V4), (ECHO_REPLY_V6, ECHO_REPLY_V4)
        while True:
            try:
                packet = self.socket.recv(2048)
            except BlockingIOError:
                return
            except OSError:  # a returned ICMP error
                continue
            icmp = packet if self.family == socket.AF_INET6 else packet[(packet[0] & 15) * 4 :]
            which = 0 if self.family == socket.AF_INET6 else 1
            if len(icmp) > 8 and icmp[0] in (requests[which], replies[which]):
                yield icmp[0] == replies[which], icmp[8:]


def observe(parties: Sequence[Party], cells: Sequence[Echo], timeout_s: float = 5.0) -> list[Verdict]:
    """Return the result of each cell. All echoes are sent at once; an expected one is repeated until it arrives.

    Raises:
      KernelError: an instance's namespace does not exist on this host, or the caller is not root.
    Cost: SETTLE_S when all is as expected, `timeout_s` when something does not arrive.
    """
    listeners = {
        (party.name, family): _Endpoint(party, family) for party in parties for family in {*map(_family, party.addresses)}
    }
    tokens = [secrets.token_bytes(16) for _ in cells]
    number = {token: index for index, token in enumerate(tokens)}
    heard: list[set[str]] = [set() for _ in cells]
    replied = [False] * len(cells)
    selector = selectors.DefaultSelector()
    try:
        for listener in listeners.values():
            selector.register(listener.socket, selectors.EVENT_READ, listener)
        begun = time.monotonic()
        end, resend = begun + timeout_s, begun
        while (now := time.monotonic()) < end:
            missing = [n for n, cell in enumerate(cells) if cell.expected and not (replied[n] and cell.destination in heard[n])]
            if not missing:
                end = min(end, max(now, begun) + SETTLE_S) if end == begun + timeout_s else end
            if now >= resend:
                for index in missing if resend > begun else range(len(cells)):
                    listeners[cells[index].source, _family(cells[index].address)].send(cells[index].address, tokens[index])
                resend = now + RESEND_S
            for key, _ in selector.select(min(resend, end) - now):
                for is_reply, token in key.data.hear():
                    if token in number:
                        _note(number[token], is_reply, key.data.party, cells, heard, replied)
    finally:
        selector.close()
        for listener in listeners.values():
            listener.socket.close()
    return [
        Verdict(
            echo=cell,
            observed=replied[n] and (cell.destination in heard[n] if cell.destination else True),
            replied=replied[n],
            heard_by=tuple(sorted(heard[n])),
        )
        for n, cell in enumerate(cells)
    ]


def _note(n: int, is_reply: bool, party: str, cells: Sequence[Echo], heard: list[set[str]], replied: list[bool]) -> None:
    if not is_reply:
        heard[n].add(party)
    elif party == cells[n].source:
        replied[n] = True


def check(expectations: Expectations, inventory: Inventory, timeout_s: float = 5.0) -> tuple[list[Verdict], list[Outcome]]:
    """Return the results of the whole matrix and of all flows. Must run in the lab, where the instances' namespaces are.

    Raises:
      LabError: an instance does not exist, or lacks a public address that a flow needs.
      KernelError: its namespace does not exist on this host, or the caller is not root.
    """
    parties = find_parties(expectations, inventory)
    echoes = observe(parties, matrix(expectations, parties), timeout_s)
    places = {party.name: Place(party.netns, party.addresses, party.public) for party in parties}
    if expectations.internet is not None:
        places[INTERNET] = Place(expectations.internet.node, tuple(expectations.internet.addresses), {})
    return echoes, try_services(expectations.flows, places, timeout_s, SETTLE_S)
