"""Table contents as objects: chains, sets and elements of VPCs and ports, and a digest of everything else.

nft.reader reads a table; whatever it has no words for, libnftables lists as text with numeric symbols. Only conntrack states
and packet families are translated back from numbers, because netorch's rules use these words.

A VPC's set with a dot in its name belongs to the chain named before the dot, whether or not that chain exists.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec

from netorch.drivers.nft import chains
from netorch.drivers.nft.swap import is_swapped, swapped
from netorch.state.base import HOST_SLICE, KernelObject
from netorch.state.names import is_port, vni_of_chain, vni_of_element, vni_of_ifname
from netorch.state.nft import HOST_SETS, VPC_TABLE, ChainSet, Flowtable, FlowtableDevice, NftChain, NftElement, NftMap

NO_WORD: Final = "?"  # starts text that shows the kernel's bytes; no nft word contains it
FINGERPRINT: Final = "fingerprint"  # the set whose comment holds the digests

_NOISE: Final = re.compile(r'"|(?<=\b0x)0+(?=[0-9a-f])')  # quotes, and leading zeros of a number
_REMARK: Final = re.compile(r' comment "[^"]*"')
_ELEMENTS: Final = "elements = { "
_NUMBERED: Final = re.compile(r"(?<=\bct state )0x[0-9a-fx,]+|(?<=\bmeta nfproto )\d+")
# Source: linux/netfilter/nf_conntrack_common.h NF_CT_STATE_BIT, linux/netfilter.h NFPROTO_*
_NAMES: Final = {
    "0x1": "invalid",
    "0x2": "established",
    "0x4": "related",
    "0x8": "new",
    "0x40": "untracked",
    "2": "ipv4",
    "10": "ipv6",
}


class Block(msgspec.Struct):
    """A set, map, chain or other object of a table; kind "" is a line of the table itself, e.g. its flags."""

    kind: str
    name: str
    lines: list[str]
    elements: list[str]
    comment: str = ""

    @property
    def spec(self) -> str:
        """Return the declaration of a set or map."""
        return "; ".join(self.lines)


def parse_table(text: str) -> list[Block]:
    """Return the blocks of one listed table. Cost: about 1 us a line."""
    blocks: list[Block] = []
    lines = iter(text.splitlines())
    for line in lines:
        words = line[2:]
        if not line.startswith("\t\t"):
            if line.startswith("\t") and line.endswith(" {"):
                kind, _, name = line[1:-2].rpartition(" ")
                blocks.append(Block(kind, name, [], []))
            elif line.startswith("\t") and line != "\t}":
                blocks.append(Block("", line[1:], [], []))
        elif words.startswith("comment "):
            blocks[-1].comment = words[8:].strip('"')
        elif words.startswith(_ELEMENTS):
            blocks[-1].elements = _elements(words, lines)
        else:
            blocks[-1].lines.append(_NUMBERED.sub(_name, _NOISE.sub("", words)))
    return blocks


def objects_of(netns: str, family: str, blocks: Iterable[Block]) -> Iterator[KernelObject]:
    """Yield the contents of a table beyond its skeleton: everything whose name refers to a VPC."""
    shared = (netns, family) != VPC_TABLE[1:]  # VPCs have no sets of their own in this table
    rules: dict[str, tuple[str, ...]] = {}
    sets: dict[str, list[ChainSet]] = {}
    guards: dict[str, tuple[str, ...]] = {}
    flowtables: list[Block] = []
    for block in blocks:
        if family == chains.FAMILY:
            if is_of_port(block):
                yield chains.read_chain(block.name, block.lines)
        elif block.kind == "flowtable":
            flowtables += [] if shared else [block]
        elif block.kind == "chain" and not shared and (device := chains.guarded(block.name)):
            guards[device] = chains.read_guard(device, block.lines)
        elif block.kind == "chain" and _is_of_vpc(block):
            rules[block.name] = tuple(block.lines)
        elif shared or not _is_of_vpc(block):
            yield from _elements_of(netns, family, block)
        elif block.kind == "set" and "." in block.name:
            owner = block.name.rpartition(".")[0]
            held = ChainSet(name=block.name, spec=block.spec, elements=tuple(sorted(block.elements)))
            sets.setdefault(owner, []).append(held)
        elif block.kind in ("set", "map"):
            yield NftMap(vni=vni_of_chain(block.name), name=block.name, spec=block.spec)
            yield from _elements_of(netns, family, block)
    for block in flowtables:
        yield from _flowtable(block, guards)
    for name in rules.keys() | sets.keys():
        held_by_name = tuple(sorted(sets.get(name, ()), key=lambda held: held.name))
        vni, found_rules = vni_of_chain(name), rules.get(name, ())
        found = NftChain(netns=netns, family=family, vni=vni, name=name, rules=found_rules, sets=held_by_name)
        yield swapped(found) if is_swapped(name, found.rules) else found


def swapped_chains(blocks: Iterable[Block]) -> set[str]:
    """Return the chains that read their sets by the alternate names."""
    return {block.name for block in blocks if block.kind == "chain" and is_swapped(block.name, block.lines)}


def sealed_text(netns: str, family: str, blocks: Iterable[Block]) -> str:
    """Return the digest of the loaded text, or an empty string if the skeleton has changed since."""
    for block in blocks:
        if block.kind == "set" and block.name == FINGERPRINT:
            text, _, listed = block.comment.partition(" ")
            return text if listed == digest(netns, family, blocks) else ""
    return ""


def digest(netns: str, family: str, blocks: Iterable[Block]) -> str:
    """Return a digest of a table's skeleton: everything that names no VPC, including elements unless they have a timeout."""
    shared = (netns, family) != VPC_TABLE[1:]
    kept = [
        (block.kind, block.name, block.comment, block.lines, sorted(_lasting(block)))
        for block in blocks
        if block.name != FINGERPRINT
        and (shared or block.kind != "flowtable")
        and (is_shared(block) or (shared and block.kind != "chain"))
    ]
    return hashlib.sha256(msgspec.json.encode(kept)).hexdigest()[:32]


def is_of_port(block: Block) -> bool:
    """Return whether a block is the chain of a port."""
    return block.kind == "chain" and is_port(block.name)


def is_shared(block: Block) -> bool:
    """Return whether a block belongs to neither a port nor a VPC."""
    return not is_of_port(block) and not _is_of_vpc(block)


def is_strange(block: Block) -> bool:
    """Return whether a block of a VPC or port contains something that the reader has no words for."""
    return not is_shared(block) and any(NO_WORD in text for text in (*block.lines, *block.elements))


def in_words(blocks: Iterable[Block], listed: Iterable[Block]) -> list[Block]:
    """Return the blocks, strange ones replaced by their listed form."""
    words = {(block.kind, block.name): block for block in listed}
    return [words.get((block.kind, block.name), block) if is_strange(block) else block for block in blocks]


def _is_of_vpc(block: Block) -> bool:
    return block.kind in ("set", "map", "chain") and vni_of_chain(block.name) != HOST_SLICE


def _elements_of(netns: str, family: str, block: Block) -> Iterator[NftElement]:
    for text in block.elements:
        key, _, value = text.partition(" : ")
        items = tuple(map(_hexadecimal, key.split(" . ")))
        vni = vni_of_element(block.name, items)
        if vni != HOST_SLICE or block.name in HOST_SETS:
            yield NftElement(netns=netns, family=family, set=block.name, items=items, vni=vni, value=_hexadecimal(value))


def _flowtable(block: Block, guards: Mapping[str, tuple[str, ...]]) -> Iterator[Flowtable | FlowtableDevice]:
    yield Flowtable(vni=vni_of_chain(block.name), name=block.name, spec=block.spec)
    for ifname in block.elements:
        guard = guards.get(ifname, ())
        yield FlowtableDevice(vni=vni_of_ifname(ifname), ifname=ifname, flowtable=block.name, guard=guard)


def _lasting(block: Block) -> Iterable[str]:
    """Return the skeleton's elements that do not expire."""
    if block.name in HOST_SETS:
        return ()
    expiring = any(line.startswith("timeout ") for line in block.lines)
    return (text for text in block.elements if not expiring and not _vni(block, text))


def _vni(block: Block, text: str) -> int:
    return vni_of_element(block.name, text.partition(" : ")[0].split(" . "))


def _elements(words: str, lines: Iterator[str]) -> list[str]:
    """Return the elements that begin on this line and continue up to a line that ends in a brace."""
    parts = [words[len(_ELEMENTS) :]]
    while not parts[-1].endswith(" }"):
        parts.append(next(lines, " }").lstrip())
    text = " ".join(parts)[:-2]
    return _NOISE.sub("", _REMARK.sub("", text)).split(", ")


def _hexadecimal(word: str) -> str:
    return hex(int(word)) if word.isdigit() else word


def _name(numbers: re.Match[str]) -> str:
    return ",".join(_NAMES.get(number, number) for number in numbers[0].split(","))
