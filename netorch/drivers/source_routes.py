"""Source routing inside an instance: what it sends from an interface's address leaves by that interface.

The router checks at each port that the source is the port's own address. With one table of routes an instance with two interfaces
would answer by the first what came by the second, and the answer would be dropped there. So each interface has a table, as
EC2's own images set it up, with its subnet and its routers, and a rule for each of its addresses.

A device takes its table along when it goes. Its rules stay, and are taken away when the next change is made in the namespace.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Final

from netorch.drivers import packed, parsed
from netorch.drivers.rtnl import Channel, Message, attr_u32
from netorch.state.link import Inside

PRIORITY: Final = 10000  # of the rules: behind the local table's, in front of the main table's
_FIRST_TABLE: Final = 10000  # EC2's own images do the same: table 10000 + number of the device


def source_routes(index: int, inside: Inside) -> Iterator[Message]:
    """Yield the messages that make a device's table and its rules; each may find its object there already."""
    table = _FIRST_TABLE + index
    for text in inside.addresses:
        address = ipaddress.ip_interface(text)
        if address.network.prefixlen < address.max_prefixlen:
            yield packed.subnet_route(index, str(address.network), table)
    for gateway in inside.gateways:
        yield packed.default_route(index, gateway, table)
    for text in inside.addresses:
        yield packed.source_rule(text.partition("/")[0], PRIORITY, table)


def last_resort(index: int) -> int:
    """Return the metric of a device's default routes in the main table when another device's come first."""
    return _FIRST_TABLE + index


def stale_rules(inside: Channel) -> list[Message]:
    """Return the messages that take away our rules of devices that are gone from a namespace."""
    links = inside.dump(packed.GETLINK, packed.link_header() + attr_u32(29, 8))
    tables = {_FIRST_TABLE + parsed.device(body).index for _, _, body in links}
    messages: list[Message] = []
    for family in packed.IP_FAMILIES:
        for _, _, body in inside.dump(packed.GETRULE, bytes((family,)) + bytes(11)):
            rule, ours = parsed.rule(body)
            if ours and rule.priority == PRIORITY and rule.table not in tables:
                messages.append((packed.DELRULE, 0, body))
    return messages
