"""Flowtables and their devices as nf_tables netlink messages, and back.

The kernel takes a message with at most 255 devices as an addition to, or removal from, the devices that the flowtable has. Each
message here has one, so a change costs only the devices that changed.

It shows a flowtable with all its devices in one message of at most 32 kB. One with more than about 1,600 devices, and all after
it, are silently missing from a dump.
Source: linux/netfilter/nf_tables.h NFTA_FLOWTABLE_*, NFTA_DEVICE_*; net/netfilter/nf_tables_api.c, nft_flowtable_update,
nft_delflowtable_hook, nf_tables_dump_flowtable.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from typing import Final

from netorch.drivers.netlink import attr, attr_text, attrs, each_attr, nested
from netorch.drivers.nft.listing import NO_WORD, Block
from netorch.drivers.nft.wire.messages import DELETE_FLOWTABLE, NEW_FLOWTABLE, NotPackable, message
from netorch.state.owner import NFT_TABLE

_TABLE, _NAME, _HOOK, _FLAGS = 1, 2, 3, 7
_NUMBER, _PRIORITY, _DEVICES = 1, 2, 3
_DEVICE: Final = 1
_INGRESS: Final = 0  # NF_NETDEV_INGRESS
_COUNTER: Final = 2  # NFT_FLOWTABLE_COUNTER
_SPEC: Final = re.compile(r"hook ingress priority (-?\d+); counter")


def new_flowtable(family: str, name: str, spec: str) -> bytes:
    """Return the message that makes a flowtable without devices. Raises NotPackable."""
    found = _SPEC.fullmatch(spec)
    if found is None:
        raise NotPackable(spec)
    hook = attr(_NUMBER, struct.pack(">I", _INGRESS)) + attr(_PRIORITY, struct.pack(">i", int(found[1])))
    return message(NEW_FLOWTABLE, family, _named(name) + nested(_HOOK, hook) + attr(_FLAGS, struct.pack(">I", _COUNTER)))


def delete_flowtable(family: str, name: str) -> bytes:
    """Return the message that deletes a flowtable, with its devices."""
    return message(DELETE_FLOWTABLE, family, _named(name))


def device(family: str, name: str, ifname: str, *, add: bool) -> bytes:
    """Return the message that adds a device to a flowtable, or removes it.

    It repeats no hook: the kernel refuses it if there is no such flowtable.
    """
    devices = nested(_HOOK, nested(_DEVICES, attr_text(_DEVICE, ifname)))
    return message(NEW_FLOWTABLE if add else DELETE_FLOWTABLE, family, _named(name) + devices)


def flowtable(found: Mapping[int, bytes]) -> Block:
    """Return a flowtable from the kernel's message; its devices are its elements."""
    hook = attrs(found.get(_HOOK, b""))
    number, flags = (int.from_bytes(value or b"", "big") for value in (hook.get(_NUMBER), found.get(_FLAGS)))
    place = f"hook ingress priority {int.from_bytes(hook.get(_PRIORITY, b''), 'big', signed=True)}"
    lines = [place, "counter"] if (number, flags) == (_INGRESS, _COUNTER) else [place, f"{NO_WORD}{number} {flags}"]
    devices = [_text(value) for _, value in each_attr(hook.get(_DEVICES, b""))]
    return Block("flowtable", _text(found.get(_NAME, b"")), lines, devices)


def _named(name: str) -> bytes:
    return attr_text(_TABLE, NFT_TABLE) + attr_text(_NAME, name)


def _text(value: bytes) -> str:
    return value[:-1].decode(errors="replace")
