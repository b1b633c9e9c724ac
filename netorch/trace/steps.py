"""The common part of all steps on a packet's way: evaluate hooks, look up connection tracking, and record each step."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import NoReturn

from netorch.model.packet import Packet
from netorch.state.base import OVERLAY
from netorch.trace.codes import OF_COUNTER, Code
from netorch.trace.hooks.nft import HookVerdict, Ruleset
from netorch.trace.hooks.nft_rules import Hit
from netorch.trace.hooks.skb import CT_DIRECTIONS, CT_STATES, Skb
from netorch.trace.host_model import HostModel
from netorch.trace.way import Ct, Flow, Hop, Place, Tracker, connection_of

MAX_VISITED = 16  # times that a packet may enter an overlay: sender, a relaying host, receiver, and some appliances in between


class Died(Exception):
    """The end of a packet."""

    def __init__(self, code: Code, counter: str = "") -> None:
        self.code = code
        self.counter = counter


class Steps:
    """One packet on its way: its current form, and the steps so far."""

    def __init__(
        self,
        host_models: Mapping[str, HostModel],
        packet: Packet,
        conntrack: Mapping[Tracker, Ct],
        seen: Container[int] | None,
        offloaded: Container[Flow],
    ) -> None:
        self.hops: list[Hop] = []
        self.flows: set[Flow] = set()
        self.gateways: set[Tracker] = set()
        self.marks: dict[Tracker, int] = {}
        self.translated: dict[Tracker, Packet] = {}
        self._host_models = host_models
        self._packet = packet
        self._conntrack = conntrack
        self._seen = seen
        self._offloaded = offloaded
        self._visited = 0
        self._vni = 0  # of its current VPC
        self._passed: list[tuple[str, str]] = []  # the hosts and ports of interfaces that have forwarded the packet

    def _tracker(self, host_model: HostModel, zone: int, netns: str = OVERLAY) -> Tracker:
        return Tracker(host_model.name, zone, connection_of(self._packet), netns)

    def _recall(self, skb: Skb, tracker: Tracker) -> Ct:
        """Set the packet's connection state from a host's connection tracking."""
        known = self._conntrack.get(tracker)
        if known is None:
            known = Ct(state="new" if self._packet.begins else "invalid")
        skb.ct_state, skb.ct_direction = CT_STATES[known.state], CT_DIRECTIONS[known.direction]
        skb.ct_assured = known.assured
        if tracker.netns != OVERLAY:
            self.gateways.add(tracker)
        skb.ct_mark = self.marks.get(tracker, known.mark)  # the packet was on this host before, on its way to an appliance
        return known

    def _run_hook(
        self,
        host_model: HostModel,
        place: Place,
        ruleset: Ruleset | None,
        hook: str,
        skb: Skb,
        said: str,
        *,
        silent: bool = False,
        devices: tuple[str, str] | None = None,
        codes: Mapping[str, Code] = OF_COUNTER,
    ) -> None:
        """Evaluate a hook. A missing table lets everything pass, as in a kernel.

        `silent`: record no hop if the packet passes. `devices` are those whose rules decide, if not the packet's.
        `codes` map drop counters to codes.
        """
        result = ruleset.run(hook, skb) if ruleset is not None else HookVerdict(accepted=True)
        asked = devices or (skb.sdifname or skb.iifname, skb.oifname)
        if not result.accepted:
            self._note(host_model.name, place, said, result.hits, ok=False, devices=asked)
            raise Died(codes.get(result.counter, Code.DROPPED), result.counter)
        if not silent:
            self._note(host_model.name, place, said, result.hits, devices=asked)

    def _note(
        self,
        host: str,
        place: Place,
        said: str,
        hits: tuple[Hit, ...] = (),
        *,
        ok: bool = True,
        devices: tuple[str, str] = ("", ""),
    ) -> None:
        hop = Hop(host=host, place=place, said=said, packet=self._packet, ok=ok, hits=hits, devices=devices, vni=self._vni)
        self.hops.append(hop)

    def _die(self, host: str, place: Place, said: str, code: Code, devices: tuple[str, str] = ("", "")) -> NoReturn:
        self._note(host, place, said, ok=False, devices=devices)
        raise Died(code)
