"""A containerlab file to the hosts and links of a lab. The same file deploys under containerlab itself.

Read: name, topology.{nodes,kinds,defaults}.{kind,image,labels,exec,env}, topology.links[].{endpoints,mtu}. Fields that
containerlab knows and that mean nothing here are accepted and listed in `Topology.ignored`; any other field is a problem.

Labels: `netorch.role` is hypervisor, edge or router; `netorch.underlay` is the VTEP address of the first two.
Source: https://github.com/srl-labs/containerlab/blob/main/schemas/clab.schema.json
"""

from __future__ import annotations

import ipaddress
import re
import shlex
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from enum import Enum
from pathlib import Path

import msgspec

from netorch.errors import Problem, SpecError
from netorch.lab.text import mended, parse
from netorch.model.notes import Where, path_of
from netorch.spec.node import Node as Yaml

DEFAULT_MTU = 9500  # containerlab's
MTU_RANGE = (68, 65535)
ROLE_LABEL = "netorch.role"
UNDERLAY_LABEL = "netorch.underlay"
# What each level of the file may hold by containerlab's schema and is of no use to network namespaces.
IGNORED_TOP = frozenset({"prefix", "mgmt", "settings", "debug"})
# fmt: off
IGNORED_NODE = frozenset((
    "aliases", "auto-remove", "binds", "cap-add", "certificate", "cgroupns-mode", "cmd", "components", "config", "cpu",
    "cpu-set", "credentials", "devices", "dns", "enforce-startup-config", "entrypoint", "env-files", "extras", "group",
    "healthcheck", "image-pull-policy", "kernel", "license", "memory", "mgmt-ipv4", "mgmt-ipv6", "network-mode", "ports",
    "position", "publish", "restart-policy", "runtime", "sandbox", "shm-size", "stages", "startup-config", "startup-delay",
    "suppress-startup-config", "sysctls", "type", "user",
))
# fmt: on
IGNORED_LINK = frozenset({"vars", "labels"})

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")
_NAME_RULE = "use 1 to 63 letters, digits, '.', '_' and '-', a letter or digit first"
_INTERFACE = re.compile(r"[^\s/:]{1,15}\Z")
# Endpoints that are no nodes: containerlab's ways out of the lab.
_OUTSIDE = frozenset({"host", "mgmt-net", "macvlan", "vxlan", "vxlan-stitch", "dummy"})


class NodeRole(Enum):
    """What a node is for; a node without a role is just there."""

    HYPERVISOR = "hypervisor"
    EDGE = "edge"
    ROUTER = "router"

    @property
    def has_agent(self) -> bool:
        """Return whether netorch runs on it."""
        return self is not NodeRole.ROUTER


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """A host of the lab, defaults and kinds applied."""

    name: str
    image: str = ""
    role: NodeRole | None = None
    underlay: str = ""
    labels: dict[str, str] = {}
    env: dict[str, str] = {}
    exec: tuple[tuple[str, ...], ...] = ()

    @property
    def has_agent(self) -> bool:
        """Return whether netorch runs on it."""
        return self.role is not None and self.role.has_agent


class Endpoint(msgspec.Struct, frozen=True):
    """One end of a link."""

    node: str
    interface: str


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """A cable."""

    a: Endpoint
    b: Endpoint
    mtu: int = DEFAULT_MTU


class Topology(msgspec.Struct, frozen=True, kw_only=True):
    """A lab as declared. `ignored` are the paths of the fields that containerlab would have heeded."""

    name: str
    nodes: tuple[Node, ...]
    links: tuple[Link, ...] = ()
    ignored: tuple[str, ...] = ()


class _NodeText(msgspec.Struct, kw_only=True):
    kind: str = ""
    image: str = ""
    labels: dict[str, str] = {}
    env: dict[str, str] = {}
    exec: list[str] = []


class _LinkText(msgspec.Struct, kw_only=True):
    endpoints: list[str]
    mtu: int = DEFAULT_MTU


class _TopologyText(msgspec.Struct, kw_only=True):
    nodes: dict[str, _NodeText]
    kinds: dict[str, _NodeText] = {}
    defaults: _NodeText = msgspec.field(default_factory=_NodeText)
    links: list[_LinkText] = []


class _FileText(msgspec.Struct, kw_only=True):
    name: str
    topology: _TopologyText


def env_name(label: str) -> str:
    """Return the environment variable by which containerlab hands a label to the node's processes."""
    return "CLAB_LABEL_" + re.sub(r"[^A-Za-z0-9_]+", "", re.sub(r"[-+./]", "_", label)).upper()


def load_topology(path: str | Path, text: str | None = None) -> Topology:
    """Return the lab that a file declares, or that `text` does if given; `path` is then only its name.

    Raises:
      SpecError: the file cannot be read, or is wrong; carries every problem.
    """
    tree = parse(path, text)
    ignored = tuple(_prepare(tree))
    values, lines, problems = mended(tree, _FileText)
    file = msgspec.convert(values, _FileText)
    reader = _Reader(file.topology)
    nodes = reader.read_nodes()
    topology = Topology(name=file.name, nodes=nodes, links=reader.read_links(), ignored=ignored)
    reader.check_name(file.name, ("name",), "lab")
    known = {problem.path for problem in problems}
    for problem in reader.problems:
        if problem.path not in known:
            problems.append(msgspec.structs.replace(problem, line=lines.get(problem.path, 0)))
    if problems:
        raise SpecError(str(path), sorted(problems, key=lambda problem: problem.line))
    return topology


def _prepare(tree: Yaml) -> Iterator[str]:
    """Take out of the tree what is to be ignored and yield its paths; let it have the types that `_FileText` says."""
    yield from _drop(tree, IGNORED_TOP, ())
    topology = _child(tree, "topology")
    for section in ("nodes", "kinds"):
        for name, node in _children(_child(topology, section)):
            if node.value is None:  # the schema allows `node1:` and nothing more
                node.value = {}
            yield from _prepare_node(node, ("topology", section, name))
    if defaults := _child(topology, "defaults"):
        yield from _prepare_node(defaults, ("topology", "defaults"))
    links = _child(topology, "links")
    for index, link in enumerate(links.value if links and isinstance(links.value, list) else ()):
        yield from _drop(link, IGNORED_LINK, ("topology", "links", index))


def _prepare_node(node: Yaml, where: Where) -> Iterator[str]:
    yield from _drop(node, IGNORED_NODE, where)
    for field in ("labels", "env"):
        for _, value in _children(_child(node, field)):
            if isinstance(value.value, int | float) and not isinstance(value.value, bool):
                value.value = value.text or str(value.value)


def _drop(node: Yaml, names: frozenset[str], where: Where) -> Iterator[str]:
    if isinstance(node.value, dict):
        for name in [name for name in node.value if name in names]:
            del node.value[name]
            yield path_of((*where, name))


def _child(node: Yaml | None, name: str) -> Yaml | None:
    return node.value.get(name) if node is not None and isinstance(node.value, dict) else None


def _children(node: Yaml | None) -> Iterator[tuple[str, Yaml]]:
    if node is not None and isinstance(node.value, dict):
        yield from node.value.items()


class _Reader:
    """Turns the file's text into values and collects what makes no sense."""

    def __init__(self, text: _TopologyText) -> None:
        self.text = text
        self.problems: list[Problem] = []

    def add(self, where: Where, what: str, fix: str) -> None:
        self.problems.append(Problem(path=path_of(where), what=what, fix=fix))

    def check_name(self, name: str, where: Where, kind: str) -> None:
        if not _NAME.match(name):
            self.add(where, f"{name!r} is no name of a {kind}", _NAME_RULE)
        elif name.startswith("netorch-") or name in _OUTSIDE:
            self.add(where, f"the name {name!r} has a meaning of its own", "choose another name")

    def read_nodes(self) -> tuple[Node, ...]:
        if not self.text.nodes:
            self.add(("topology", "nodes"), "there is no node", "add one, e.g. hv1: {kind: linux}")
        nodes = tuple(self._node(name, text) for name, text in self.text.nodes.items())
        seen: dict[str, str] = {}
        for node in nodes:
            if node.underlay and node.underlay in seen:
                where = ("topology", "nodes", node.name, "labels", UNDERLAY_LABEL)
                self.add(where, f"{node.underlay} is the underlay address of {seen[node.underlay]} too", "give each host its own")
            seen[node.underlay] = node.name
        return nodes

    def _node(self, name: str, own: _NodeText) -> Node:
        where: Where = ("topology", "nodes", name)
        self.check_name(name, where, "node")
        kind = own.kind or self.text.defaults.kind
        if kind != "linux":
            what = f"the kind is {kind!r}" if kind else "the kind is missing"
            self.add((*where, "kind") if own.kind else where, what, "write kind: linux, the only one that a namespace can be")
        layers = (self.text.defaults, self.text.kinds.get(kind, _NodeText()), own)
        places: tuple[Where, ...] = (("topology", "defaults"), ("topology", "kinds", kind), where)
        labels = _merged(*(layer.labels for layer in layers))
        role, underlay = self._labels(labels, where)
        return Node(
            name=name,
            image=next((layer.image for layer in reversed(layers) if layer.image), ""),
            role=role,
            underlay=underlay,
            labels=labels,
            env=_merged(*(layer.env for layer in layers)),
            exec=tuple(  # containerlab appends them in this order; all else overrides
                self._command(line, (*place, "exec", n))
                for layer, place in zip(layers, places, strict=True)
                for n, line in enumerate(layer.exec)
            ),
        )

    def _labels(self, labels: Mapping[str, str], where: Where) -> tuple[NodeRole | None, str]:
        for label in labels:
            if label.startswith("netorch.") and label not in (ROLE_LABEL, UNDERLAY_LABEL):
                near = get_close_matches(label, (ROLE_LABEL, UNDERLAY_LABEL), 1)
                fix = f"did you mean {near[0]}?" if near else f"use {ROLE_LABEL} and {UNDERLAY_LABEL}"
                self.add((*where, "labels", label), f"netorch has no label {label!r}", fix)
        role_text, underlay = labels.get(ROLE_LABEL, ""), labels.get(UNDERLAY_LABEL, "")
        roles = {role.value: role for role in NodeRole}
        role = roles.get(role_text)
        if role_text and role is None:
            self.add((*where, "labels", ROLE_LABEL), f"there is no role {role_text!r}", f"use {', '.join(roles)}")
        needed = role is not None and role.has_agent
        if needed and not underlay:
            self.add((*where, "labels"), f"a {role_text} without underlay address", f"add {UNDERLAY_LABEL}: 192.0.2.11")
        elif underlay and not needed and role_text in ("", NodeRole.ROUTER.value):
            fix = f"remove it, or set {ROLE_LABEL}: {NodeRole.HYPERVISOR.value}"
            self.add((*where, "labels", UNDERLAY_LABEL), "only a hypervisor or an edge has an underlay address", fix)
        elif underlay and not _is_ipv4(underlay):
            self.add((*where, "labels", UNDERLAY_LABEL), f"{underlay!r} is no IPv4 address", "write one, e.g. 192.0.2.11")
        return role, underlay

    def _command(self, line: str, where: Where) -> tuple[str, ...]:
        try:
            words = tuple(shlex.split(line))
        except ValueError as error:
            self.add(where, f"{line!r} is no command: {str(error).lower()}", "close the quotes")
            return ("true",)
        if not words:
            self.add(where, "an empty command", "remove it")
        return words

    def read_links(self) -> tuple[Link, ...]:
        links = []
        taken: set[Endpoint] = set()
        for index, text in enumerate(self.text.links):
            where: Where = ("topology", "links", index)
            if len(text.endpoints) != 2:
                self.add(
                    (*where, "endpoints"), f"there are {len(text.endpoints)} endpoints", 'write two: ["hv1:eth1", "hv2:eth1"]'
                )
                continue
            low, high = MTU_RANGE
            if not low <= text.mtu <= high:
                self.add((*where, "mtu"), f"the MTU is {text.mtu}", f"use {low} to {high}")
            ends = [self._endpoint(end, (*where, "endpoints", n), taken) for n, end in enumerate(text.endpoints)]
            links.append(Link(a=ends[0], b=ends[1], mtu=text.mtu))
        return tuple(links)

    def _endpoint(self, text: str, where: Where, taken: set[Endpoint]) -> Endpoint:
        node, _, interface = text.partition(":")
        end = Endpoint(node, interface)
        if node in _OUTSIDE and node not in self.text.nodes:
            self.add(where, f"{text!r} leads out of the lab", "link nodes of this file only")
        elif node not in self.text.nodes:
            near = get_close_matches(node, self.text.nodes, 1)
            self.add(where, f"there is no node {node!r}", f"did you mean {near[0]}?" if near else "declare it in topology.nodes")
        elif not _INTERFACE.match(interface) or interface in (".", ".."):
            self.add(where, f"{interface!r} is no name of an interface", "use 1 to 15 characters without '/', ':' and spaces")
        elif interface in ("lo", "eth0"):
            self.add(where, f"{interface} is taken: lo by the loopback, eth0 by containerlab's management", "use eth1 and up")
        elif end in taken:
            self.add(where, f"{text} is an end of two links", "use another interface")
        taken.add(end)
        return end


def _merged(*layers: Mapping[str, str]) -> dict[str, str]:
    result: dict[str, str] = {}
    for layer in layers:
        result |= layer
    return result


def _is_ipv4(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


def to_json(topology: Topology) -> bytes:
    """Return the topology as `from_json` reads it: what a runner in another kernel is given."""
    return msgspec.json.encode(topology)


def from_json(data: bytes) -> Topology:
    """Return what `to_json` wrote."""
    return msgspec.json.decode(data, type=Topology)
