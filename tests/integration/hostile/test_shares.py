"""Resources that all VPCs of a host share, and that one VPC may not use up."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from scapy.layers.inet import ICMP
from scapy.layers.inet6 import ICMPv6EchoRequest
from scapy.packet import Raw

from netorch.drivers import netns
from netorch.model.security import UDP
from netorch.state.sysctls import FRAGMENT_MEMORY, FRAGMENT_S
from tests.rig.crafted import piece
from tests.rig.packets import PATIENCE_S
from tests.rig.policed import (
    CLIENT,
    NEAR,
    NET4,
    NET6,
    PASSED,
    PATHS,
    Policed,
    address,
    cloud,
    ip,
    pieces,
    policed,
    udp,
    vpc,
)
from tests.rig.world import wait_for

pytestmark = [pytest.mark.root, pytest.mark.slow]

OPEN = f"{{name: open, ingress: [{{protocol: all, source: {NET4}}}, {{protocol: all, source: '{NET6}'}}]}}"
MEMBERS = {"client": "open", "near": "open", "far": "open"}
EVIL = "globex/client"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Policed]:
    """Two VPCs on the same hosts, with the same addresses."""
    with policed(tmp_path_factory.mktemp("shares"), cloud(*(vpc(name, OPEN, MEMBERS) for name in ("acme", "globex")))) as lab:
        yield lab


def firsts(server: str, version: int, size: int, count: int) -> list[bytes]:
    """Return first fragments of datagrams whose other fragments never come."""
    source, target, body = address(EVIL, version), address(server, version), bytes(size)
    return [
        piece(source, target, body, more=True, ident=ident, protocol=UDP) for ident in range(40_000, 40_000 + count)
    ]  # identifications unlike those of `pieces`


def held(host: str, version: int) -> int:
    """Return how many bytes of fragments a host's kernel holds."""
    fd = netns.find(f"netorch-{host}")
    try:
        with netns.inside(fd):
            file, word = ("sockstat", "FRAG:") if version == 4 else ("sockstat6", "FRAG6:")
            text = Path(f"/proc/thread-self/net/{file}").read_text()
    finally:
        os.close(fd)
    return int(next(line for line in text.splitlines() if line.startswith(word)).split()[-1])


def ping_in_fragments(lab: Policed, source: str, server: str, version: int) -> str:
    request = ICMP(type=8, id=int.from_bytes(os.urandom(2), "big")) if version == 4 else ICMPv6EchoRequest(id=7)
    return lab.verdict(source, server, ip(source, server, version) / request / Raw(bytes(3000)), pieces)


@pytest.mark.parametrize(("server", "version"), PATHS)
def test_fragments_that_never_become_whole_cost_their_own_vpc_only(lab: Policed, server: str, version: int) -> None:
    evil = server.replace("acme/", "globex/")
    lab.emit(EVIL, firsts(evil, version, 64 if server == NEAR else 1400, 20_000))
    for place in ("near", "far"):
        assert ping_in_fragments(lab, CLIENT, f"acme/{place}", version) == PASSED
    assert max(held(host, version) for host in ("hv1", "hv2")) < FRAGMENT_MEMORY / 5
    wait_for(lambda: ping_in_fragments(lab, EVIL, evil, version) == PASSED, "its share again", 10 * FRAGMENT_S)


def test_many_large_datagrams_pass(lab: Policed) -> None:
    """Some 30 Mbit/s in 60 kB datagrams, within the share."""
    for _ in range(20):
        assert ping_in_fragments(lab, CLIENT, "acme/far", 4) == PASSED


@pytest.mark.parametrize("version", [4, 6])
def test_a_router_complains_to_one_instance_however_much_it_complains_to_another(lab: Policed, version: int) -> None:
    """All namespaces share the kernel's limit of a thousand errors a second, fifty at once."""

    def lost(sender: str) -> bytes:
        packet = udp(sender, NEAR, 6001, version=version)
        packet.dst = {4: "10.44.99.9", 6: "fd00:44:0:1ff::9"}[version]
        return bytes(packet)

    listener, mine = lab.listener(CLIENT), lost(CLIENT)
    lab.emit(EVIL, [lost(EVIL)] * 3000)
    lab.emit(CLIENT, [mine])
    assert listener.hears(bytes(4) + mine, within_s=PATIENCE_S)  # as an error quotes it, after four unused bytes
