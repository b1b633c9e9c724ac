"""A containerlab file as written: its fields and their types, and the fields that do not apply to a network namespace.

Source: https://containerlab.dev/manual/topo-def-file/, .../nodes/ and schemas/clab.schema.json of srl-labs/containerlab.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from netorch.lab.topology import DEFAULT_MTU
from netorch.model.check.notes import Where, path_of
from netorch.spec.node import Node as Yaml

# Fields of each level that containerlab's schema allows and that do not apply to network namespaces.
IGNORED_TOP = frozenset({"prefix", "mgmt", "settings", "debug"})
# fmt: off
IGNORED_NODE = frozenset((
    "SANs", "aliases", "auto-remove", "binds", "cap-add", "certificate", "cgroupns-mode", "cmd", "components", "config", "cpu",
    "cpu-set", "credentials", "devices", "dns", "enforce-startup-config", "entrypoint", "env-files", "extras", "healthcheck",
    "image-pull-policy", "kernel", "license", "memory", "mgmt-ipv4", "mgmt-ipv6", "mgmt_ipv4", "mgmt_ipv6", "ports", "position",
    "privileged", "publish", "restart-policy", "runtime", "sandbox", "security-opt", "shm-size", "stages", "startup-config",
    "startup-delay", "suppress-startup-config", "tmpfs", "type", "ulimits", "user", "wait-for",
))
# fmt: on
IGNORED_LINK = frozenset({"vars", "labels", "ipv4", "ipv6"})
IGNORED_END = frozenset({"vars", "ipv4", "ipv6"})


class NodeText(msgspec.Struct, kw_only=True, rename="kebab"):
    """A node, or a source of inherited fields: a kind, a group, the defaults."""

    kind: str = ""
    group: str = ""
    image: str = ""
    labels: dict[str, str] = {}
    env: dict[str, str] = {}
    sysctls: dict[str, str] = {}
    network_mode: str = ""
    exec: list[str] = []


class EndText(msgspec.Struct, kw_only=True):
    """An end of a link in the extended form; the brief form, node:interface, is converted to it."""

    node: str
    interface: str = ""
    mac: str = ""


class LinkText(msgspec.Struct, kw_only=True, rename="kebab"):
    """A link in either form. `endpoint` and `host_interface` belong to links that lead out of the lab."""

    type: str = ""
    endpoints: list[EndText] = []
    endpoint: EndText | None = None
    host_interface: str = ""
    mode: str = ""
    remote: str = ""
    vni: int = 0
    dst_port: int = 0
    src_port: int = 0
    udp_port: int = 0
    mtu: int = DEFAULT_MTU


class TopologyText(msgspec.Struct, kw_only=True):
    """The field `topology`."""

    nodes: dict[str, NodeText]
    kinds: dict[str, NodeText] = {}
    groups: dict[str, NodeText] = {}
    defaults: NodeText = msgspec.field(default_factory=NodeText)
    links: list[LinkText] = []


class FileText(msgspec.Struct, kw_only=True):
    """The whole file."""

    name: str
    topology: TopologyText


def prepare(tree: Yaml) -> Iterator[str]:
    """Convert a file's tree to the types of `FileText`: remove ignored fields, and yield their paths."""
    yield from _drop(tree, IGNORED_TOP, ())
    topology = _child(tree, "topology")
    for section in ("nodes", "kinds", "groups"):
        for name, node in _children(_child(topology, section)):
            if node.value is None:  # the schema allows `node1:` alone
                node.value = {}
            yield from _prepare_node(node, ("topology", section, name))
    if defaults := _child(topology, "defaults"):
        yield from _prepare_node(defaults, ("topology", "defaults"))
    for index, link in enumerate(_items(_child(topology, "links"))):
        yield from _prepare_link(link, ("topology", "links", index))


def _prepare_node(node: Yaml, where: Where) -> Iterator[str]:
    yield from _drop(node, IGNORED_NODE, where)
    if _child(node, "image"):  # kept for use outside a lab, but a lab runs nothing from it
        yield path_of((*where, "image"))
    for name, _ in _children(_child(node, "sysctls")):
        if not name.startswith("net."):
            yield path_of((*where, "sysctls", name))
    for field in ("labels", "env", "sysctls"):
        for _, value in _children(_child(node, field)):
            if isinstance(value.value, int | float):  # includes truth values
                value.value = value.text or str(value.value)


def _prepare_link(link: Yaml, where: Where) -> Iterator[str]:
    yield from _drop(link, IGNORED_LINK, where)
    for index, end in enumerate(_items(_child(link, "endpoints"))):
        if isinstance(end.value, str):
            node, _, interface = end.value.partition(":")
            end.value = {name: Yaml(value=text, line=end.line) for name, text in (("node", node), ("interface", interface))}
        yield from _drop(end, IGNORED_END, (*where, "endpoints", index))
    if single := _child(link, "endpoint"):
        yield from _drop(single, IGNORED_END, (*where, "endpoint"))


def _drop(node: Yaml, names: frozenset[str], where: Where) -> Iterator[str]:
    if isinstance(node.value, dict):
        for name in [name for name in node.value if name in names]:
            del node.value[name]
            yield path_of((*where, name))


def _child(node: Yaml | None, name: str) -> Yaml | None:
    return node.value.get(name) if node is not None and isinstance(node.value, dict) else None


def _items(node: Yaml | None) -> list[Yaml]:
    return node.value if node is not None and isinstance(node.value, list) else []


def _children(node: Yaml | None) -> Iterator[tuple[str, Yaml]]:
    if node is not None and isinstance(node.value, dict):
        yield from node.value.items()
