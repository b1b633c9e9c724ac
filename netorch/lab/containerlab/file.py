"""Read a containerlab file as the nodes and links of a lab. The same file deploys under containerlab itself.

Nodes are of the kinds linux and bridge. A node inherits from its group, its kind and the defaults, in this order; labels, env
and sysctls are merged, exec lines are appended, defaults first. Environment variables are expanded as in containerlab. Fields
that containerlab knows and that do not apply to a network namespace are accepted and listed in `Topology.ignored`.

Labels: `netorch.role` is hypervisor, edge, router or console; `netorch.underlay` is the VTEP address of a hypervisor or an edge;
`netorch.pair`, `netorch.uplink`, `netorch.asn` and `netorch.gateway-asn` are for an edge, as in `netorch host create`.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path

import msgspec

from netorch.errors import Problem, SpecError
from netorch.lab.containerlab.fields import FileText, NodeText, TopologyText, prepare
from netorch.lab.containerlab.labels import ROLE, UNDERLAY, read_labels
from netorch.lab.containerlab.links import OUTSIDE, LinkReader, interface_problem
from netorch.lab.text import parse, repaired
from netorch.lab.topology import MANAGEMENT, Link, Node, NodeRole, Topology
from netorch.model.check.notes import Where, path_of

SUFFIXES = (".clab.yml", ".clab.yaml")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")
_NAME_RULE = "use 1 to 63 letters, digits, '.', '_' and '-', a letter or digit first"
_BRIDGES = frozenset({"bridge", "ovs-bridge"})


def find_file(directory: Path) -> Path:
    """Return the only topology file of a directory.

    Raises:
      SpecError: there is none, or more than one.
    """
    found = sorted(path for path in directory.iterdir() if path.name.endswith(SUFFIXES))
    if len(found) == 1:
        return found[0]
    names = ", ".join(path.name for path in found)
    what = f"there are several topology files: {names}" if found else f"there is no topology file (*{SUFFIXES[0]})"
    raise SpecError(str(directory), [Problem(path="$", what=what, fix="name one")])


def load_topology(path: str | Path, text: str | None = None, environ: Mapping[str, str] = os.environ) -> Topology:
    """Return the lab declared in a file, or in `text` if given; `path` is then only its name.

    Raises:
      SpecError: the file cannot be read, or is wrong; carries every problem.
    """
    tree = parse(path, text, environ)
    ignored = tuple(prepare(tree))
    values, lines, problems = repaired(tree, FileText)
    file = msgspec.convert(values, FileText)
    reader = _Reader(file.topology)
    nodes = reader.read_nodes()
    links = reader.read_links(nodes)
    if any(end.node == MANAGEMENT for link in links for end in link.ends):
        nodes = (*nodes, Node(name=MANAGEMENT, bridge=True))
    topology = Topology(name=file.name, nodes=nodes, links=links, ignored=ignored)
    reader.check_name(file.name, ("name",), "lab")
    known = {problem.path for problem in problems}
    problems = [_of_containerlab(problem) for problem in problems]
    for problem in reader.problems:
        if problem.path not in known:
            problems.append(msgspec.structs.replace(problem, line=_line(lines, problem.path)))
    if problems:
        raise SpecError(str(path), sorted(problems, key=lambda problem: problem.line))
    return topology


def _of_containerlab(problem: Problem) -> Problem:
    """Return a problem without the advice to remove a field: a newer containerlab may know the field."""
    if not problem.fix.startswith("remove it; there are "):
        return problem
    return msgspec.structs.replace(problem, fix="netorch knows the fields of containerlab's schema; check its spelling")


def _line(lines: Mapping[str, int], path: str) -> int:
    """Return the line of a path, or of its nearest parent in the file."""
    while path not in lines and path:
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    return lines.get(path, 0)


class _Reader:
    """Turns the file's text into values and collects problems."""

    def __init__(self, text: TopologyText) -> None:
        self.text = text
        self.problems: list[Problem] = []

    def add(self, where: Where, what: str, fix: str) -> None:
        self.problems.append(Problem(path=path_of(where), what=what, fix=fix))

    def check_name(self, name: str, where: Where, kind: str) -> None:
        if not _NAME.match(name):
            self.add(where, f"{name!r} is no name of a {kind}", _NAME_RULE)
        elif name.startswith("netorch-") or name in OUTSIDE:
            self.add(where, f"the name {name!r} has a meaning of its own", "choose another name")

    def read_nodes(self) -> tuple[Node, ...]:
        if not self.text.nodes:
            self.add(("topology", "nodes"), "there is no node", "add one, e.g. hv1: {kind: linux}")
        nodes = tuple(self._node(name, text) for name, text in self.text.nodes.items())
        seen: dict[str, str] = {}
        for node in nodes:
            if node.underlay and node.underlay in seen:
                where = ("topology", "nodes", node.name, "labels", UNDERLAY)
                self.add(where, f"{node.underlay} is the underlay address of {seen[node.underlay]} too", "give each host its own")
            seen[node.underlay] = node.name
        consoles = [node.name for node in nodes if node.role is NodeRole.CONSOLE]
        for name in consoles[1:]:
            self.add(
                ("topology", "nodes", name, "labels", ROLE), f"{consoles[0]} is the console already", "remove the role of one"
            )
        return nodes

    def _layers(self, name: str) -> list[tuple[NodeText, Where]]:
        """Return the sources of a node's fields, the weakest first, and the place of each."""
        own, defaults = self.text.nodes[name], self.text.defaults
        in_group = self.text.groups.get(own.group, NodeText())
        kind = own.kind or in_group.kind or defaults.kind
        of_kind = self.text.kinds.get(kind, NodeText())
        group = own.group or of_kind.group or defaults.group
        return [
            (defaults, ("topology", "defaults")),
            (of_kind, ("topology", "kinds", kind)),
            (self.text.groups.get(group, NodeText()), ("topology", "groups", group)),
            (own, ("topology", "nodes", name)),
        ]

    def _node(self, name: str, own: NodeText) -> Node:
        where: Where = ("topology", "nodes", name)
        self.check_name(name, where, "node")
        layers = self._layers(name)
        bridge = self._is_bridge(name, layers)
        labels = _merged(*(layer.labels for layer, _ in layers))
        said = read_labels(labels, where, self.add)
        if bridge and said.role is not None:
            self.add((*where, "labels", ROLE), "a bridge has no role", "give the role to a node of kind linux")
        sysctls = _merged(*(layer.sysctls for layer, _ in layers))
        return Node(
            name=name,
            bridge=bridge,
            image=next((layer.image for layer, _ in reversed(layers) if layer.image), ""),
            role=said.role,
            underlay=said.underlay,
            pair=said.pair,
            uplink=said.uplink,
            asn=said.asn,
            gateway_asn=said.gateway_asn,
            labels=labels,
            env=_merged(*(layer.env for layer, _ in layers)),
            sysctls={key: value for key, value in sysctls.items() if key.startswith("net.")},
            exec=tuple(self._command(line, (*place, "exec", n)) for layer, place in layers for n, line in enumerate(layer.exec)),
        )

    def _is_bridge(self, name: str, layers: list[tuple[NodeText, Where]]) -> bool:
        """Return whether a node is a bridge, and report a kind that cannot be a namespace."""
        own = ("topology", "nodes", name)
        kind, place = next(((layer.kind, where) for layer, where in reversed(layers) if layer.kind), ("", own))
        if kind in _BRIDGES:
            if problem := interface_problem(name):
                self.add(own, f"{problem}, and a bridge is named as its node", "choose a shorter name")
            return True
        if kind != "linux":
            what = f"the kind is {kind!r}" if kind else "the kind is missing"
            fix = "write kind: linux or bridge, what a network namespace can be"
            self.add((*place, "kind") if place == own and kind else own, what, fix)
        return False

    def _command(self, line: str, where: Where) -> tuple[str, ...]:
        try:
            words = tuple(shlex.split(line))
        except ValueError as error:
            self.add(where, f"{line!r} is no command: {str(error).lower()}", "close the quotes")
            return ("true",)
        if not words:
            self.add(where, "an empty command", "remove it")
        return words

    def read_links(self, nodes: tuple[Node, ...]) -> tuple[Link, ...]:
        own_eth0 = frozenset(
            node.name
            for node in nodes
            if node.bridge or next((mode for layer, _ in reversed(self._layers(node.name)) if (mode := layer.network_mode)), "")
        )
        reader = LinkReader({node.name: node for node in nodes}, own_eth0, self.add)
        links = (reader.read(text, ("topology", "links", index)) for index, text in enumerate(self.text.links))
        return tuple(link for link in links if link is not None)


def _merged(*layers: Mapping[str, str]) -> dict[str, str]:
    result: dict[str, str] = {}
    for layer in layers:
        result |= layer
    return result
