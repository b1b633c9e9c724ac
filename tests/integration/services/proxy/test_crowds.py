"""Ten thousand idle connections: their cost for the proxy, and for active connections."""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterator
from typing import Final

import msgspec
import pytest

from netorch.services.proxy import limits
from netorch.state.daemons.services.proxy import ProxyEndpoint, ProxyListener
from tests.integration.services.proxy.stand import ENDPOINTS, ProxyStand, everything
from tests.rig.services.process import LOOPBACK, service_process
from tests.rig.services.upstreams import Recorder
from tests.rig.world import wait_for

GET: Final = b"GET /bbb/k HTTP/1.1\r\nHost: s3.amazonaws.com\r\nConnection: close\r\n\r\n"
IDLE: Final = 10_000
VPCS: Final = 8
OF_A_CONNECTION: Final = 16 << 10  # bytes of memory that an idle connection takes at most


@pytest.fixture
def own(behind: Recorder) -> Iterator[ProxyStand]:
    """Return a stand with its own process, and as many descriptors as possible."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with service_process() as process:
        stand = ProxyStand(process, behind.url)
        stand.serve()
        yield stand


def serve(stand: ProxyStand, upstream: str, letter: str) -> None:
    """Put an endpoint of one more VPC."""
    endpoint = ProxyEndpoint(
        id=f"vpce-{letter}", vpc=f"vpc-{letter}", service="s3", hosts=("s3.amazonaws.com",), prefixes=(), upstream=upstream
    )
    stand.daemon.put(endpoint, ProxyListener(ifname=f"vrf-{letter}", endpoint=endpoint.id))


def test_ten_thousand_idle_connections_take_bounded_memory_and_nobodys_place(own: ProxyStand, behind: Recorder) -> None:
    letters = [f"idle{number}" for number in range(VPCS)]
    for letter in letters:
        serve(own, behind.url, letter)
    assert own.ask(GET).endswith(b"ok")
    before = own.daemon.memory()
    ports = [own.daemon.ports[f"vrf-{letter}"][0] for letter in letters]
    idle = [socket.create_connection((LOOPBACK, ports[at % VPCS])) for at in range(IDLE)]

    def settled() -> dict[str, int]:
        counted = {id: found.get("connections", 0) for id, found in own.daemon.counts().items()}
        resets = sum(found.get("reset", 0) for found in own.daemon.counts().values())
        return counted if sum(counted.values()) + resets == IDLE else {}

    there = wait_for(settled, "all connections to be taken or reset")
    assert sum(there.values()) == limits.CONNECTIONS
    assert max(there.values()) <= limits.CONNECTIONS_OF_VPC
    for letter in ("a", "b", letters[0]):
        assert own.ask(GET, letter).endswith(b"ok")
    assert own.daemon.memory() - before < limits.CONNECTIONS * OF_A_CONNECTION
    for sock in idle:
        sock.close()


def test_idle_connections_of_one_vpc_by_all_its_endpoints_take_nothing_from_another(own: ProxyStand) -> None:
    one = msgspec.structs.replace(own.endpoint("a"), id="vpce-more")
    own.daemon.put(one, ProxyListener(ifname="vrf-more", endpoint=one.id))
    idle = [own.connect(("a", "more")[at % 2]) for at in range(limits.CONNECTIONS_OF_VPC + 500)]
    for letter in ("a", "b", "more"):
        assert own.ask(GET, letter).endswith(b"ok")
    assert everything(idle[0]) == b""
    found = own.daemon.counts()
    assert sum(found[id].get("connections", 0) for id in (ENDPOINTS["a"], one.id)) <= limits.CONNECTIONS_OF_VPC
    for sock in idle:
        sock.close()
