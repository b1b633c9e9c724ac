"""What a lab consists of: nodes, links, and what each is for. `netorch.lab.containerlab` reads it from a file."""

from __future__ import annotations

import re
from enum import Enum

import msgspec

DEFAULT_MTU = 9500  # containerlab's
LAB = "host"  # the end of a link that lies where the lab is built: this machine, or the lab kernel
MANAGEMENT = "mgmt-net"  # the bridge that stands for containerlab's management network


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
    """A host of the lab with everything that it inherits. A bridge's links are ports of a bridge that has the node's name."""

    name: str
    bridge: bool = False
    image: str = ""
    role: NodeRole | None = None
    underlay: str = ""
    pair: str = ""
    uplink: str = ""  # as `netorch host create` takes it
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
    """One end of a link. The node LAB is no node of the lab."""

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
    """A lab as declared. `ignored` are the paths of the fields that containerlab would have heeded."""

    name: str
    nodes: tuple[Node, ...]
    links: tuple[Link, ...] = ()
    ignored: tuple[str, ...] = ()


def env_name(label: str) -> str:
    """Return the environment variable by which containerlab hands a label to the node's processes."""
    return "CLAB_LABEL_" + re.sub(r"[^A-Za-z0-9_]+", "", re.sub(r"[-+./]", "_", label)).upper()


def to_json(topology: Topology) -> bytes:
    """Return the topology as `from_json` reads it: what a runner in another kernel is given."""
    return msgspec.json.encode(topology)


def from_json(data: bytes) -> Topology:
    """Return what `to_json` wrote."""
    return msgspec.json.decode(data, type=Topology)
