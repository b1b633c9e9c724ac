"""Addresses and routes inside an instance: what it sends from an interface's address leaves by that interface.

The router checks at each port that the source is the port's own address. With one table of routes an instance with two interfaces
would answer by the first what came by the second, and the answer would be dropped there. So an interface that is not the
instance's first has a table of its own, as EC2's own images set it up, and rules that lead to it:

    10000  from ADDRESS lookup TABLE               what it answers, or binds to the address
    10001  lookup main suppress_prefixlength 0     IPv4: what the first interface's subnet, or the instance's own route, has
    10002  from 0.0.0.0 to SUBNET lookup TABLE     IPv4: what has no source yet and goes to the subnet
    32800  lookup TABLE                            what nothing else has a route to, e.g. IPv6 that the first interface lacks

Nothing of it stands in the main table, and no route has a twin in another table. That matters for path MTU discovery: Linux keeps
what it learns at the route that the packet's source leads to, and who sends without a source must find that same route.

A first interface is treated so where the main table had a default route before it. A device takes its table along when it goes.
Its rules stay, and are taken away when the next change is made in the namespace.
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

MOST_INSIDE: Final = 1000  # devices, or rules of an IP version: what an instance may have the agent read whenever it is plugged
_OWN, _MAIN_FIRST, _TO_SUBNET, _LAST = 10000, 10001, 10002, 32800
_FIRST_TABLE: Final = 10000  # EC2's own images do the same: table 10000 + number of the device


def configuration(index: int, inside: Inside, standing: Collection[int]) -> Iterator[Message]:
    """Yield the messages that give a device its addresses and routes; each may find its object there already.

    `standing` names the IP versions in which the namespace has a default route by another device.
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
    """Yield the routes and rules of an address that is not the first."""
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
    """Return the messages that take away our rules of devices that are gone from a namespace."""
    tables = {_FIRST_TABLE + dev.index for dev in devices_of(inside)}
    found: list[tuple[int, bytes]] = []  # the table and the whole of each rule of ours
    for family in encode.IP_FAMILIES:
        for _, _, body in inside.dump(RTM.GETRULE, bytes((family,)) + bytes(RULEHDR.SIZE - 1), MOST_INSIDE):
            known = attrs(body, RULEHDR.SIZE)
            if known.get(FRA.PROTOCOL) == bytes((PROTOCOL,)):
                found.append((table_of(body, known), body))
    if any(table in tables for table, _ in found):
        tables.add(RT_TABLE.MAIN)
    return [(RTM.DELRULE, 0, body) for table, body in found if table not in tables]
