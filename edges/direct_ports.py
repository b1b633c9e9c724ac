"""Ports of Direct Connect: devices in the outside that carry tagged packets, and nothing else.

    frame                          what becomes of it
    VLAN of a virtual interface    comes in by its device, in its VPC
    no tag                         IP: `untagged` of the outside's tables; ARP: likewise. A port has no address, and says nothing
    VLAN 0 (IEEE 802.1Q, 6.9.1)    is for a device of that VLAN, which is down, so Linux drops it. Without one Linux takes the tag
                                   off, and the next one inside decides: a switch that takes VLAN 0 for its own VLAN would let
                                   its hosts into any other one
    VLAN of nobody                 Linux takes it for somebody else's
    one more tag inside            is for no device if it names a VLAN; a filter of the virtual interface's device drops the rest

The same holds for the device of a service tag, in which virtual interfaces are. Source: net/core/dev.c, __netif_receive_skb_core;
net/8021q/vlan_core.c, vlan_do_receive.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from edges.outside_rules import PORTS
from netorch.state.base import OUTSIDE, KernelObject
from netorch.state.link import AdminUp, Settings, Uplink
from netorch.state.names import priority_vlan_names, service_vlan_name
from netorch.state.nft import NftElement
from netorch.state.rooted import Vlan
from netorch.state.tc import CUSTOMER_TAG, SERVICE_TAG, Clsact, Drop, Match, TcFilter

_STEP: Final = 1  # of the filters of tags inside a virtual interface's own
_SMALLEST_MTU: Final = 68  # bytes (RFC 791): no packet passes there, and any port takes as much


def port_objects(device: str) -> Iterator[KernelObject]:
    """Yield a port, taken from the underlay, that takes no packet without the VLAN of a virtual interface."""
    yield Uplink(ifname=device, port=True)
    yield from _at_work(device)


def service_tag_objects(device: str, tag: int) -> Iterator[KernelObject]:
    """Yield the device of a service tag of a port, likewise.

    It has the port's MTU. If it had one that virtual interfaces ask for, one of them could ask for more than the port has, and
    those of others inside would not be there either.
    """
    ifname = service_vlan_name(device, tag)
    yield Vlan(netns=OUTSIDE, ifname=ifname, lower=device, vlan=tag, protocol=SERVICE_TAG, mtu=0)
    yield from _at_work(ifname)


def interface_filters(vni: int, ifname: str) -> Iterator[KernelObject]:
    """Yield what lets no packet with one more tag in by the device of a virtual interface."""
    yield Clsact(vni=vni, ifname=ifname)
    for protocol in (CUSTOMER_TAG, SERVICE_TAG):
        yield TcFilter(vni=vni, ifname=ifname, step=_STEP, match=Match(protocol=protocol), actions=(Drop(),))


def _at_work(device: str) -> Iterator[KernelObject]:
    yield Settings(netns=OUTSIDE, ifname=device)
    for family in ("inet", "arp"):
        yield NftElement(netns=OUTSIDE, family=family, set=PORTS, items=(device,))
    for protocol, ifname in zip((CUSTOMER_TAG, SERVICE_TAG), priority_vlan_names(device), strict=True):
        yield Vlan(netns=OUTSIDE, ifname=ifname, lower=device, vlan=0, protocol=protocol, mtu=_SMALLEST_MTU)
        yield Settings(netns=OUTSIDE, ifname=ifname)
    yield AdminUp(netns=OUTSIDE, ifname=device)
