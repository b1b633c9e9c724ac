"""A TCP connection that flowtables forward, and what a host's flowtable forwards."""

from __future__ import annotations

import os

import nftables
from scapy.layers.inet import TCP
from scapy.packet import Packet, Raw

from netorch.drivers import netns
from tests.integration.policy.test_connections import TRACKED
from tests.rig.arena import offloaded_connections
from tests.rig.policed import (
    CLIENT,
    DB_FAR,
    DB_NEAR,
    FAR,
    NEAR,
    PASSED,
    Policed,
    Talk,
    ip,
)
from tests.rig.world import wait_for

HOSTS = {CLIENT: "hv1", NEAR: "hv1", DB_NEAR: "hv1", FAR: "hv2", DB_FAR: "hv2"}


def offloaded(lab: Policed, host: str, port: int) -> bool:
    """Return whether a host's flowtable forwards a connection with this client's port."""
    return any(one.original.source_port == port for one in offloaded_connections(lab.world.hosts[host].overlay))


def is_let_go(lab: Policed, host: str, port: int) -> None:
    """Wait until a host's connection is offloaded no more: Linux empties a deleted flowtable a little later, in a work queue.

    Source: net/netfilter/nf_tables_api.c, nf_tables_trans_destroy_work.
    """
    wait_for(lambda: not offloaded(lab, host, port), "the flowtable to let the connection go")


def nft(namespace: str, command: str) -> tuple[int, str]:
    """Run a command of nft as another program would."""
    fd = netns.find(namespace)
    with netns.inside(fd):
        code, _, error = nftables.Nftables().cmd(command)
    os.close(fd)
    return code, error


class Flow(Talk):
    """A TCP connection of the client that flowtables forward."""

    def __init__(self, lab: Policed, server: str, version: int = 4, client: str = CLIENT, port: int = TRACKED) -> None:
        super().__init__(lab, client, server, port, version)
        self.lab, self.client, self.server, self.version = lab, client, server, version
        self.port = self._ports[client]
        self.opens()
        self.is_offloaded()

    def exchanges(self) -> None:
        """Send a segment in each direction."""
        assert [self.says(self.client, "PA"), self.says(self.server, "PA")] == [PASSED] * 2

    def is_offloaded(self) -> None:
        """Exchange segments until the flowtables of all hosts forward them, and then some more."""

        def on_all_hosts() -> bool:
            self.exchanges()
            return all(offloaded(self.lab, HOSTS[end], self.port) for end in (self.client, self.server))

        wait_for(on_all_hosts, "the connection to be offloaded")
        self.exchanges()

    def segment(self, payload: bytes) -> Packet:
        """Return a segment of the client, outside the connection's sequence, which no router may cut."""
        header = TCP(sport=self.port, dport=TRACKED, flags="PA", seq=self._next[self.client], ack=self._next[self.server])
        network = ip(self.client, self.server, self.version)
        if self.version == 4:
            network.flags = "DF"
        return network / header / Raw(payload)

    def syn(self, speaker: str) -> str:
        """Return the verdict on a SYN between the ports of the connection."""
        other = self.server if speaker == self.client else self.client
        header = TCP(sport=self._ports[speaker], dport=self._ports[other], flags="S", seq=77)
        return self.lab.verdict(speaker, other, ip(speaker, other, self.version) / header)
