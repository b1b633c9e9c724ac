"""An instance that forwards packets of others, and what passes it; connections between instances that may pass one."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from netorch.drivers import netns
from netorch.model.addr import packed, version_of
from tests.rig.packets import Ear

_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
_SYSCTLS = (
    "net.ipv4.ip_forward=1",
    "net.ipv6.conf.all.forwarding=1",
    *(f"net.ipv4.conf.{which}.{name}=0" for which in ("all", "eth0") for name in ("rp_filter", "send_redirects")),
)


def forward(instance: str) -> None:
    """Let an instance forward packets, whose namespace has the name `instance`."""
    subprocess.run(["ip", "netns", "exec", instance, "sysctl", "-qw", *_SYSCTLS], check=True, capture_output=True)


def socket_in(instance: str, version: int, kind: socket.SocketKind) -> socket.socket:
    """Return a socket in an instance's namespace."""
    descriptor = netns.find(instance)
    with netns.inside(descriptor):
        found = socket.socket(_FAMILY[version], kind)
    os.close(descriptor)
    return found


def passed(ear: Ear, one: str, other: str) -> tuple[int, int]:
    """Return how many frames have come or gone since the last call, by direction."""
    there, back = packed(one) + packed(other), packed(other) + packed(one)
    frames = ear.take()
    return sum(there in frame for frame in frames), sum(back in frame for frame in frames)


@contextmanager
def echo_server(instance: str, address: str, port: int, kind: socket.SocketKind) -> Iterator[None]:
    """Send back what arrives at a port of an instance."""
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
            if not sender:  # it was shut down
                return
            server.sendto(data, sender)


def says(instance: str, address: str, port: int, kind: socket.SocketKind, timeout_s: float) -> bool:
    """Return whether an echo server answers an instance."""
    with socket_in(instance, version_of(address), kind) as client:
        client.settimeout(timeout_s)
        with suppress(OSError):
            client.connect((address, port))
            client.send(b"netorch")
            return client.recv(4096) == b"netorch"
    return False
