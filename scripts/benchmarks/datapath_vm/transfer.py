"""TCP between the two instances through the kernel's own stacks: plain VXLAN against netorch, in turns."""

from __future__ import annotations

import os
import socket
import threading
import time

from datapath_vm.topologies import PAIRS, SIDES, Site, build_plain, clear, ip
from netorch.drivers import netns

PORT = 5001
BYTES = 256 << 20
CHUNK = 1 << 20
ROUNDS = 3  # each builds both
TRANSFERS = 3  # of each build; the fastest counts


def measure_transfers() -> dict[str, float]:
    """Return the seconds of the fastest transfer through plain VXLAN and through netorch."""
    best: dict[str, float] = {}
    for _ in range(ROUNDS):
        for name in ("plain", "netorch"):
            clear()
            site = None
            if name == "plain":
                build_plain()
                _give_addresses()
            else:
                site = Site()
            took = min(_transfer() for _ in range(TRANSFERS))
            best[name] = min(best.get(name, took), took)
            if site is not None:
                site.close()
    clear()
    return best


def _give_addresses() -> None:
    for here, there in PAIRS:
        ip(
            here.instance,
            f"addr add {here.address}/16 dev eth0",
            f"neigh replace {there.address} lladdr {there.mac} dev eth0 nud permanent",
        )


def _transfer() -> float:
    """Return the seconds that the receiver takes for all bytes of one connection."""
    sender, receiver = SIDES
    with _socket_in(receiver.instance) as server, _socket_in(sender.instance) as client:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((receiver.address, PORT))
        server.listen()
        client.connect((receiver.address, PORT))
        accepted, _ = server.accept()
        with accepted:
            thread = threading.Thread(target=_send, args=(client,), daemon=True)
            start = time.perf_counter()
            thread.start()
            buffer, left = bytearray(CHUNK), BYTES
            while left:
                got = accepted.recv_into(buffer, min(left, CHUNK))
                if not got:
                    raise RuntimeError(f"datapath: the connection ended {left} bytes early")
                left -= got
            took = time.perf_counter() - start
            thread.join()
    return took


def _socket_in(namespace: str) -> socket.socket:
    descriptor = netns.find(namespace)
    try:
        with netns.inside(descriptor):
            return socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    finally:
        os.close(descriptor)


def _send(client: socket.socket) -> None:
    piece = bytes(CHUNK)
    for _ in range(BYTES // CHUNK):
        client.sendall(piece)
