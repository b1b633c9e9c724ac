"""The kernel's route netlink constants, under the names in its headers.

Only those that the driver uses. tests/unit/drivers/test_uapi.py compares them with pyroute2's, which is too slow to import
just for constants. Source: linux/rtnetlink.h, if_link.h, if_addr.h, neighbour.h, fib_rules.h, netconf.h, net_namespace.h.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping


class RTM:
    """Message types."""

    NEWLINK, DELLINK, GETLINK, SETLINK = 16, 17, 18, 19
    NEWADDR, DELADDR, GETADDR = 20, 21, 22
    NEWROUTE, DELROUTE, GETROUTE = 24, 25, 26
    NEWNEIGH, DELNEIGH, GETNEIGH = 28, 29, 30
    NEWRULE, DELRULE, GETRULE = 32, 33, 34
    NEWQDISC, DELQDISC, GETQDISC = 36, 37, 38
    NEWTFILTER, DELTFILTER, GETTFILTER = 44, 45, 46
    GETNEIGHTBL = 66
    NEWNETCONF, DELNETCONF = 80, 81
    NEWNSID, GETNSID = 88, 90
    NEWLINKPROP, DELLINKPROP = 108, 109


class RTNLGRP:
    """Notification groups."""

    LINK, NEIGH, TC = 1, 3, 4
    IPV4_IFADDR, IPV4_ROUTE, IPV4_RULE = 5, 7, 8
    IPV6_IFADDR, IPV6_ROUTE, IPV6_RULE = 9, 11, 19
    IPV4_NETCONF, IPV6_NETCONF = 24, 25


# Offsets in the fixed headers of messages, and their sizes, in bytes.


class IFINFOMSG:
    """The header of a link message."""

    FAMILY, INDEX, SIZE = 0, 4, 16


class IFADDRMSG:
    """The header of an address message."""

    FAMILY, PREFIXLEN, INDEX, SIZE = 0, 1, 4, 8


class RTMSG:
    """The header of a route message. A table above 255 is in RTA.TABLE."""

    FAMILY, DST_LEN, SRC_LEN, TOS, TABLE, PROTOCOL, SCOPE, TYPE, SIZE = 0, 1, 2, 3, 4, 5, 6, 7, 12


class RULEHDR:
    """The header of a rule message, struct fib_rule_hdr."""

    FAMILY, DST_LEN, TOS, TABLE, ACTION, FLAGS, SIZE = 0, 1, 3, 4, 7, 8, 12


class NDMSG:
    """The header of a neighbour or FDB message."""

    FAMILY, IFINDEX, STATE, SIZE = 0, 4, 8, 12


class NDTMSG:
    """The header of a neighbour table message."""

    FAMILY, SIZE = 0, 4


class NETCONFMSG:
    """The header of a netconf notification: one byte, padded."""

    FAMILY, SIZE = 0, 4


class IFLA:
    """Attributes of a device."""

    ADDRESS, IFNAME, MTU, LINK = 1, 3, 4, 5
    MASTER = 10
    LINKMODE, LINKINFO = 17, 18
    IFALIAS = 20
    AF_SPEC, GROUP, NET_NS_FD, EXT_MASK = 26, 27, 28, 29
    LINK_NETNSID, PROTO_DOWN = 37, 39
    XDP, EVENT, NEW_NETNSID, TARGET_NETNSID = 43, 44, 45, 46
    PROP_LIST, ALT_IFNAME = 52, 53


class IFLA_INFO:
    """Attributes of IFLA.LINKINFO."""

    KIND, DATA = 1, 2


class IFLA_INET:
    """Attributes of the sysctls of each IP version in IFLA.AF_SPEC."""

    CONF, CONF6 = 1, 2


class IFLA_VRF:
    """Attributes of a VRF device."""

    TABLE = 1


class IFLA_VXLAN:
    """Attributes of a VXLAN device."""

    ID, GROUP, LINK, LOCAL, TTL, TOS, LEARNING, AGEING = 1, 2, 3, 4, 5, 6, 7, 8
    PORT, UDP_CSUM = 15, 18
    GBP, REMCSUM_NOPARTIAL, LABEL, GPE = 23, 24, 26, 27
    DF, LOCALBYPASS = 29, 31


class IFLA_VLAN:
    """Attributes of a VLAN device. FLAGS are two words: the flags, and their mask."""

    ID, FLAGS, EGRESS_QOS, INGRESS_QOS, PROTOCOL = 1, 2, 3, 4, 5


class IFLA_XFRM:
    """Attributes of an xfrm interface."""

    LINK, IF_ID, COLLECT_METADATA = 1, 2, 3


class VETH_INFO:
    """Attributes of a veth device."""

    PEER = 1


class IFLA_XDP:
    """Attributes of IFLA.XDP."""

    ATTACHED = 2


class IFA:
    """Attributes of an address."""

    ADDRESS, LOCAL, FLAGS = 1, 2, 8


class RTA:
    """Attributes of a route."""

    DST, OIF, GATEWAY, PRIORITY, METRICS, MULTIPATH = 1, 4, 5, 6, 8, 9
    TABLE, VIA, ENCAP_TYPE, ENCAP, NH_ID = 15, 18, 21, 22, 30


class RTAX:
    """Attributes of RTA.METRICS."""

    LOCK, MTU, REORDERING = 1, 2, 9


class RTN:
    """Types of routes."""

    UNICAST, LOCAL = 1, 2
    BLACKHOLE, UNREACHABLE, PROHIBIT, THROW = 6, 7, 8, 9


class RTPROT:
    """The origin of a route or rule; netorch's own is netorch.state.owner.PROTOCOL."""

    KERNEL, BOOT, BIRD = 2, 3, 12


class RT_SCOPE:
    """The distance to a route's destination."""

    UNIVERSE, LINK, HOST, NOWHERE = 0, 253, 254, 255


class RT_TABLE:
    """The kernel's own routing tables."""

    MAIN, LOCAL = 254, 255


class NDA:
    """Attributes of a neighbour or FDB entry."""

    DST, LLADDR = 1, 2
    PORT, VNI, IFINDEX, PROTOCOL, NH_ID = 6, 7, 8, 12, 13


class NDTA:
    """Attributes of a neighbour table."""

    PARMS = 6


class NDTPA:
    """Attributes of NDTA.PARMS."""

    IFINDEX = 1
    UCAST_PROBES, MCAST_PROBES, PROXY_DELAY = 10, 11, 13


class FRA:
    """Attributes of a rule."""

    DST, SRC, IIFNAME, PRIORITY = 1, 2, 3, 6
    SUPPRESS_PREFIXLEN, TABLE, L3MDEV, PROTOCOL = 14, 15, 19, 21


class FR_ACT:
    """Actions of rules."""

    TO_TBL, GOTO, NOP = 1, 2, 3
    BLACKHOLE, UNREACHABLE, PROHIBIT = 6, 7, 8


class NETCONFA:
    """Attributes of a netconf notification."""

    IFINDEX, FORWARDING, RP_FILTER, PROXY_NEIGH = 1, 2, 3, 5
    IGNORE_ROUTES_WITH_LINKDOWN, BC_FORWARDING = 6, 8


class NETNSA:
    """Attributes of a request for an nsid."""

    NSID, FD = 1, 3


IFF_UP, IFF_NOARP, IFF_MULTICAST, IFF_LOWER_UP = 0x1, 0x80, 0x1000, 0x10000
IFA_F_NODAD, IFA_F_NOPREFIXROUTE = 0x2, 0x200
NUD_PERMANENT = 0x80
NTF_SELF = 0x2
RTNH_F_ONLINK = 4
RTEXT_FILTER_SKIP_STATS = 8
IFLA_EVENT_FEATURES = 2
AF_BRIDGE = 7
VLAN_FLAG_REORDER_HDR, VLAN_FLAG_LOOSE_BINDING, ALL_VLAN_FLAGS = 0x1, 0x4, 0x1F  # linux/if_vlan.h
IFNAMSIZ = 16


def table_of(body: bytes, found: Mapping[int, bytes]) -> int:
    """Return the routing table in a route or rule message with these attributes. Both have it in the same places."""
    return int.from_bytes(found.get(RTA.TABLE) or body[RTMSG.TABLE : RTMSG.TABLE + 1], sys.byteorder)
