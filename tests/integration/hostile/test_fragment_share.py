"""A port's share of the fragments of all VPCs on a host, with limits that a slow machine can reach."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator

import pytest
from scapy.layers.inet6 import IPv6ExtHdrFragment
from scapy.packet import Raw

from netorch.model.security import UDP
from policy import skeleton
from policy.skeleton import FRAGMENTS_PER_S
from tests.integration.hostile.test_shares import EVIL, MEMBERS, OPEN
from tests.rig.crafted import piece
from tests.rig.packets import PATIENCE_S
from tests.rig.policed import CLIENT, NEAR, PASSED, PATHS, Policed, address, cloud, ip, pieces, policed, udp, vpc
from tests.rig.world import wait_for

pytestmark = [pytest.mark.root, pytest.mark.slow]

_idents = itertools.count(1)


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Policed]:
    """Two VPCs with the same addresses, in which a port may send a hundred fragments at once, and a hundred a second."""
    text = skeleton.OVERLAY_INET.replace(f"{FRAGMENTS_PER_S}/second burst {FRAGMENTS_PER_S} ", "100/second burst 100 ")
    assert text != skeleton.OVERLAY_INET
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(skeleton, "OVERLAY_INET", text)
        vpcs = [vpc(name, OPEN, MEMBERS) for name in ("acme", "globex")]
        with policed(tmp_path_factory.mktemp("strict"), cloud(*vpcs)) as lab:
            yield lab


@pytest.mark.parametrize(("server", "version"), PATHS)
@pytest.mark.parametrize("offset", [0, 1400])
def test_fragments_beyond_a_ports_share_are_refused_and_counted_and_no_other_ports(
    strict: Policed, server: str, version: int, offset: int
) -> None:
    """Both first and later fragments."""
    before = strict.counters()["fragments"]
    source, target = address(EVIL, version), address(server, version)
    many = [piece(source, target, bytes(64), offset=offset, more=True, ident=next(_idents), protocol=UDP) for _ in range(500)]
    strict.emit(EVIL, many)
    wait_for(lambda: strict.counters()["fragments"] > before + 100, "the fragments beyond the share to be counted")
    needle = os.urandom(16)
    listener = strict.listener(server)
    strict.emit(CLIENT, pieces(udp(CLIENT, server, 6000, version=version) / Raw(needle * 200)))
    assert listener.hears(needle, within_s=PATIENCE_S)


def test_a_whole_packet_with_a_fragment_header_takes_no_share(strict: Policed) -> None:
    before = strict.counters()["fragments"]
    atomic = ip(CLIENT, NEAR, 6) / IPv6ExtHdrFragment(id=5) / udp(CLIENT, NEAR, 6000, version=6).payload
    strict.emit(CLIENT, [bytes(atomic)] * 300)
    large = udp(CLIENT, NEAR, 6000, version=6) / Raw(bytes(3000))
    assert strict.verdict(CLIENT, NEAR, large, pieces) == PASSED
    assert strict.counters()["fragments"] == before
