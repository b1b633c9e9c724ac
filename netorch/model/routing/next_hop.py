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
_CABLES: Final = 0xFFFFFF  # 02:4f:ff:ff:ff:xx are the ends of cables


def target_hop(target_id: str, version: int) -> str:
    """Return the next hop that stands for a target; 240.0.0.0/4 and fe80::4f:0:0/96 are never on a wire."""
    number = _number(target_id)
    return format_ip(4, _HOP | number & _HOP_DIGITS) if version == 4 else format_ip(6, _HOP6 | number)


def gateway_mac(gateway_id: str) -> str:
    """Return the MAC address of packets to a gateway; no interface can have one like it."""
    return f"{GATEWAY_OUI}{_number(gateway_id).to_bytes(4).hex(':')}"


def clashes(gateway_id: str, targets: Iterable[str]) -> bool:
    """Return whether a gateway would have the next hop of one of these targets, or the MAC address of the end of a cable."""
    number = _number(gateway_id)
    return number >> 8 == _CABLES or number & _HOP_DIGITS in {_number(target) & _HOP_DIGITS for target in targets}


def _number(target_id: str) -> int:
    return int(target_id[-8:], 16)
