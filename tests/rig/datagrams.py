"""Numbered datagrams, one each millisecond, from one instance to another, to count losses."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from netorch.drivers import netns
from netorch.drivers.netlink import SO_RCVBUFFORCE
from netorch.model.addr import version_of

UDP_PORT = 5001
_AGAIN_S = 2.0
_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}


def udp_socket(instance: str, address: str) -> socket.socket:
    """Return a UDP socket at an address of an instance; `instance` is the name of its namespace."""
    descriptor = netns.find(instance)
    with netns.inside(descriptor):
        found = socket.socket(_FAMILY[version_of(address)], socket.SOCK_DGRAM)
    os.close(descriptor)
    found.bind((address, UDP_PORT))
    found.settimeout(1.0)
    found.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 24)
    return found


@contextmanager
def talking(source: socket.socket, destination: str) -> Iterator[Callable[[], int]]:
    """Send a numbered datagram every millisecond; yield a function that returns how many were sent."""
    sent, done = 0, threading.Event()

    def send() -> None:
        nonlocal sent
        while not done.is_set():
            with suppress(OSError):  # the route is gone for a moment
                source.sendto(sent.to_bytes(4, "big"), (destination, UDP_PORT))
            sent += 1
            time.sleep(0.001)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    try:
        yield lambda: sent
    finally:
        done.set()
        thread.join()


@contextmanager
def kept_up(send: Callable[[], object]) -> Iterator[None]:
    """Call `send` now and then: connection tracking drops a flow silent for 30 s, and a slow machine is silent for longer."""
    done = threading.Event()

    def again() -> None:
        while not done.wait(_AGAIN_S):
            with suppress(OSError):
                send()

    thread = threading.Thread(target=again, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def wait_until_sent(sent: Callable[[], int], count: int) -> None:
    """Wait until `count` more datagrams are sent."""
    begin = sent()
    while sent() < begin + count:
        time.sleep(0.01)


def heard(sock: socket.socket, last: int) -> set[int]:
    """Return the numbers that have arrived, until one is above `last` or nothing arrives before the timeout."""
    found = {0}
    with suppress(TimeoutError):
        while max(found) <= last:
            found.add(int.from_bytes(sock.recv(16), "big"))
    return found
