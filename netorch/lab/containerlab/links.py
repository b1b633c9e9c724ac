"""The links of a containerlab file: the meaning of each type of link between network namespaces."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches

from netorch.lab.containerlab.fields import EndText, LinkText
from netorch.lab.topology import LAB, MANAGEMENT, Endpoint, Link, Node
from netorch.model.check.notes import Where

MTU_RANGE = (68, 65535)
NAME_BYTES = 15  # IFNAMSIZ of linux/if.h, minus the final zero
DUMMY = "dummy"
# Types, and ends in the brief form, that need an interface or a peer of the real network.
_BEYOND = frozenset({"macvlan", "vxlan", "vxlan-stitch"})
TYPES = frozenset({"veth", LAB, MANAGEMENT, DUMMY, *_BEYOND})
OUTSIDE = TYPES - {"veth"}  # names that stand in a node's place in an end

_MAC = re.compile(r"([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}\Z")

Add = Callable[[Where, str, str], None]


def interface_problem(name: str) -> str:
    """Return the problem of an interface name, or nothing (dev_valid_name of net/core/dev.c)."""
    if not name or len(name.encode()) > NAME_BYTES:
        return f"{name!r} is no name of an interface"
    if name in (".", "..") or re.search(r"[\s/:%]", name):
        return f"{name!r} is no name of an interface"
    return f"the kernel keeps the name {name!r} for itself" if name in ("all", "default") else ""


class LinkReader:
    """Turns the text of links into links, and reports problems through `add`."""

    def __init__(self, nodes: Mapping[str, Node], own_eth0: frozenset[str], add: Add) -> None:
        self.nodes = nodes
        self.own_eth0 = own_eth0  # nodes whose eth0 is not containerlab's management interface
        self.add = add
        self.taken: set[tuple[str, str]] = set()

    def read(self, text: LinkText, where: Where) -> Link | None:
        """Return a link, or None when the text is invalid."""
        ends = self._ends(text, where)
        if ends is None:
            return None
        low, high = MTU_RANGE
        if not low <= text.mtu <= high:
            self.add((*where, "mtu"), f"the MTU is {text.mtu}", f"use {low} to {high}")
        found = [self._endpoint(end, place) for end, place in ends if end.node != DUMMY or DUMMY in self.nodes]
        return Link(a=found[0], b=found[1] if len(found) > 1 else None, mtu=text.mtu)

    def _ends(self, text: LinkText, where: Where) -> list[tuple[EndText, Where]] | None:
        """Return a link's ends in the terms of the brief form, and the place of each in the file."""
        if text.type and text.type not in TYPES:
            near = get_close_matches(text.type, TYPES, 1)
            fix = f"did you mean {near[0]}?" if near else f"use {', '.join(sorted(TYPES - _BEYOND))}"
            self.add((*where, "type"), f"there is no type of link {text.type!r}", fix)
            return None
        beyond = {text.type, *(end.node for end in text.endpoints if end.node not in self.nodes)} & _BEYOND
        if beyond:
            place = (*where, "type") if text.type else (*where, "endpoints")
            self.add(place, f"a lab has no {min(beyond)} links: they need the real network", f"use an end {LAB}:eth1 instead")
            return None
        if text.type in ("", "veth"):
            if len(text.endpoints) != 2:
                what = f"there are {len(text.endpoints)} endpoints"
                self.add((*where, "endpoints"), what, 'write two: ["hv1:eth1", "hv2:eth1"]')
                return None
            return [(end, (*where, "endpoints", n)) for n, end in enumerate(text.endpoints)]
        if text.endpoint is None:
            self.add(where, f"a link of type {text.type} without endpoint", "add endpoint: {node: hv1, interface: eth1}")
            return None
        near_end = (text.endpoint, (*where, "endpoint"))
        if text.type == DUMMY:
            return [near_end]
        return [near_end, (EndText(node=text.type, interface=text.host_interface), (*where, "host-interface"))]

    def _endpoint(self, text: EndText, where: Where) -> Endpoint:
        node, interface = text.node, text.interface
        problem = interface_problem(interface)
        if node not in self.nodes and node not in (LAB, MANAGEMENT):
            near = get_close_matches(node, self.nodes, 1)
            self.add(where, f"there is no node {node!r}", f"did you mean {near[0]}?" if near else "declare it in topology.nodes")
        elif problem:
            self.add(where, problem, f"use 1 to {NAME_BYTES} bytes without '/', ':', '%' and spaces, e.g. {node}:eth1")
        elif interface == "lo" or (interface == "eth0" and node not in self.own_eth0):
            what = "is the loopback" if interface == "lo" else "is containerlab's management interface"
            self.add(where, f"{interface} {what}", "use eth1 and up, or set network-mode: none for the node")
        elif (node, interface) in self.taken or (node in self.nodes and self.nodes[node].bridge and interface == node):
            what = "is an end of two links" if (node, interface) in self.taken else "is the bridge itself"
            self.add(where, f"{node}:{interface} {what}", "use another interface")
        if text.mac and not (_MAC.match(text.mac) and int(text.mac[:2], 16) & 1 == 0):
            self.add((*where, "mac"), f"{text.mac!r} is no MAC address of an interface", "write one, e.g. 02:00:00:00:00:01")
        self.taken.add((node, interface))
        return Endpoint(node, interface, text.mac)
