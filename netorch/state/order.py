"""The order in which a plan creates objects (ascending) and deletes them (descending).

Policy is applied before the ports come up, and the mapping comes last. Only this module defines the order.
"""

from __future__ import annotations


class Order:
    """The apply order. Objects of the same place are sorted by their keys."""

    NETNS = 8
    RULE = 10
    SYSCTL = 12
    NFT_TABLE = 14
    NFT_SET = 15  # and flowtables: rules refer to them
    NFT_FLOWS = 16  # chains that add flows: those of groups and borders lead to them
    NFT_RULES = 17
    NFT_BORDER = 18  # chains that jump to other chains of their VPC
    CONNTRACK_SYSCTL = 19  # these exist once a table needs connection tracking
    VRF = 20
    VRF_UP = 22
    TABLE_ROUTE = 25  # routes without a device
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
    FLOWTABLE_DEVICE = 42  # after everything that judges its packets
    ADDRESS = 45
    UP = 50
    CLSACT = 51
    NEIGHBOUR = 55
    FDB = 57
    PORT_ROUTE = 60
    DROPPING_FILTER = 64  # before the passing ones: a device with half of its filters passes too little
    FILTER = 65  # after the routes of its target device
    MAPPING_ROUTE = 70
    SERVICE_DATA = 76  # the data is complete before any request can arrive
    SERVICE_LISTENER = 78
    IKE_CONNECTION = 80
    BGP_PEER = 82
    ANNOUNCEMENT = 84  # it attracts packets: everything that they need exists
