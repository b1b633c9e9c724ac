"""Direct Connect ports: devices in the outside that only carry tagged packets.

    frame                          treatment
    VLAN of a virtual interface    received by its device, in its VPC
    no tag                         IP: `untagged` in the outside's tables; ARP: likewise. A port has no address, and sends nothing
    VLAN 0 (IEEE 802.1Q, 6.9.1)    received by a device for VLAN 0, which is down, so Linux drops it. Without that device Linux
                                   would remove the tag and use the next inner one: a switch that treats VLAN 0 as its own VLAN
                                   would let its hosts into any other one
    unused VLAN                    Linux treats it as addressed to another host
    a second inner tag             no device receives it if it names a VLAN; the virtual interface's filter drops the rest

The same applies to the device of a service tag, below virtual interfaces. Source: net/core/dev.c, __netif_receive_skb_core;
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

OF_PORTS: Final[frozenset[type]] = frozenset({Uplink, Settings, NftElement, Vlan, AdminUp})  # all below that belong to no VPC
_STEP: Final = 1  # of filters for inner tags on a virtual interface
_SMALLEST_MTU: Final = 68  # bytes (RFC 791): the device carries no packets, and any port permits this MTU


def port_objects(device: str) -> Iterator[KernelObject]:
    """Yield a port, moved out of the underlay, that only accepts packets of virtual interfaces' VLANs."""
    yield Uplink(ifname=device, port=True)
    yield from _at_work(device)


def service_tag_objects(device: str, tag: int) -> Iterator[KernelObject]:
    """Yield the device of a service tag on a port, with the same restrictions.

    It has the port's MTU. If its MTU followed the virtual interfaces, one of them could request more than the port's MTU, and
    the device would be missing for the others, too.
    """
    ifname = service_vlan_name(device, tag)
    yield Vlan(netns=OUTSIDE, ifname=ifname, lower=device, vlan=tag, protocol=SERVICE_TAG, mtu=0)
    yield from _at_work(ifname)


def interface_filters(vni: int, ifname: str) -> Iterator[KernelObject]:
    """Yield the filters that drop packets with a further tag on the device of a virtual interface."""
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
