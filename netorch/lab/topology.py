"""The parts of a lab: nodes, links, and the role of each node. `netorch.lab.containerlab` reads it from a file."""

from __future__ import annotations

import re
from enum import Enum

import msgspec

DEFAULT_MTU = 9500  # containerlab's
LAB = "host"  # an end of a link in the place where the lab is built: this machine, or the lab kernel
MANAGEMENT = "mgmt-net"  # the bridge in place of containerlab's management network


class NodeRole(Enum):
    """The role of a node; a node without a role runs nothing of netorch."""

    HYPERVISOR = "hypervisor"
    EDGE = "edge"
    ROUTER = "router"
    CONSOLE = "console"

    @property
    def has_agent(self) -> bool:
        """Return whether netorch runs on it."""
        return self in (NodeRole.HYPERVISOR, NodeRole.EDGE)


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """A host of the lab with all inherited fields. A bridge's links are ports of a bridge with the node's name."""

    name: str
    bridge: bool = False
    image: str = ""
    role: NodeRole | None = None
    underlay: str = ""
    pair: str = ""
    uplink: str = ""  # in the form of `netorch host create`
    asn: int = 0
    gateway_asn: int = 0
    labels: dict[str, str] = {}
    env: dict[str, str] = {}
    sysctls: dict[str, str] = {}
    exec: tuple[tuple[str, ...], ...] = ()

    @property
    def has_agent(self) -> bool:
        """Return whether netorch runs on it."""
        return self.role is not None and self.role.has_agent


class Endpoint(msgspec.Struct, frozen=True):
    """One end of a link. LAB is not a node of the lab."""

    node: str
    interface: str
    mac: str = ""


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """A cable; without the end `b` an interface that leads nowhere."""

    a: Endpoint
    b: Endpoint | None = None
    mtu: int = DEFAULT_MTU

    @property
    def ends(self) -> tuple[Endpoint, ...]:
        """Return its ends, one or two."""
        return (self.a,) if self.b is None else (self.a, self.b)


class Topology(msgspec.Struct, frozen=True, kw_only=True):
    """A lab as declared. `ignored` are the paths of fields that only containerlab uses."""

    name: str
    nodes: tuple[Node, ...]
    links: tuple[Link, ...] = ()
    ignored: tuple[str, ...] = ()

    @property
    def console(self) -> Node | None:
        """Return the operator's node: commands that name no node run there, and its settings name the store of the hosts."""
        return next((node for node in self.nodes if node.role is NodeRole.CONSOLE), None)


def env_name(label: str) -> str:
    """Return the environment variable by which containerlab passes a label to the node's processes."""
    return "CLAB_LABEL_" + re.sub(r"[^A-Za-z0-9_]+", "", re.sub(r"[-+./]", "_", label)).upper()


def to_json(topology: Topology) -> bytes:
    """Return the topology in the form that `from_json` reads: the input of a runner in another kernel."""
    return msgspec.json.encode(topology)


def from_json(data: bytes) -> Topology:
    """Return the topology written by `to_json`."""
    return msgspec.json.decode(data, type=Topology)
