"""Names and numbers of a VPC's devices, tables and chains, with the VNI in each.

Compilers write the VNI into each object. For an object in a kernel, e.g. without records, it is parsed from the name.

    vrf5000, vrf5000.1   VRF of the VPC's route table 0, 1; its routing table has the number 5000, 1 << 24 | 5000
    vx5000               VXLAN device
    v-001388abcdef0      port: a letter, six hexadecimal digits of VNI, seven more
    p-… and q-…          ends of a cable between two peered VPCs: in the VPC of lower VNI, in the other; each has its own VNI
    g-… and o-…          ends of a cable to the outside: in the overlay, in the outside namespace
    m-… and n-…          ends of a cable into an interface that routes lead to: its inlet, and this host's way to it
    e-…                  end of a cable into the namespace of an egress-only internet gateway
    x-… and y-…          xfrm interfaces of the first and the second tunnel of a VPN connection
    d-…                  VLAN device of a virtual interface of Direct Connect
    svlan300-1a2b        VLAN device in the outside for a service tag around those; belongs to no VPC
    cvlan0-1a2b, svlan0-1a2b   likewise, for packets with a priority and no VLAN; never up
    identity-001388.4       chain, set or map of nftables: six hexadecimal digits of VNI after the first dash
    border-001388-…         first chain of ports: their subnet, the number of their groups, and which of their packets
    acl-…                   chain of a network ACL for packets in a direction
    answers-…               chain of a subnet for the answers to packets in a direction; and one for known connections
    flow-…                  chain that adds flows to the VPC's flowtable

A new kind of device gets its own letter, see `LETTERS`. Its name then has the VNI.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Final

from netorch.state.base import HOST_SLICE

CABLE_LETTERS: Final = "pqmngoe"  # of the ends of cables
LETTERS: Final = f"v{CABLE_LETTERS}xyd"  # first letters of device names: v is a port
VRF_NUMBER_LAST: Final = 255  # a routing table has 32 bits, the VNI takes 24 of them
MAIN_NUMBER: Final = 255  # of the VRF of the table without a number, if that cannot be the VPC's first one: see compiler.vrf
INLET: Final = "m-"  # the start of the name of an inlet, the end where packets come in
INLET_NUMBER_LAST: Final = 233  # of VRFs of inlets and of single subnets, between those of route tables and of endpoints
VPN_GATEWAY_NUMBER: Final = 254  # of the VRF on edges that routes packets to a virtual private gateway's networks

# BIRD 2.0.12 reads no routes of tables above 2^31: it takes their numbers for negative ones. So the VRF of the routes
# that BIRD learns (VPN_GATEWAY_NUMBER) and VRF 126 have each other's table numbers.
_TABLE_NUMBERS: Final = {VPN_GATEWAY_NUMBER: 126, 126: VPN_GATEWAY_NUMBER}

BORDER: Final = "border-"  # the start of the names of chains that jump to other chains of their VPC, which are created first
FLOW: Final = "flow-"  # the start of the names of chains that add flows to their VPC's flowtable
_ACL: Final = "acl-"
_ANSWERS: Final = "answers-"

_DEVICE: Final = re.compile(rf"(?:vrf(?P<vrf>\d+)(?:\.\d+)?|vx(?P<vxlan>\d+)|[{LETTERS}]-(?P<other>[0-9a-f]{{6}})[0-9a-f]{{7}})")
_VLAN_OF_PORT: Final = re.compile(r"[cs]vlan\d+-[0-9a-f]{4}")
_GATEWAY: Final = re.compile(r"[a-z-]+-([0-9a-f]{6})[0-9a-f]{11}")  # the id of a gateway, which is its namespace's label
_GATEWAY_DEVICE: Final = re.compile(r"eth\d+")
_CHAIN: Final = re.compile(r"[^-]*-([0-9a-f]{6})(?:[-.].*)?")


def vrf_name(vni: int, number: int = 0) -> str:
    """Return the name of the VRF of a VPC's route table, e.g. vrf5000.1; 15 characters at most."""
    return f"vrf{vni}.{number}" if number else f"vrf{vni}"


def vrf_table(vni: int, number: int = 0) -> int:
    """Return the routing table number of this VRF."""
    return _TABLE_NUMBERS.get(number, number) << 24 | vni


def vrf_number(name: str) -> int:
    """Return the number in the name of a VRF; 0 for the VPC's first one, and for other names."""
    digits = name.partition(".")[2]
    return int(digits) if name.startswith("vrf") and digits.isdigit() else 0


def vxlan_name(vni: int) -> str:
    """Return the name of a VPC's VXLAN device."""
    return f"vx{vni}"


def cable_end_name(letter: str, vni: int, resource_id: str) -> str:
    """Return the name of a cable's end in a VPC: a letter, the VNI, the first seven random digits of the resource's id."""
    return f"{letter}-{vni:06x}{resource_id[-11:-4]}"


def inlet_name(vni: int, eni_id: str) -> str:
    """Return the name of the device through which packets enter an interface that routes lead to."""
    return cable_end_name("m", vni, eni_id)


def to_inlet_name(vni: int, eni_id: str) -> str:
    """Return the name of the device through which this host sends packets to such an interface of its own."""
    return cable_end_name("n", vni, eni_id)


def outside_cable(vni: int, gateway_id: str) -> tuple[str, str]:
    """Return the names of the ends of a gateway's cable to the outside: in the overlay, in the outside namespace."""
    return cable_end_name("g", vni, gateway_id), cable_end_name("o", vni, gateway_id)


def egress_only_port(vni: int, gateway_id: str) -> str:
    """Return the name of the overlay's end of the cable into the namespace of an egress-only internet gateway."""
    return cable_end_name("e", vni, gateway_id)


def tunnel_name(vni: int, vpn_id: str, tunnel: int) -> str:
    """Return the name of the xfrm interface of a tunnel, 0 or 1, of a VPN connection."""
    return cable_end_name("xy"[tunnel], vni, vpn_id)


def vlan_name(vni: int, vif_id: str) -> str:
    """Return the name of the VLAN device of a virtual interface."""
    return cable_end_name("d", vni, vif_id)


def service_vlan_name(device: str, outer_vlan: int) -> str:
    """Return the name of a port's device for a service tag. All virtual interfaces inside the tag share it."""
    return f"svlan{outer_vlan}-{_digest(device)}"


def priority_vlan_names(device: str) -> tuple[str, str]:
    """Return the names of a port's devices for packets with a priority and no VLAN: of 802.1Q, and of 802.1ad."""
    return f"cvlan0-{_digest(device)}", service_vlan_name(device, 0)


def _digest(device: str) -> str:
    return blake2b(device.encode(), digest_size=2).hexdigest()


def is_vlan_of_port(ifname: str) -> bool:
    """Return whether a device's name is that of a port's VLAN without a VPC, e.g. of a service tag."""
    return _VLAN_OF_PORT.fullmatch(ifname) is not None


def is_inlet(ifname: str) -> bool:
    """Return whether a device's name is that of an inlet."""
    return ifname.startswith(INLET) and is_cable_end(ifname)


def is_port(ifname: str) -> bool:
    """Return whether a device's name is that of a port."""
    return ifname.startswith("v-") and vni_of_ifname(ifname) != HOST_SLICE


def is_cable_end(ifname: str) -> bool:
    """Return whether a device's name is that of a cable's end."""
    return ifname[:1] in CABLE_LETTERS and ifname[1:2] == "-" and vni_of_ifname(ifname) != HOST_SLICE


def is_peer_end(ifname: str) -> bool:
    """Return whether a device's name is that of an end of a cable between two peered VPCs."""
    return ifname[:2] in ("p-", "q-") and is_cable_end(ifname)


def is_private_end(ifname: str) -> bool:
    """Return whether a device's name is that of a tunnel, or of a virtual interface."""
    return ifname[:2] in ("x-", "y-", "d-") and vni_of_ifname(ifname) != HOST_SLICE


def vrf_of_table(table: int) -> str:
    """Return the name of the VRF with this routing table."""
    number = table >> 24
    return vrf_name(vni_of_table(table), _TABLE_NUMBERS.get(number, number))


def vni_of_table(table: int) -> int:
    """Return the VNI of a VRF's routing table."""
    return table & 0xFFFFFF


@lru_cache(maxsize=65536)
def vni_of_ifname(ifname: str) -> int:
    """Return the VNI in a device's name, or HOST_SLICE for a device of no VPC."""
    found = _DEVICE.fullmatch(ifname)
    if found is None:
        return HOST_SLICE
    decimal = found["vrf"] or found["vxlan"]
    return int(decimal) if decimal else int(found["other"], 16)


@lru_cache(maxsize=65536)
def vni_of_netns(netns: str) -> int:
    """Return the VNI in the label of a gateway's namespace, or HOST_SLICE for a namespace that VPCs share."""
    found = _GATEWAY.fullmatch(netns)
    return int(found[1], 16) if found is not None else HOST_SLICE


def vni_of_device(ifname: str, netns: str) -> int:
    """Return the VNI of a device in a namespace, or HOST_SLICE. In a gateway's namespace, eth0 and eth1 belong to its VPC."""
    own = vni_of_netns(netns)
    if own == HOST_SLICE:
        return vni_of_ifname(ifname)
    return own if _GATEWAY_DEVICE.fullmatch(ifname) else HOST_SLICE


def vni_of_chain(name: str) -> int:
    """Return the VNI in the name of a VPC's own chain, set or map; HOST_SLICE for shared ones."""
    found = _CHAIN.fullmatch(name)
    return int(found[1], 16) if found is not None else HOST_SLICE


def border_name(vni: int, subnet_id: str, identity: int, packets: str) -> str:
    """Return the name of the first chain of the ports of a subnet that have the same groups; `identity` is the groups' number.

    `packets` says which ones it is for: those in a direction, or those that ports without source/destination check send.
    """
    return f"{BORDER}{vni:06x}-{subnet_id[-11:]}-{identity:08x}-{packets}"


def ports_of_border(verdict: str) -> str:
    """Return the part of a verdict with such a name that stands for the ports: their VPC, subnet and groups."""
    return verdict.rpartition("-")[0]


def acl_name(vni: int, acl_id: str, direction: str) -> str:
    """Return the name of a network ACL's chain for packets in a direction."""
    return f"{_ACL}{vni:06x}-{acl_id[-11:]}-{direction}"


def answers_name(vni: int, subnet_id: str, direction: str) -> str:
    """Return the name of a subnet's chain for packets in a direction whose answers its network ACL may permit."""
    return f"{_ANSWERS}{vni:06x}-{subnet_id[-11:]}-{direction}"


def answered_name(vni: int) -> str:
    """Return the name of the chain for packets of known connections that leave such subnets."""
    return f"{_ANSWERS}{vni:06x}-known-egress"


def flow_name(vni: int, which: str, direction: str) -> str:
    """Return the name of a chain that adds flows."""
    return f"{FLOW}{vni:06x}-{which}-{direction}"


def is_in_flowtable_name(chain: str) -> bool:
    """Return whether the name of the VPC's flowtable stands for the records that this chain comes from (policy.offload)."""
    return chain.startswith((BORDER, FLOW, _ACL, _ANSWERS))


def vni_of_element(name: str, items: Sequence[str]) -> int:
    """Return the VNI of an element: from its set's name, from a leading device name, or from a VXLAN header after that.

    HOST_SLICE if it has none. Source: RFC 7348 section 5: a word of flags, then 24 bits of VNI and 8 reserved ones.
    """
    vni = vni_of_chain(name) or vni_of_ifname(items[0])
    if vni == HOST_SLICE and len(items) > 2 and items[2].startswith("0x"):
        vni = int(items[2], 16) >> 8 & 0xFFFFFF
    return vni
