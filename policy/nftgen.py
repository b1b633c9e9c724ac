"""Text of the contents of policy.skeleton's tables: elements, and chains of ports."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from netorch.model.addr import BITS, Prefix, packed, parse_prefix
from netorch.model.security import ICMP, ICMPV6
from netorch.state.base import OVERLAY, UNDERLAY
from netorch.state.nft import NftChain, NftElement, PortChain
from policy.skeleton import FOR_OTHERS
from policy.tables.offload import CHECKED_PRIORITY

_VXLAN_FLAGS: Final = "0x8000000"  # "I": the VNI is valid; all else but the VNI is reserved. Source: RFC 7348 section 5.
_LINK_LOCAL: Final = "169.254.0.0/16"
_LINK_LOCAL6: Final = "fe80::/10"
_DISCOVERY: Final = "133-137"  # router and neighbour solicitation and advertisement, and redirects
_ROUTER: Final = parse_prefix("192.0.0.8/32")  # source of ICMP errors from routers without an address: RFC 7600
_REDIRECT: Final = 5  # ICMP redirect; this number in ICMPv6 is neighbour discovery, never forwarded


def port_chain(vni: int, ifname: str, mac: str, address: str, ipv6: Iterable[str]) -> PortChain:
    """Return the chain that lets a port send from one MAC and its addresses; the commonest packets come first.

    A fragment after the first has no transport header: only its addresses are read.
    """
    addresses, passes = tuple(ipv6), f"meta priority set {CHECKED_PRIORITY} accept"
    # Raw fields spare nft's checks of device and protocol: the ethertype, behind the MAC, shows the protocol. The address comes
    # first, because Linux reads the network header without copying it, and no packet of the other IP version matches.
    rules = [f"@nh,96,32 {raw(address)} @ll,48,64 {_frame(mac, 0x0800)} @nh,72,8 != {ICMP:#x} {passes}"]
    frame6 = _frame(mac, 0x86DD)
    rules += [f"@nh,64,128 {raw(source)} @ll,48,64 {frame6} meta l4proto != {ICMPV6} {passes}" for source in addresses[:1]]
    rules += [f"ether saddr != {mac} goto drop_spoofed", f"ip saddr {address} ip frag-off & 8191 != 0 {passes}"]
    if addresses:
        rules.append("jump whole_headers")
        rules += [f"ip6 saddr {source} frag frag-off != 0 {passes}" for source in addresses[:2]]
        rules.append("frag frag-off != 0 goto nameless")
    rules.append(f"icmp type {_REDIRECT} goto drop_spoofed")
    rules += _errors("icmp", f"ip saddr {address} ip frag-off & 16383 == 0 @th,192,32 {raw(address)} {passes}")
    for source in addresses[:1]:
        rules += _errors("icmpv6", f"ip6 saddr {source} exthdr frag 0 @th,256,128 {raw(source)} {passes}")
    rules += [f"{match} {passes}" for match in (f"ip saddr {address}", *(f"ip6 saddr {source}" for source in addresses))]
    rules.append(f"arp saddr ether {mac} arp saddr ip {address} accept")
    return PortChain(vni=vni, ifname=ifname, rules=(*rules, "goto nameless"))


def forwarder_chain(vni: int, ifname: str, mac: str, address: str, ipv6: Iterable[str]) -> PortChain:
    """Return the chain of a port without source/destination check: it sends from one MAC, and from any address.

    Protocols that are never forwarded stay bound to the port's own addresses (`ipv6` as for `port_chain`): ARP, and neighbour
    discovery, which would fill the neighbour table that all VPCs share. Only the VPC's router sends redirects, and link-local
    packets are not forwarded.

    Packets that `port_chain` would drop get a mark of their own: the overlay's table must not let them leave for a peer.
    """
    addresses, passes = tuple(ipv6), f"meta priority set {CHECKED_PRIORITY} accept"
    named, others = f"ip saddr {address}", f"meta mark set {FOR_OTHERS} accept"
    rules = [f"ether saddr != {mac} goto drop_spoofed", f"ip saddr {_LINK_LOCAL} goto nameless", "ip saddr 0.0.0.0 goto nameless"]
    rules += [f"{named} ip protocol != {ICMP} {passes}", f"ip protocol != {ICMP} {others}"]
    rules += [f"{named} ip frag-off & 8191 != 0 {passes}", f"ip frag-off & 8191 != 0 {others}"]
    if addresses:
        named6, beyond = f"ip6 saddr {addresses[0]}", f"ip6 saddr != {_LINK_LOCAL6}"
        rules += [f"{named6} meta l4proto != {ICMPV6} {passes}", f"{beyond} meta l4proto != {ICMPV6} {others}"]
        rules += ["jump whole_headers", f"{named6} frag frag-off != 0 {passes}", f"{beyond} frag frag-off != 0 {others}"]
        rules.append("frag frag-off != 0 goto nameless")
    rules.append(f"icmp type {_REDIRECT} goto drop_spoofed")
    rules.append(f"icmp type @icmp_errors {named} ip frag-off & 16383 == 0 @th,192,32 {raw(address)} {passes}")
    rules.append(f"icmp type @icmp_errors {others}")
    rules += [f"{named} {passes}", f"ip protocol {ICMP} {others}"]
    if addresses:
        rules.append(f"icmpv6 type @icmpv6_errors {named6} exthdr frag 0 @th,256,128 {raw(addresses[0])} {passes}")
        rules.append(f"icmpv6 type @icmpv6_errors {beyond} {others}")
        rules += [f"ip6 saddr {source} {passes}" for source in addresses]
        rules += [f"icmpv6 type {_DISCOVERY} goto drop_spoofed", f"{beyond} meta l4proto {ICMPV6} {others}"]
    rules.append(f"arp saddr ether {mac} arp saddr ip {address} accept")
    return PortChain(vni=vni, ifname=ifname, rules=(*rules, "goto nameless"))


def _frame(mac: str, ethertype: int) -> str:
    """Return a frame's source and type as one number."""
    return hex(int(mac.replace(":", ""), 16) << 16 | ethertype)


def _errors(word: str, right: str) -> tuple[str, str]:
    """Return the rules for ICMP errors: unfragmented ones about a packet to the interface's own address pass."""
    return f"{word} type @{word}_errors {right}", f"{word} type @{word}_errors goto drop_spoofed"


def sender(kind: str, vtep: str, vni: int, address: str) -> NftElement:
    """Return an element of `senders` (the address is the inner source) or of `relay` (the inner destination)."""
    return _underlay(f"{kind}{6 if ':' in address else 4}", vni, vtep, *vxlan_header(vni), raw(address))


def member(vtep: str, vni: int) -> NftElement:
    """Return the element that distinguishes a member of a VPC that errs or lies from a host outside it."""
    return _underlay("members", vni, vtep, *vxlan_header(vni))


def speaker(vtep: str, vni: int, chain: str = "speaker") -> NftElement:
    """Return the element that lets a host send to a VPC from any address that a chain accepts; `speaker` accepts all."""
    return _underlay("speakers", vni, vtep, *vxlan_header(vni), value=f"goto {chain}")


def outside_chain(vni: int, inside: Iterable[Prefix]) -> NftChain:
    """Return the chain for an edge's packets to a VPC: it accepts sources outside these ranges. Cost: O(ranges) per packet."""
    rules = [f"{_inner_source(prefix)} goto drop_unverified" for prefix in inside]
    return NftChain(netns=UNDERLAY, family="ip", vni=vni, name=f"outside-{vni:06x}", rules=(*rules, "goto speaker"))


def mapped_chain(vni: int, vtep: str, inside: Iterable[Prefix], aliases: Iterable[Prefix], others: NftChain | None) -> NftChain:
    """Return the chain for packets to a VPC from an edge with mapped peering connections.

    It accepts sources in `aliases` that are in none of the ranges `inside`. Other packets are decided as by `others`, the chain
    for gateways of the VPC that are also at this edge. Without `others`, only routers' own errors are accepted.
    """
    rules = [f"{_inner_source(prefix)} goto drop_unverified" for prefix in inside]
    rules += [f"{_inner_source(prefix)} goto speaker" for prefix in aliases]
    rest = others.rules if others is not None else (f"{_inner_source(_ROUTER)} goto speaker", "goto drop_unverified")
    name = f"outside-{vni:06x}-{packed(vtep).hex()}"
    return NftChain(
        netns=UNDERLAY, family="ip", vni=vni, name=name, rules=(*rules, *(rule for rule in rest if rule not in rules))
    )


def _inner_source(prefix: Prefix) -> str:
    """Return the match of a VXLAN packet whose inner source is in a prefix."""
    ethertype, field = ("0x800", "@th,336,32") if prefix.version == 4 else ("0x86dd", "@th,304,128")
    bits = BITS[prefix.version]
    mask = (1 << bits) - (1 << bits - prefix.length)
    masked = field if prefix.length == bits else f"{field} & {mask:#x} =="
    return f"@th,224,16 {ethertype} {masked} {prefix.network:#x}"


def transit(vxlan: str, address: str, vni: int) -> NftElement:
    """Return the element that lets packets for a departed address return to the overlay."""
    name = f"transit{6 if ':' in address else 4}"
    return NftElement(netns=OVERLAY, family="inet", set=name, items=(vxlan, address), vni=vni)


def served(port: str, address: str, vni: int) -> NftElement:
    """Return the element that lets a port query the services of this host at an address."""
    name = "served6" if ":" in address else "served"
    return NftElement(netns=OVERLAY, family="inet", set=name, items=(port, address), vni=vni)


def own_vxlan(vrf: str, vxlan: str, vni: int) -> NftElement:
    """Return the element that distinguishes a VPC's own VXLAN device from those of its peers."""
    return NftElement(netns=OVERLAY, family="inet", set="own_vxlan", items=(vrf, vxlan), vni=vni)


def vxlan_header(vni: int) -> tuple[str, str]:
    """Return the two words of the only VXLAN header that a VPC's packets may have."""
    return _VXLAN_FLAGS, hex(vni << 8)


def raw(address: str) -> str:
    """Return an address as the number that nft wants for a raw payload field, hexadecimal as `nft list` shows it."""
    return hex(int.from_bytes(packed(address), "big"))


def _underlay(name: str, vni: int, *items: str, value: str = "") -> NftElement:
    return NftElement(netns=UNDERLAY, family="ip", set=name, items=items, vni=vni, value=value)
