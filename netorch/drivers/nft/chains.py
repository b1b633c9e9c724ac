"""Chains of ports as nft commands, and the other way round."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from netorch.state.base import HOST_SLICE, slice_of_ifname
from netorch.state.nft import PortChain
from netorch.state.owner import NFT_TABLE

FAMILY: Final = "netdev"
_TABLE: Final = f"{FAMILY} {NFT_TABLE}"


def add_chain(chain: PortChain) -> str:
    """Return the commands that make a chain, or give an existing one these rules."""
    name = f"{_TABLE} {chain.ifname}"
    rules = "".join(f"add rule {name} {rule}\n" for rule in chain.rules)
    hook = _hook(f'"{chain.ifname}"')
    return f"add chain {name} {{ {hook} }}\nflush chain {name}\n{rules}"


def delete_chain(chain: PortChain) -> str:
    """Return the commands that delete a chain with its rules."""
    name = f"{_TABLE} {chain.ifname}"
    return f"flush chain {name}\ndelete chain {name}\n"


def is_port(name: str) -> bool:
    """Return whether a chain of that name is a port's."""
    return name.startswith("v-") and slice_of_ifname(name) != HOST_SLICE


def read_chain(ifname: str, lines: Sequence[str]) -> PortChain:
    """Return the chain that is listed as these lines. One at another hook is shown without the rules that it has."""
    hook, *rules = lines or ("",)
    return PortChain(ifname=ifname, rules=tuple(rules) if hook == _hook(ifname) else ())


def _hook(device: str) -> str:
    return f"type filter hook ingress device {device} priority -500; policy drop;"
