"""Chains of ports as nft commands, and what `nft list` shows of their table as objects again.

Their table is read as text: libnftables takes five times as long to make JSON of many rules, and their words are few.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from netorch.state.base import HOST_SLICE, slice_of_ifname
from netorch.state.nft import PortChain
from netorch.state.owner import NFT_TABLE

FAMILY: Final = "netdev"
_TABLE: Final = f"{FAMILY} {NFT_TABLE}"
_PADDING: Final = re.compile(r'"|(?<= 0x)0+(?=[0-9a-f])')  # quotes, and zeros in front of a number

Listing = list[dict[str, Any]]  # [{"chain": {"name": "v-001388abcdef0", "lines": [...]}}, {"set": {...}}, ...]


def add_chain(chain: PortChain) -> str:
    """Return the commands that make a chain, or give an existing one these rules."""
    name = f"{_TABLE} {chain.ifname}"
    rules = "".join(f"add rule {name} {rule}\n" for rule in chain.rules)
    return f"add chain {name} {{ {_hook(chain.ifname)} }}\nflush chain {name}\n{rules}"


def delete_chain(chain: PortChain) -> str:
    """Return the commands that delete a chain with its rules."""
    name = f"{_TABLE} {chain.ifname}"
    return f"flush chain {name}\ndelete chain {name}\n"


def parse_table(text: str) -> Listing:
    """Return what `nft list table` shows, like the JSON of other tables but with lines in place of expressions."""
    listing: Listing = []
    body: dict[str, Any] = {}
    for line in text.splitlines():
        if line.startswith("\t\t"):
            words = line[2:]
            if words.startswith("comment "):
                body["comment"] = words[8:].strip('"')
            elif not words.startswith("packets "):
                body["lines"].append(_PADDING.sub("", words))
        elif line.startswith("\t") and line.endswith(" {"):
            kind, name, _ = line[1:].split(" ")
            body = {"name": name, "lines": []}
            listing.append({kind: body})
        elif line.strip("\t}"):
            listing.append({"line": {"name": line}})
    return listing


def is_of_port(entry: dict[str, Any]) -> bool:
    """Return whether an entry of a listing is a port's chain."""
    name = entry["chain"]["name"] if "chain" in entry else ""
    return name.startswith("v-") and slice_of_ifname(name) != HOST_SLICE


def chains_of(listing: Listing) -> Iterator[PortChain]:
    """Yield the chains of ports in a parsed table. One at another hook is shown without the rules that it has."""
    for entry in filter(is_of_port, listing):
        ifname, (hook, *rules) = entry["chain"]["name"], entry["chain"]["lines"] or ("",)
        yield PortChain(ifname=ifname, rules=tuple(rules) if hook == _PADDING.sub("", _hook(ifname)) else ())


def _hook(ifname: str) -> str:
    return f'type filter hook ingress device "{ifname}" priority -500; policy drop;'
