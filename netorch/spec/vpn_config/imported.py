"""The parser of AWS's CustomerGatewayConfiguration: a VPN connection of AWS as its customer sees it.

The roles are those of the file: the customer is a netorch edge, and both tunnels end at its one address. AWS has two addresses.
AWS's file names one algorithm of each kind, which works with all devices, and no IKE version.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

import msgspec

from netorch.errors import Problem, SpecError
from netorch.model import rules
from netorch.model.addr import parse_prefix
from netorch.model.outside import vpn_rules
from netorch.model.outside.vpn import TUNNELS, DpdAction, StartupAction, TunnelOptions, inside_addresses
from netorch.model.rules import Violation, shown
from netorch.spec.vpn_config.aws import CARRIED, ENCRYPTION, INTEGRITY, STATIC
from netorch.spec.vpn_config.xml_tree import Element, read_xml

T = TypeVar("T", bound=object)

_TAKE: Final = "use the file exactly as AWS provides it"
_ID: Final = re.compile(r"(?P<kind>[a-z]{3})-([0-9a-f]{8}|[0-9a-f]{17})")
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,9}")
_CIPHERS: Final = {word: name for name, word in ENCRYPTION.items()}
_HASHES: Final = {word: name for name, word in INTEGRITY.items()}
_CARRIED: Final = {word: name for name, word in CARRIED.items()}


class ImportedTunnel(msgspec.Struct, frozen=True, kw_only=True):
    """A tunnel to AWS, without its pre-shared key, so that no output of this value shows the key."""

    address: str  # IPv4 address of AWS's end
    inside_cidr: str  # AWS has the first address, the customer the second
    options: TunnelOptions


class ImportedConnection(msgspec.Struct, frozen=True, kw_only=True):
    """A connection to a VPC at AWS."""

    id: str  # AWS's ids
    customer_gateway: str
    gateway: str  # vgw-... or tgw-...
    address: str  # IPv4 address of the customer's end
    asn: int = 0  # of the customer's end; 0 without BGP
    amazon_asn: int = 0
    static: bool = False
    tunnels: tuple[ImportedTunnel, ...]


class _End(msgspec.Struct, frozen=True):
    """An end of a tunnel."""

    address: str
    inside: str
    asn: int


def read_gateway_configuration(source: str, data: bytes) -> tuple[ImportedConnection, dict[int, str]]:
    """Return the connection of a file, and its pre-shared keys by tunnel (1, 2). `source` is the file's name.

    Raises:
      SpecError: the file has another format or is invalid; carries every problem, and no part of a key.
    """
    root = read_xml(source, data)
    reader = _Reader()
    connection = reader.connection(root)
    keys = {number: reader.key(tunnel) for number, tunnel in enumerate(root.named("ipsec_tunnel"), 1)}
    if reader.problems:
        raise SpecError(source, reader.problems)
    return connection, keys


class _Reader:
    """Reads the elements and collects problems. A missing element is reported once, without its children."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def connection(self, root: Element) -> ImportedConnection:
        """Return the connection, with empty values in place of invalid ones."""
        if root.name != "vpn_connection":
            self._note(root, f"the file begins with {shown(root.name)}", "it must begin with vpn_connection")
            return ImportedConnection(id="", customer_gateway="", gateway="", address="", tunnels=())
        tunnels = root.named("ipsec_tunnel")
        if len(tunnels) != TUNNELS:
            self._note(root, f"there are {len(tunnels)} elements ipsec_tunnel", f"a connection has {TUNNELS}")
        self._word(root, "vpn_connection_type", {"ipsec.1": True}, True)
        attributes = root.named("vpn_connection_attributes")
        static = bool(attributes) and self._word(root, "vpn_connection_attributes", {STATIC: True}, True)
        ours = [self._end(self._one(tunnel, "customer_gateway"), static=static) for tunnel in tunnels]
        theirs = [self._end(self._one(tunnel, "vpn_gateway"), static=static) for tunnel in tunnels]
        for tunnel, end, other in zip(tunnels, ours, theirs, strict=True):
            self._compare(tunnel, (end, other), (ours[0], theirs[0]))
        router = "transit_gateway_id" if root.named("transit_gateway_id") else "vpn_gateway_id"
        return ImportedConnection(
            id=self._id(root, root.attributes.get("id", ""), "vpn"),
            customer_gateway=self._id_in(root, "customer_gateway_id", "cgw"),
            gateway=self._id_in(root, router, "tgw" if router == "transit_gateway_id" else "vgw"),
            address=ours[0].address if ours else "",
            asn=ours[0].asn if ours else 0,
            amazon_asn=theirs[0].asn if theirs else 0,
            static=static,
            tunnels=tuple(
                ImportedTunnel(
                    address=other.address,
                    inside_cidr=self._inside(tunnel, other.inside, end.inside),
                    options=self._options(self._one(tunnel, "ike"), self._one(tunnel, "ipsec")),
                )
                for tunnel, end, other in zip(tunnels, ours, theirs, strict=True)
            ),
        )

    def key(self, tunnel: Element) -> str:
        """Return the pre-shared key of a tunnel."""
        return self._checked(self._one(self._one(tunnel, "ike"), "pre_shared_key"), vpn_rules.psk)

    def _end(self, end: Element, *, static: bool) -> _End:
        inside = self._one(end, "tunnel_inside_address")
        self._word(inside, "network_cidr", {str(vpn_rules.INSIDE_LENGTH): True}, True)
        outside = self._one(self._one(end, "tunnel_outside_address"), "ip_address")
        return _End(
            address=self._checked(outside, vpn_rules.customer_address),
            inside=self._checked(self._one(inside, "ip_address"), _address),
            asn=0 if static else self._number(self._one(end, "bgp"), "asn", (1, 0xFFFFFFFE)),
        )

    def _compare(self, tunnel: Element, ends: tuple[_End, _End], first: tuple[_End, _End]) -> None:
        (ours, theirs), (our_first, their_first) = ends, first
        if (ours.address, ours.asn) != (our_first.address, our_first.asn) or theirs.asn != their_first.asn:
            what = "the customer's address or an AS number differs from the first tunnel's"
            self._note(tunnel, what, "both tunnels must have the same two ends")
        if ours.asn and ours.asn == theirs.asn:
            self._note(
                tunnel, f"both ends have the AS number {ours.asn}", "create a customer gateway with another AS number at AWS"
            )

    def _inside(self, tunnel: Element, theirs: str, ours: str) -> str:
        """Return the network inside a tunnel."""
        if not theirs or not ours:
            return ""
        network = str(parse_prefix(f"{theirs}/{vpn_rules.INSIDE_LENGTH}", strict=False))
        found = vpn_rules.inside_cidr(network)
        if isinstance(found, Violation) or inside_addresses(network) != (theirs, ours):
            what = f"the inside addresses are {theirs} at AWS and {ours} here"
            self._note(tunnel, what, "they must be the first and the second one of a /30 of 169.254.0.0/16")
        return network

    def _options(self, ike: Element, ipsec: Element) -> TunnelOptions:
        self._word(ike, "mode", {"main": True}, True)
        self._word(ipsec, "mode", {"tunnel": True}, True)
        self._word(ipsec, "protocol", {"esp": True}, True)
        dpd = self._one(ipsec, "dead_peer_detection")
        interval, retries = self._number(dpd, "interval", (1, 3600)), self._number(dpd, "retries", (1, 100))
        options = TunnelOptions(
            phase1_encryption=(self._word(ike, "encryption_protocol", _CIPHERS, "AES128"),),
            phase1_integrity=(self._word(ike, "authentication_protocol", _HASHES, "SHA1"),),
            phase1_dh_groups=(self._word(ike, "perfect_forward_secrecy", _groups(vpn_rules.PHASE1_DH_GROUPS), 2),),
            phase1_lifetime=self._number(ike, "lifetime", vpn_rules.PHASE1_LIFETIME),
            phase2_encryption=(self._word(ipsec, "encryption_protocol", _CIPHERS, "AES128"),),
            phase2_integrity=(self._word(ipsec, "authentication_protocol", _CARRIED, "SHA1"),),
            phase2_dh_groups=(self._word(ipsec, "perfect_forward_secrecy", _groups(vpn_rules.PHASE2_DH_GROUPS), 2),),
            phase2_lifetime=self._number(ipsec, "lifetime", vpn_rules.PHASE2_LIFETIME),
            dpd_timeout=max(interval * retries, vpn_rules.DPD_TIMEOUT[0]),
            dpd_action=DpdAction.RESTART,
            startup_action=StartupAction.START,  # AWS waits for its customer
        )
        if not self.problems:  # the single values are valid
            for field, violation in vpn_rules.options(options):
                self._note(ipsec, f"{field}: {violation.what}", violation.fix)
        return options

    def _one(self, parent: Element, name: str) -> Element:
        """Return the only child element of that name."""
        found = parent.named(name)
        if len(found) == 1:
            return found[0]
        if parent is not _NOWHERE:
            what = f"there is no element {name}" if not found else f"there are {len(found)} elements {name}"
            self._note(parent, what, _TAKE)
        return _NOWHERE

    def _checked(self, element: Element, rule: Callable[[str], Violation | None]) -> str:
        """Return an element's text if a rule accepts it, else an empty text."""
        if element is _NOWHERE:
            return ""
        violation = rule(element.text)
        if violation is not None:
            self._note(element, violation.what, violation.fix)
            return ""
        return element.text

    def _word(self, parent: Element, name: str, known: Mapping[str, T], otherwise: T) -> T:
        """Return the value of an element's word, or `otherwise`."""
        element = self._one(parent, name)
        if element is not _NOWHERE and element.text not in known:
            self._note(element, f"{shown(element.text)} is not known", f"write one of {', '.join(known)}")
        return known.get(element.text, otherwise)

    def _number(self, parent: Element, name: str, limits: tuple[int, int]) -> int:
        """Return an element's number, or the lower limit if it is invalid."""
        element = self._one(parent, name)
        value = int(element.text) if _NUMBER.fullmatch(element.text) else None
        if value is not None and limits[0] <= value <= limits[1]:
            return value
        if element is not _NOWHERE:
            self._note(element, f"{shown(element.text)} is not a number from {limits[0]} to {limits[1]}", _TAKE)
        return limits[0]

    def _id_in(self, parent: Element, name: str, kind: str) -> str:
        element = self._one(parent, name)
        return "" if element is _NOWHERE else self._id(element, element.text, kind)

    def _id(self, element: Element, text: str, kind: str) -> str:
        found = _ID.fullmatch(text)
        if found is None or found["kind"] != kind:
            self._note(element, f"{shown(text)} is not an AWS id that begins with {kind}-", _TAKE)
        return text

    def _note(self, element: Element, what: str, fix: str) -> None:
        self.problems.append(Problem(path=element.path, what=what, fix=fix, line=element.line))


_NOWHERE: Final = Element("", "", 0, {})


def _address(text: str) -> Violation | None:
    found = rules.address(text, 4)
    return found if isinstance(found, Violation) else None


def _groups(known: tuple[int, ...]) -> dict[str, int]:
    return {f"group{number}": number for number in known}
