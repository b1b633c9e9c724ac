"""Evaluates one of netorch's nft tables on a packet: its chains and sets, assembled from a host's objects.

Follows the kernel: base chains of a hook run in the order of their priority, `goto` does not return, a failed look-up
ends its rule, and a base chain's policy applies last. Source: nft(8), nf_tables_core.c.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

import msgspec

from netorch.errors import TraceError
from netorch.state.base import OVERLAY, KernelObject, Key
from netorch.state.nft import FlowtableDevice, NftChain, NftElement, NftMap, NftTable, PortChain
from netorch.trace.hooks.nft_rules import Hit, Verdict, Word, parse_rule
from netorch.trace.hooks.skb import Skb
from netorch.trace.hooks.values import Table, split_element

_BLOCK: Final = re.compile(r"(set|map|chain|counter) (\S+) \{")
_HOOK: Final = re.compile(r"type (filter|nat) hook (\w+)(?: device \S+)? priority (-?\d+); policy (\w+);")
_MAX_STEPS: Final = 1000  # more than any packet needs; ends a loop of chains


class HookVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict of a hook, and the rules that led to it."""

    accepted: bool
    hits: tuple[Hit, ...] = ()

    @property
    def counter(self) -> str:
        """Return the named counter of a dropped packet."""
        return self.hits[-1].counter if self.hits else ""


class BaseChain(msgspec.Struct, frozen=True, kw_only=True):
    """The entry of a hook into a table."""

    name: str
    hook: str
    priority: int
    accepts: bool  # the policy
    translates: bool = False  # runs only for the first packet of a connection


class Skeleton(msgspec.Struct, frozen=True, kw_only=True):
    """The parsed text of a table."""

    chains: dict[str, tuple[str, ...]]
    bases: tuple[BaseChain, ...]
    elements: dict[str, tuple[tuple[tuple[str, ...], str], ...]]  # by set


class Ruleset:
    """A table with all its contents."""

    def __init__(self, chains: Mapping[str, tuple[str, ...]], bases: Iterable[BaseChain], sets: Mapping[str, Table]) -> None:
        self._chains = dict(chains)
        self._bases = sorted(bases, key=lambda base: base.priority)
        self._sets = dict(sets)

    def run(self, hook: str, skb: Skb) -> HookVerdict:
        """Return the verdict of a hook's chains; may change the packet's marks. Raises TraceError."""
        hits: list[Hit] = []
        for base in self._bases:
            if base.hook == hook and (skb.begins_connection or not base.translates):
                verdict = self._follow(base.name, skb, hits)
                if verdict is Word.DROP or (verdict is None and not base.accepts):
                    if verdict is None:
                        hits.append(Hit(chain=base.name, rule="policy drop"))
                    return HookVerdict(accepted=False, hits=tuple(hits))
        return HookVerdict(accepted=True, hits=tuple(hits))

    def _follow(self, chain: str, skb: Skb, hits: list[Hit]) -> Word | None:
        """Return ACCEPT or DROP, or None when a chain ends without either."""
        stack: list[tuple[str, int]] = []
        place, steps = 0, 0
        while True:
            steps += 1
            rules = self._rules(chain)
            if steps > _MAX_STEPS:
                raise TraceError(f"chain {chain}: contains a loop; the host's kernel has drifted")
            if place >= len(rules):
                if not stack:
                    return None
                chain, place = stack.pop()
                continue
            verdict = self._apply(chain, rules[place], skb, hits)
            place += 1
            if verdict is None:
                continue
            if verdict.word in (Word.ACCEPT, Word.DROP):
                return verdict.word
            if verdict.word is Word.JUMP:
                stack.append((chain, place))
            chain, place = (verdict.chain, 0) if verdict.chain else (chain, len(rules))

    def _rules(self, chain: str) -> tuple[str, ...]:
        if chain not in self._chains:
            raise TraceError(f"chain {chain}: a rule leads to it, but it does not exist; the host's kernel has drifted")
        return self._chains[chain]

    def _apply(self, chain: str, text: str, skb: Skb, hits: list[Hit]) -> Verdict | None:
        rule = parse_rule(text)
        verdict = rule.evaluate(skb, self._sets)
        if verdict is not None:
            hits.append(Hit(chain=chain, rule=text, counter=rule.counter))
        return verdict


def table_of(objects: Mapping[Key, KernelObject], netns: str, family: str) -> Ruleset | None:
    """Return one of a host's tables, or None if it has none. Raises TraceError if the table's text is unknown.

    Cost: O(objects).
    """
    table = objects.get(("nft-table", netns, family))
    if not isinstance(table, NftTable):
        return None
    if "{" not in table.body:
        raise TraceError(f"nft table {family} netorch in {netns}: altered, or of another version; the host has drifted")
    skeleton = parse_skeleton(table.body)
    chains, bases = dict(skeleton.chains), list(skeleton.bases)
    sets = {name: Table(elements) for name, elements in skeleton.elements.items()}
    own = table.key == ("nft-table", OVERLAY, "inet")
    for obj in objects.values():
        match obj:
            case NftMap() if own:
                sets.setdefault(obj.name, Table(()))
            case NftChain() if obj.netns == netns and obj.family == family:
                chains[obj.name] = obj.rules
                for chain_set in obj.sets:
                    sets[chain_set.name] = Table(map(split_element, chain_set.elements))
            case NftElement() if obj.netns == netns and obj.family == family:
                sets.setdefault(obj.set, Table(())).add(obj.items, obj.value)
            case PortChain() if family == "netdev":
                chains[obj.ifname] = obj.rules
                bases.append(BaseChain(name=obj.ifname, hook=obj.ifname, priority=0, accepts=False))
            case FlowtableDevice() if own and obj.guard:
                chains[f"guard {obj.ifname}"] = obj.guard
                bases.append(BaseChain(name=f"guard {obj.ifname}", hook=obj.ifname, priority=0, accepts=False))
            case _:
                pass
    return Ruleset(chains, bases, sets)


@lru_cache(maxsize=16)
def parse_skeleton(text: str) -> Skeleton:
    """Return the parsed text of a table. Raises TraceError for an unknown line."""
    chains: dict[str, tuple[str, ...]] = {}
    elements: dict[str, tuple[tuple[tuple[str, ...], str], ...]] = {}
    bases = []
    for kind, name, lines in _blocks(text):
        if kind == "chain":
            hook = _HOOK.fullmatch(lines[0]) if lines else None
            if hook is not None:
                bases.append(_base(name, hook))
            chains[name] = tuple(lines[1:] if hook is not None else lines)
        elif kind in ("set", "map"):
            listed = " ".join(lines).partition("elements = {")[2].rpartition("}")[0]
            elements[name] = tuple(split_element(element) for element in listed.split(",") if element.strip())
    return Skeleton(chains=chains, bases=tuple(bases), elements=elements)


def _base(name: str, hook: re.Match[str]) -> BaseChain:
    kind, at, priority, policy = hook.groups()
    return BaseChain(name=name, hook=at, priority=int(priority), accepts=policy == "accept", translates=kind == "nat")


def _blocks(text: str) -> Iterable[tuple[str, str, list[str]]]:
    head: re.Match[str] | None = None
    lines: list[str] = []
    for line in map(str.strip, text.splitlines()):
        if head is None and line:
            head, lines = _BLOCK.fullmatch(line), []
            if head is None:
                raise TraceError(f"nft table: {line!r} cannot be followed; trace understands netorch's own tables only")
        elif head is not None and line == "}":
            yield head[1], head[2], lines
            head = None
        elif line:
            lines.append(line)
