"""Addresses and source routes inside an instance: packets from an ENI's address leave by that ENI.

The router checks at each port that the source is the port's own address. With a single routing table, an instance with two
ENIs would answer by the first what arrived by the second, and the router would drop the answer. So every ENI but the
instance's primary one has its own table, as EC2's images do, and rules for it:

    10000  from ADDRESS lookup TABLE               replies, and sockets bound to the address
    10001  lookup main suppress_prefixlength 0     IPv4: the first ENI's subnet, and the instance's own routes
    10002  from 0.0.0.0 to SUBNET lookup TABLE     IPv4: packets to the subnet that have no source yet
    32800  lookup TABLE                            no other route, e.g. IPv6 if the first ENI has none

The main table has none of these routes, and no route is duplicated in another table. This matters for path MTU discovery:
Linux stores a path MTU at the route found for the packet's source, and a sender without a source must find that same route.

A primary ENI is treated this way if the main table already had a default route. A device's table is emptied when the device
is deleted. Its rules stay until the next change in the namespace removes them.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterator
from typing import Final

from netorch.drivers.netlink import Channel, Message, attr_u32, attrs
from netorch.drivers.rtnl import devices, encode
from netorch.drivers.rtnl.uapi import FRA, IFLA, RT_TABLE, RTEXT_FILTER_SKIP_STATS, RTM, RULEHDR, table_of
from netorch.model.addr import version_of
from netorch.state.link import Inside
from netorch.state.owner import PROTOCOL

MOST_INSIDE: Final = 1000  # devices, or rules per IP version: a limit on what an instance can make the agent read at each plug
_OWN, _MAIN_FIRST, _TO_SUBNET, _LAST = 10000, 10001, 10002, 32800
_FIRST_TABLE: Final = 10000  # as in EC2's own images: table 10000 + ifindex


def configuration(index: int, inside: Inside, standing: Collection[int]) -> Iterator[Message]:
    """Yield the messages that configure a device's addresses and routes; objects that exist already are tolerated.

    `standing` has the IP versions with a default route by another device in the namespace.
    """
    gateways = {version_of(gateway): gateway for gateway in inside.gateways}
    for text in inside.addresses:
        address = ipaddress.ip_interface(text)
        gateway = gateways[address.version]
        if inside.is_primary and address.version not in standing:
            yield encode.new_address(index, text)
            yield encode.default_route(index, gateway)
        else:
            yield encode.new_address(index, text, prefix_route=False)
            yield from _beside(index, address, gateway)


def _beside(index: int, address: ipaddress.IPv4Interface | ipaddress.IPv6Interface, gateway: str) -> Iterator[Message]:
    """Yield the routes and rules of an address that has its own table."""
    table, subnet = _FIRST_TABLE + index, str(address.network)
    if address.version == 4:
        yield encode.subnet_route(index, subnet, table)
    yield encode.default_route(index, gateway, table)
    yield encode.lookup_rule(address.version, _OWN, table, source=f"{address.ip}/{address.max_prefixlen}")
    if address.version == 4:
        yield encode.lookup_rule(4, _MAIN_FIRST, RT_TABLE.MAIN, but_default=True)
        yield encode.lookup_rule(4, _TO_SUBNET, table, source="0.0.0.0/32", destination=subnet)
    yield encode.lookup_rule(address.version, _LAST, table)


def devices_of(inside: Channel) -> list[devices.Device]:
    """Return the devices of an instance's namespace. Raises OSError."""
    links = inside.dump(RTM.GETLINK, encode.link_header() + attr_u32(IFLA.EXT_MASK, RTEXT_FILTER_SKIP_STATS), MOST_INSIDE)
    return [devices.device(body) for _, _, body in links]


def stale_rules(inside: Channel) -> list[Message]:
    """Return the messages that remove netorch's rules for devices that no longer exist in a namespace."""
    tables = {_FIRST_TABLE + dev.index for dev in devices_of(inside)}
    found: list[tuple[int, bytes]] = []  # of each rule of netorch: its table, and its message body
    for family in encode.IP_FAMILIES:
        for _, _, body in inside.dump(RTM.GETRULE, bytes((family,)) + bytes(RULEHDR.SIZE - 1), MOST_INSIDE):
            known = attrs(body, RULEHDR.SIZE)
            if known.get(FRA.PROTOCOL) == bytes((PROTOCOL,)):
                found.append((table_of(body, known), body))
    if any(table in tables for table, _ in found):
        tables.add(RT_TABLE.MAIN)
    return [(RTM.DELRULE, 0, body) for table, body in found if table not in tables]
