"""The next hop and the MAC address that represent a route's target in the kernel and on the wire.

Both contain digits of the target's id, too few to be unique in a VPC: `clashes` detects duplicates.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from netorch.model.addr import format_ip
from netorch.model.rules import GATEWAY_OUI

_HOP: Final = 0xF0000000
_HOP_DIGITS: Final = 0x0FFFFFFF
_HOP6: Final = 0xFE80 << 112 | 0x4F << 32
TARGET_HOPS: Final = {4: "240.0.0.0-255.255.255.255", 6: "fe80::4f:0:0-fe80::4f:ffff:ffff"}  # all of them, by IP version
_BY_PREFIX: Final = "vgw-"
_CABLES: Final = 0xFFFFFF  # 02:4f:ff:ff:ff:xx are the MACs of cable ends


def target_hop(target_id: str, version: int, seat: int = 0) -> str:
    """Return the next hop that represents a target, in 240.0.0.0/4 or fe80::4f:0:0/96, which never appear on a wire.

    `seat` is the index of the destination edge (0 or 1) for a virtual private gateway.
    """
    number = _number(target_id) ^ seat
    return format_ip(4, _HOP | number & _HOP_DIGITS) if version == 4 else format_ip(6, _HOP6 | number)


def gateway_mac(gateway_id: str, seat: int = 0) -> str:
    """Return the destination MAC of packets to a gateway, or to one of its edges. No interface can have such a MAC."""
    return f"{GATEWAY_OUI}{(_number(gateway_id) ^ seat).to_bytes(4).hex(':')}"


def clashes(gateway_id: str, targets: Iterable[str]) -> bool:
    """Return whether a gateway would share the next hop of one of these targets, or the MAC of a cable end."""
    numbers = _numbers(gateway_id)
    taken = {number & _HOP_DIGITS for target in targets for number in _numbers(target)}
    return any(number >> 8 == _CABLES or number & _HOP_DIGITS in taken for number in numbers)


def _numbers(target_id: str) -> set[int]:
    """Return the numbers that represent a target. A virtual private gateway has two, because hosts choose the edge per prefix."""
    number = _number(target_id)
    return {number, number ^ 1} if target_id.startswith(_BY_PREFIX) else {number}


def _number(target_id: str) -> int:
    return int(target_id[-8:], 16)
