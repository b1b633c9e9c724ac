"""What stands for a route's target in kernels and on the wire: a next hop, and the MAC address of the packets to it.

Both hold digits of the target's id, too few to be sure that no two targets of a VPC have the same ones: `clashes` tells.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from netorch.model.addr import format_ip
from netorch.model.rules import GATEWAY_OUI

_HOP: Final = 0xF0000000
_HOP_DIGITS: Final = 0x0FFFFFFF
_HOP6: Final = 0xFE80 << 112 | 0x4F << 32
_BY_PREFIX: Final = "vgw-"
_CABLES: Final = 0xFFFFFF  # 02:4f:ff:ff:ff:xx are the ends of cables


def target_hop(target_id: str, version: int, seat: int = 0) -> str:
    """Return the next hop that stands for a target; 240.0.0.0/4 and fe80::4f:0:0/96 are never on a wire.

    `seat`: of a virtual private gateway, which of its two edges the packets are for.
    """
    number = _number(target_id) ^ seat
    return format_ip(4, _HOP | number & _HOP_DIGITS) if version == 4 else format_ip(6, _HOP6 | number)


def gateway_mac(gateway_id: str, seat: int = 0) -> str:
    """Return the MAC address of packets to a gateway, or to one of its edges; no interface can have one like it."""
    return f"{GATEWAY_OUI}{(_number(gateway_id) ^ seat).to_bytes(4).hex(':')}"


def clashes(gateway_id: str, targets: Iterable[str]) -> bool:
    """Return whether a gateway would have a next hop of one of these targets, or the MAC address of the end of a cable."""
    numbers = _numbers(gateway_id)
    taken = {number & _HOP_DIGITS for target in targets for number in _numbers(target)}
    return any(number >> 8 == _CABLES or number & _HOP_DIGITS in taken for number in numbers)


def _numbers(target_id: str) -> set[int]:
    """Return the numbers that stand for a target: two for a gateway of which hosts choose the edge for each prefix."""
    number = _number(target_id)
    return {number, number ^ 1} if target_id.startswith(_BY_PREFIX) else {number}


def _number(target_id: str) -> int:
    return int(target_id[-8:], 16)
