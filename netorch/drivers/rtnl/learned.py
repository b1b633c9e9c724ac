"""Routes that a routing daemon installed in Linux, announced by customers' routers. They are no objects of netorch.

They have the daemon's protocol number, by which the kernel itself filters them.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Mapping
from typing import Final

from netorch.drivers.base import LearnedRoute
from netorch.drivers.netlink import Channel, attr_u32, attrs, u32
from netorch.drivers.rtnl.uapi import RTA, RTAX, RTM, RTMSG, RTN, RTPROT, table_of

_HEAD: Final = bytes((socket.AF_INET, 0, 0, 0, 0, RTPROT.BIRD, 0, RTN.UNICAST)) + bytes(RTMSG.SIZE - RTMSG.TYPE - 1)


def read(channel: Channel, table: int, names: Mapping[int, str]) -> tuple[LearnedRoute, ...]:
    """Return the learned routes of a table, sorted; `names` maps ifindexes to device names. Raises OSError."""
    try:
        found = channel.read(RTM.GETROUTE, _HEAD + attr_u32(RTA.TABLE, table), lambda body: _route(body, names))
    except OSError as error:
        if error.errno == errno.ENOENT:  # the table has never had a route
            return ()
        raise
    return tuple(sorted(found, key=lambda route: route.prefix))


def remove(channel: Channel) -> set[int]:
    """Remove the learned routes of all tables, and return the tables that had any. Raises OSError."""
    bodies = [body for _, _, body in channel.dump(RTM.GETROUTE, _HEAD)]
    channel.batch([(RTM.DELROUTE, 0, body) for body in bodies])
    return {table_of(body, attrs(body, RTMSG.SIZE)) for body in bodies}


def table_of_change(body: bytes) -> int | None:
    """Return the table of the learned route that a notification reports as added or removed; None for other routes."""
    if body[RTMSG.PROTOCOL] != RTPROT.BIRD or body[RTMSG.FAMILY] != socket.AF_INET:
        return None
    return table_of(body, attrs(body, RTMSG.SIZE))


def _route(body: bytes, names: Mapping[int, str]) -> LearnedRoute:
    found = attrs(body, RTMSG.SIZE)
    dst = socket.inet_ntop(socket.AF_INET, found[RTA.DST]) if RTA.DST in found else "0.0.0.0"
    return LearnedRoute(
        prefix=f"{dst}/{body[RTMSG.DST_LEN]}",
        metric=u32(attrs(found.get(RTA.METRICS, b"")).get(RTAX.REORDERING, b"")),
        ifname=names.get(u32(found.get(RTA.OIF, b"")), "?"),
    )
