"""The order in which a plan makes objects: ascending, and removes them: descending.

Policy comes before the ports come up, and the mapping comes last. This is the one place where the order is spelled.
"""

from __future__ import annotations


class Order:
    """The apply order. Objects of one place are sorted by their keys."""

    NETNS = 8
    RULE = 10
    SYSCTL = 12
    NFT_TABLE = 15
    NFT_SET = 16
    NFT_RULES = 17
    NFT_BORDER = 18  # chains that lead to other chains of their VPC
    CONNTRACK_SYSCTL = 19  # they are there once a table needs connection tracking
    VRF = 20
    VRF_UP = 22
    TABLE_ROUTE = 25  # routes of a table that lead to no device
    VXLAN = 30
    CABLE = 32
    UPLINK = 33
    PORT = 34
    SERVICE_VLAN = 35
    VLAN = 36
    TUNNEL = 36
    DEVICE_SYSCTL = 36
    NFT_CHAIN = 38
    NFT_ELEMENT = 40
    ADDRESS = 45
    UP = 50
    CLSACT = 51
    NEIGHBOUR = 55
    FDB = 57
    PORT_ROUTE = 60
    DROPPING_FILTER = 64  # before those that let pass: half of a device's filters pass too little
    FILTER = 65  # after the routes of the device that it leads to
    MAPPING_ROUTE = 70
    SERVICE_DATA = 76  # what is served is known before anybody can ask for it
    SERVICE_LISTENER = 78
    IKE_CONNECTION = 80
    BGP_PEER = 82
    ANNOUNCEMENT = 84  # it invites packets: all that they need is there
