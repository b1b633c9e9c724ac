"""Steps on table contents as nf_tables netlink messages. Steps of other kinds are left to libnftables.

Source: linux/netfilter/nf_tables.h NFTA_CHAIN_*, NFTA_HOOK_*, NFTA_RULE_*.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Final

from netorch.drivers.netlink import attr, attr_text, nested
from netorch.drivers.nft.chains import FAMILY, PRIORITIES
from netorch.drivers.nft.commands import ElementChange, Step
from netorch.drivers.nft.wire import elements, flowtables
from netorch.drivers.nft.wire.expressions import encode
from netorch.drivers.nft.wire.messages import DELETE_CHAIN, DELETE_RULE, NEW_CHAIN, NEW_RULE, NotPackable, message
from netorch.drivers.nft.wire.rules import expressions_of
from netorch.drivers.nft.wire.sets import delete_set, new_set
from netorch.state.owner import NFT_TABLE

_TABLE: Final = attr_text(1, NFT_TABLE)  # NFTA_CHAIN_TABLE, NFTA_RULE_TABLE
_CHAIN_NAME, _CHAIN_HOOK, _CHAIN_POLICY, _CHAIN_TYPE = 3, 4, 5, 7
_HOOK_NUMBER, _HOOK_PRIORITY, _HOOK_DEVICE = 1, 2, 3
_INGRESS: Final = {FAMILY: 0, "inet": 5}  # NF_NETDEV_INGRESS, NF_INET_INGRESS
_DROP: Final = 0  # NF_DROP
_RULE_CHAIN, _RULE_EXPRESSIONS = 2, 4


def messages(steps: Iterable[Step | ElementChange], specs: Callable[[ElementChange], str]) -> list[bytes]:
    """Return steps as messages, in order; `specs` returns the spec of a change's set.

    Raises:
      NotPackable: a step is of a kind unknown to this module.
    """
    made: list[bytes] = []
    changes: list[ElementChange] = []
    for step in steps:
        if isinstance(step, ElementChange):
            changes.append(step)
            continue
        if changes:
            made += elements.pack(changes, specs)
            changes = []
        made.append(_message(step))
    return made + elements.pack(changes, specs) if changes else made


def _message(step: Step) -> bytes:
    match step.verb, step.kind:
        case "add", "rule":
            return message(NEW_RULE, step.family, _rule_body(step.family, step.name, step.text))
        case "add", "chain":
            place = hook(step.text, step.family) if step.text else b""
            return message(NEW_CHAIN, step.family, _TABLE + attr_text(_CHAIN_NAME, step.name) + place)
        case "flush", "chain":
            return message(DELETE_RULE, step.family, _TABLE + attr_text(_RULE_CHAIN, step.name))
        case "delete", "chain":
            return message(DELETE_CHAIN, step.family, _TABLE + attr_text(_CHAIN_NAME, step.name))
        case "add" | "create", "set" | "map":
            return new_set(step.family, step.name, step.text, exclusive=step.verb == "create")
        case "flush", "set":
            return elements.flush(step.family, step.name)
        case "delete", "set" | "map":
            return delete_set(step.family, step.name)
        case "add", "flowtable":
            return flowtables.new_flowtable(step.family, step.name, step.text)
        case "delete", "flowtable":
            return flowtables.delete_flowtable(step.family, step.name)
        case "add" | "delete", "device":
            return flowtables.device(step.family, step.name, step.text, add=step.verb == "add")
        case _:
            raise NotPackable(f"{step.verb} {step.kind}")


def _rule_body(family: str, chain: str, rule: str) -> bytes:
    own = chain if f"@{chain}." in rule else ""  # a rule that reads no set of its own chain is the same in every chain
    return _TABLE + attr_text(_RULE_CHAIN, chain) + _expressions(family, own, rule)


@lru_cache(maxsize=1024)
def _expressions(family: str, chain: str, rule: str) -> bytes:
    """Return a rule's expressions as an attribute. Cached, because VPCs share most rules."""
    return nested(_RULE_EXPRESSIONS, *map(encode, expressions_of(family, chain, rule)))


def hook(device: str, family: str) -> bytes:
    """Return the hook of a device's chain in the table of a family, with policy drop (nft.chains.hook)."""
    place = struct.pack(">i", PRIORITIES[family])
    return b"".join(
        (
            nested(
                _CHAIN_HOOK,
                attr(_HOOK_NUMBER, struct.pack(">I", _INGRESS[family])),
                attr(_HOOK_PRIORITY, place),
                attr_text(_HOOK_DEVICE, device),
            ),
            attr(_CHAIN_POLICY, struct.pack(">I", _DROP)),
            attr_text(_CHAIN_TYPE, "filter"),
        )
    )
