"""A packet's way into another VPC with possibly the same addresses, on an edge that translates between the two.

peering     the two ends of a mapped connection's cable: each translates between the range of its own VPC and its alias
endpoint    the namespace of an interface endpoint's connection: the endpoint's groups, a target, the connection's address
"""

from __future__ import annotations

from netorch.model.packet import Packet
from netorch.state.link import CableEnd
from netorch.state.names import vni_of_ifname
from netorch.state.tc import EGRESS, INGRESS
from netorch.trace.codes import OF_ENDPOINT, Code
from netorch.trace.edge import EdgeSteps, becomes, ends_of
from netorch.trace.hooks.skb import Skb
from netorch.trace.host_model import HostModel
from netorch.trace.steps import MAX_VISITED
from netorch.trace.way import Place


class BetweenSteps(EdgeSteps):
    """The steps from one VPC into another."""

    def _to_peer(self, host_model: HostModel, near: CableEnd) -> str:
        """Follow the packet over the cable of a mapped peering connection."""
        self._translate(host_model, near, EGRESS, near.lladdr)
        far = host_model.link(near.peer)
        if not isinstance(far, CableEnd):
            said = f"{near.ifname}: {near.peer} is not there"
            self._die(host_model.name, Place.PEERING, said, Code.NEXT_HOP_MISSING)
        self._vni = vni_of_ifname(far.ifname)
        self._translate(host_model, far, INGRESS, far.lladdr)
        return self._through(host_model, far, Skb(packet=self._packet))

    def _endpoint(self, host_model: HostModel, near: CableEnd, lladdr: str) -> str:
        """Follow the packet through the namespace of an interface endpoint's connection, from one VPC's port to the other's.

        If one of the VPCs may not be shown, its ACL is not asked and its addresses are not shown.
        """
        name, netns, came = host_model.name, near.peer_netns, self._packet
        inside, table = host_model.link(near.peer, netns), host_model.gateway_table(netns)
        if not isinstance(inside, CableEnd) or inside.lladdr != lladdr or table is None:
            self._die(name, Place.ENDPOINT, f"{near.ifname}: {netns} is not there as {lladdr}", Code.NEXT_HOP_MISSING)
        if self._visited >= MAX_VISITED:
            self._die(name, Place.ENDPOINT, "it loops", Code.ROUTING_LOOP)
        # An answer of a program in the namespace enters by none of its devices.
        hidden = not self._is_shown(near) or host_model.has_address(netns, came.source)
        skb = Skb(packet=came, iifname=inside.ifname)
        said = f"{netns}: an answer of the service" if hidden else f"{netns}: {ends_of(came)}"
        known = self._recall(skb, self._tracker(host_model, 0, netns))
        skb.original = known.original or came
        hooks = [("prerouting", ("", near.ifname))] if not hidden else []
        self._ask(host_model, netns, hooks, skb, said)
        self._packet = skb.packet = known.original.answer() if known.original is not None else skb.packet
        if host_model.has_address(netns, skb.packet.destination):
            return self._relayed(host_model, near, skb, came)
        route = host_model.route(host_model.table_by(inside.ifname, netns), skb.packet.destination, netns)
        leaving = host_model.link(route.ifname, netns) if route is not None else None
        far = host_model.link(leaving.peer) if isinstance(leaving, CableEnd) else None
        if route is None or not isinstance(leaving, CableEnd) or not isinstance(far, CableEnd):
            self._die(name, Place.ENDPOINT, f"{said}: no route", Code.NO_ROUTE_TO_DESTINATION)
        skb.oifname = leaving.ifname
        self._ask(host_model, netns, [("forward", ("", near.ifname))], skb, said)
        if not self._is_shown(far):
            self.translated[self._tracker(host_model, 0, netns)] = came
            self._note(name, Place.ENDPOINT, f"{netns}: {ends_of(came)} is handed over to the provider")
            return far.ifname
        self._vni = vni_of_ifname(far.ifname)
        self._ask(host_model, netns, [("postrouting", (far.ifname, ""))], skb, said)
        self._packet = skb.packet
        if known.original is None:
            self.translated[self._tracker(host_model, 0, netns)] = came
        changed = f"an answer of the service is from {self._packet.source}" if hidden else becomes(came, self._packet)
        self._note(name, Place.ENDPOINT, f"{netns}: {changed}", devices=(far.ifname, near.ifname))
        return self._enter_by(host_model, far, host_model.neighbour(leaving.ifname, route.via, netns) or "")

    def _relayed(self, host_model: HostModel, near: CableEnd, skb: Skb, came: Packet) -> str:
        """End the packet in the connection's namespace, where a program accepts it and opens its own connection to a target."""
        netns = near.peer_netns
        self._ask(host_model, netns, [("input", ("", near.ifname))], skb, f"{netns}: {ends_of(came)}")
        self.translated[self._tracker(host_model, 0, netns)] = came
        self._note(host_model.name, Place.ENDPOINT, f"{netns}: {ends_of(came)} is relayed to a target, with a PROXY header")
        return host_model.other_port(near)

    def _ask(self, host_model: HostModel, netns: str, hooks: list[tuple[str, tuple[str, str]]], skb: Skb, said: str) -> None:
        """Let hooks of the connection's namespace decide, each with the ports whose egress and ingress rules it has."""
        table = host_model.gateway_table(netns)
        for hook, ports in hooks:
            self._run_hook(host_model, Place.ENDPOINT, table, hook, skb, said, silent=True, devices=ports, codes=OF_ENDPOINT)

    def _is_shown(self, port: CableEnd) -> bool:
        """Return whether the VPC of a port may be shown."""
        return self._seen is None or vni_of_ifname(port.ifname) in self._seen
