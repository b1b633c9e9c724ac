"""A VPC whose subnets a and b reach each other through an appliance on the same or another host, and talk between instances.

a1 hv1, b1 hv1, b2 hv2      in the subnets a and b, each with its own route table
fw1 hv1, fw2 hv2, fw3 hv3   appliances, in a subnet with the main table
"""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from netorch.drivers import netns
from netorch.model.addr import packed, version_of
from tests.rig.packets import PacketListener
from tests.rig.world import World

VNI = 20000
APPLIANCES = ("fw1", "fw2", "fw3")
KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
_PORT = 7007
_TO = {"a": ("10.44.2.0/24", "fd00:44:0:102::/64"), "b": ("10.44.1.0/24", "fd00:44:0:101::/64")}  # the other subnet's range
_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
_SYSCTLS = (
    "net.ipv4.ip_forward=1",
    "net.ipv6.conf.all.forwarding=1",
    *(f"net.ipv4.conf.{which}.{name}=0" for which in ("all", "eth0") for name in ("rp_filter", "send_redirects")),
)


def cloud(through: str = "", *, check: bool = True) -> str:
    """Return a vpc.yaml in which a and b reach each other through an appliance, with or without source/destination check."""
    tables = "".join(
        f"\n  - {{name: {name}, routes: [{', '.join(f'{dst} via eni {through}' for dst in to) if through else ''}]}}"
        for name, to in _TO.items()
    )
    boxes = "".join(
        f"\n  - {{name: {name}, subnet: fw, host: hv{n}, address: 10.44.9.{n + 3}, ipv6_address: 'fd00:44:0:109::{n + 3}'"
        f"{', source_dest_check: false' if name == through and not check else ''}}}"
        for n, name in enumerate(APPLIANCES, 1)
    )
    return f"""
vpcs:
- name: acme
  vni: {VNI}
  cidrs: [10.44.0.0/16]
  ipv6_cidrs: ['fd00:44:0:100::/56']
  route_tables:{tables}
  subnets:
  - {{name: a, cidr: 10.44.1.0/24, ipv6_cidr: 'fd00:44:0:101::/64', route_table: a}}
  - {{name: b, cidr: 10.44.2.0/24, ipv6_cidr: 'fd00:44:0:102::/64', route_table: b}}
  - {{name: fw, cidr: 10.44.9.0/24, ipv6_cidr: 'fd00:44:0:109::/64'}}
  instances:
  - {{name: a1, subnet: a, host: hv1, address: 10.44.1.4, ipv6_address: 'fd00:44:0:101::4'}}
  - {{name: b1, subnet: b, host: hv1, address: 10.44.2.4, ipv6_address: 'fd00:44:0:102::4'}}
  - {{name: b2, subnet: b, host: hv2, address: 10.44.2.5, ipv6_address: 'fd00:44:0:102::5'}}{boxes}
"""


def lead_through(world: World, appliance: str = "", *, check: bool = True) -> None:
    """Apply the vpc.yaml of `cloud` and wait for the agents, all of them threads. The appliances forward from then on."""
    world.apply(cloud(appliance, check=check))
    world.settle()
    for name in APPLIANCES:
        forward(world.instance(f"acme/{name}").id)


def address(world: World, name: str, version: int) -> str:
    """Return an instance's address."""
    eni = world.eni(f"acme/{name}")
    return eni.address if version == 4 else eni.ipv6_address


def talks(
    world: World, source: str, destination: str, kind: str = "tcp", version: int = 4, *, size: int = 7, timeout_s: float = 5.0
) -> bool:
    """Return whether one instance gets the echo of `size` bytes from another."""
    near, far = world.instance(f"acme/{source}").id, world.instance(f"acme/{destination}").id
    to = address(world, destination, version)
    with echo_server(far, to, _PORT, KINDS[kind]):
        return says(near, to, _PORT, KINDS[kind], size, timeout_s)


def forward(instance: str) -> None:
    """Let an instance forward packets; `instance` is the name of its namespace."""
    subprocess.run(["ip", "netns", "exec", instance, "sysctl", "-qw", *_SYSCTLS], check=True, capture_output=True)


def socket_in(instance: str, version: int, kind: socket.SocketKind) -> socket.socket:
    """Return a socket in an instance's namespace."""
    descriptor = netns.find(instance)
    with netns.inside(descriptor):
        found = socket.socket(_FAMILY[version], kind)
    os.close(descriptor)
    return found


def passed(listener: PacketListener, one: str, other: str) -> tuple[int, int]:
    """Return how many frames the listener took since the last call: from `one` to `other`, and back."""
    there, back = packed(one) + packed(other), packed(other) + packed(one)
    frames = listener.take()
    return sum(there in frame for frame in frames), sum(back in frame for frame in frames)


@contextmanager
def echo_server(instance: str, address: str, port: int, kind: socket.SocketKind) -> Iterator[None]:
    """Echo everything that arrives at a port of an instance."""
    with socket_in(instance, version_of(address), kind) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((address, port))
        if kind is socket.SOCK_STREAM:
            server.listen()
        threading.Thread(target=_serve, args=(server,), daemon=True).start()
        try:
            yield
        finally:
            with suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)


def _serve(server: socket.socket) -> None:
    with suppress(OSError):
        while True:
            if server.type is socket.SOCK_STREAM:
                with server.accept()[0] as accepted:
                    while data := accepted.recv(4096):
                        accepted.sendall(data)
                continue
            data, sender = server.recvfrom(4096)
            if not sender:  # the socket was shut down
                return
            server.sendto(data, sender)


def says(instance: str, address: str, port: int, kind: socket.SocketKind, size: int, timeout_s: float) -> bool:
    """Return whether an echo server returns all `size` bytes to an instance."""
    said, heard = bytes(size), b""
    with socket_in(instance, version_of(address), kind) as client:
        client.settimeout(timeout_s)
        with suppress(OSError):
            client.connect((address, port))
            client.sendall(said)
            while len(heard) < size and (data := client.recv(size)):
                heard += data
    return heard == said
