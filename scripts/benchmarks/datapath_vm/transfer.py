"""TCP between the two instances through the kernel's own stacks: plain VXLAN against netorch, in turns.

Linux gives a new VXLAN device GRO, which merges again what comes merged from the underlay's device, by way of another queue.
netorch switches it off. So plain VXLAN is measured with it, as Linux makes it, and without it.
"""

from __future__ import annotations

import os
import socket
import threading
import time

from datapath_vm.topologies import PAIRS, SIDES, VNI, Site, build_plain, clear, ip
from netorch.drivers import ethtool, netns
from netorch.state.link import Gro
from netorch.state.op import Create

PORT = 5001
BYTES = 256 << 20
CHUNK = 1 << 20
ROUNDS = 3  # each builds both
TRANSFERS = 3  # of each build; the fastest counts
PLAIN, PLAIN_WITHOUT_GRO, NETORCH = "plain", "plain without GRO", "netorch"


def measure_transfers() -> dict[str, float]:
    """Return the seconds of the fastest transfer through each of PLAIN, PLAIN_WITHOUT_GRO and NETORCH."""
    best: dict[str, float] = {}
    for _ in range(ROUNDS):
        for name in (PLAIN, PLAIN_WITHOUT_GRO, NETORCH):
            clear()
            site = None
            if name == NETORCH:
                site = Site()
            else:
                build_plain()
                _give_addresses()
            if name == PLAIN_WITHOUT_GRO:
                _without_gro()
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


def _without_gro() -> None:
    for side in SIDES:
        descriptor = netns.find(side.host)
        try:
            refused = ethtool.apply(descriptor, [Create(Gro(vni=VNI, ifname="vx0", on=False))])
        finally:
            os.close(descriptor)
        if refused:
            raise RuntimeError(f"datapath: {refused[0].error}")


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
