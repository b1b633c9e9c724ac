"""The namespaces of a lab's nodes, and their connections: cables, bridges, interfaces that lead nowhere."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import socket
import struct
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from netorch.drivers import netns
from netorch.errors import LabError
from netorch.lab.kernel import SYSTEM_PATH
from netorch.lab.topology import LAB, Endpoint, Node, Topology

_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1  # linux/sockios.h, linux/if.h


@contextmanager
def in_node(name: str) -> Iterator[None]:
    """Enter a node's namespace with this thread and the processes that it starts."""
    descriptor = netns.find(name)
    try:
        with netns.inside(descriptor):
            yield
    finally:
        os.close(descriptor)


def make_namespaces(topology: Topology) -> None:
    """Create a namespace for each node, with the node's sysctls. Raises LabError."""
    for node in topology.nodes:
        os.close(netns.make(node.name))
        with in_node(node.name):
            for key, value in node.sysctls.items():
                _set_sysctl(topology, node, key, value)


def _set_sysctl(topology: Topology, node: Node, key: str, value: str) -> None:
    # As sysctl(8): '.' separates, and '/' stands for a '.' in the name of an interface. '..' would leave the directory.
    path = Path("/proc/sys", *(part.replace("/", ".") for part in key.split(".")))
    try:
        if ".." in path.parts:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        path.write_text(value)
    except OSError as error:
        what = f"the sysctl {key} = {value} cannot be set: {error.strerror}"
        raise LabError(f"lab {topology.name}: {node.name}: {what}; correct sysctls in the topology file") from error


def bring_up(topology: Topology) -> None:
    """Set each node's loopback and links up. A veth peer cannot be created up: at that time it has no other end yet."""
    for node in topology.nodes:
        bridge = [node.name] if node.bridge else []
        with in_node(node.name):
            _set_up("lo", *_interfaces(topology, node.name), *bridge)
    _set_up(*_interfaces(topology, LAB))


def _interfaces(topology: Topology, node: str) -> list[str]:
    return [end.interface for link in topology.links for end in link.ends if end.node == node]


def _set_up(*interfaces: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for interface in interfaces:
            request = struct.pack("16sH22x", interface.encode(), 0)
            flags = struct.unpack_from("H", fcntl.ioctl(sock, _SIOCGIFFLAGS, request), 16)[0]
            fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sH22x", interface.encode(), flags | _IFF_UP))


def link_batch(topology: Topology) -> str:
    """Return bridges and links for `ip -batch`: each end is created in its namespace."""
    lines = [f"link add name {node.name} netns {node.name} type bridge\n" for node in topology.nodes if node.bridge]
    for link in topology.links:
        if link.b is None:
            lines.append(f"link add {_born(link.a, link.mtu)} type dummy\n")
        else:
            lines.append(f"link add {_born(link.a, link.mtu)} type veth peer {_born(link.b, link.mtu)}\n")
    return "".join(lines)


def _born(end: Endpoint, mtu: int) -> str:
    where = "" if end.node == LAB else f" netns {end.node}"
    return f"name {end.interface}{where} mtu {mtu}" + (f" address {end.mac}" if end.mac else "")


def port_batch(topology: Topology, bridge: str) -> str:
    """Return the commands that make a bridge's interfaces its ports, for `ip -batch` in its namespace."""
    return "".join(f"link set dev {interface} master {bridge}\n" for interface in _interfaces(topology, bridge))


def make_links(topology: Topology) -> None:
    """Create bridges and links, still down. Raises LabError."""
    _ip(topology, [], link_batch(topology))
    for node in topology.nodes:
        if node.bridge:
            _ip(topology, ["-netns", node.name], port_batch(topology, node.name))


def _ip(topology: Topology, options: Sequence[str], batch: str) -> None:
    if not batch:
        return
    ip = shutil.which("ip", path=f"{os.environ.get('PATH', '')}:{SYSTEM_PATH}")
    if ip is None:
        raise LabError(f"lab {topology.name}: the command ip is missing; apt-get install iproute2")
    done = subprocess.run([ip, *options, "-batch", "-"], input=batch, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"lab {topology.name}: the links cannot be made: {done.stderr.strip()}; see netorch doctor")


def cabled(name: str) -> set[str]:
    """Return the namespaces that have the other ends of a namespace's cables. None if there is no such namespace."""
    command = ["ip", "-netns", name, "link"]  # its JSON has numbers instead of names
    said = subprocess.run(command, env={"PATH": SYSTEM_PATH}, capture_output=True, text=True, check=False).stdout
    return set(re.findall(r" link-netns (\S+)", said))
