"""Model, kernels and live packets agree on packets to the internet, from the internet, and back into VPCs by the outside."""

from __future__ import annotations

from contextlib import closing

import pytest

from netorch.drivers.linux import LinuxKernel
from netorch.lab.wiring import in_node
from netorch.state.base import OUTSIDE
from netorch.state.op import Delete
from netorch.state.tc import EGRESS, TcFilter
from netorch.store import open_store
from netorch.trace.codes import Code
from netorch.trace.way import Place
from tests.integration.edges.conftest import PUBLIC
from tests.rig.outskirts import EDGES, SERVER, Outskirts

pytestmark = pytest.mark.root

ONE, OTHER = PUBLIC["a/one"], PUBLIC["b/one"]


@pytest.mark.parametrize("service", ["icmp", "tcp/80", "udp/53", "47"])
@pytest.mark.parametrize(
    ("source", "destination"),
    [("a/one", SERVER), ("b/one", SERVER), (SERVER, "a/one"), (SERVER, OTHER), ("a/one", OTHER), ("b/one", PUBLIC["a/two"])],
)
def test_model_kernel_and_live_packet_agree(outskirts: Outskirts, source: str, destination: str, service: str) -> None:
    found = outskirts.traced(source, destination, service)
    assert (found.disagreement, found.kernel_problem, found.live.why_not) == ("", "", "")
    assert (found.verdict.code, found.live.arrived, found.reachable) == (None, True, True)
    if service == "icmp":
        assert found.live.answered


@pytest.mark.parametrize(
    ("source", "destination", "code"),
    [
        ("a/mute", SERVER, Code.IGW_PUBLIC_IP_ASSOCIATION_FOR_EGRESS),
        ("a/one", "192.168.1.1", Code.IGW_DESTINATION_ADDRESS_NOT_IN_RFC1918_EGRESS),
        ("a/one", "198.51.100.99", Code.IGW_PRIVATE_IP_ASSOCIATION_FOR_INGRESS),
    ],
)
def test_a_packet_that_does_not_get_through_is_found_by_all_three(
    outskirts: Outskirts, source: str, destination: str, code: Code
) -> None:
    found = outskirts.traced(source, destination)
    assert (found.disagreement, found.kernel_problem, found.live.why_not) == ("", "", "")
    assert (found.verdict.code, found.live.arrived, found.reachable) == (code, False, False)


def test_a_source_that_cannot_be_outside_is_told_and_not_sent(outskirts: Outskirts) -> None:
    found = outskirts.traced(OTHER, "a/one")
    assert (found.disagreement, found.verdict.code, found.live.arrived) == ("", Code.IGW_REJECTS_SPOOFED_TRAFFIC, None)
    assert found.live.why_not == "the packet ends before the point at which probes enter e1"


def test_an_edge_that_has_drifted_is_named(outskirts: Outskirts) -> None:
    world = outskirts.world
    edge = outskirts.traced("a/one", SERVER).model
    assert edge is not None
    name = edge.there.host
    assert name in EDGES
    world.stop_agent(name)
    try:
        with in_node(name):
            kernel = LinuxKernel(name)
        with closing(kernel):
            private = f"{world.eni('a/one').address}/32"
            vni = world.eni("a/one").vni
            found = [obj for obj in kernel.dump().values() if isinstance(obj, TcFilter) and (obj.hook, obj.vni) == (EGRESS, vni)]
            kernel.apply([Delete(obj) for obj in found if getattr(obj.match, "src", "") == private])
        said = outskirts.traced("a/one", SERVER)
        assert said.disagreement == "model says reachable, kernel says unreachable, probe says unreachable"
        assert (said.verdict.code, said.reachable) == (Code.IGW_PUBLIC_IP_ASSOCIATION_FOR_EGRESS, False)
        assert said.kernel is not None
        assert (said.kernel.there.host, said.kernel.there.hops[-1].place) == (name, Place.GATEWAY)
    finally:
        world.start_agents(name)
        world.settle()
    assert outskirts.traced("a/one", SERVER).reachable


def test_an_edges_namespaces_do_not_differ_from_what_its_agent_would_make(outskirts: Outskirts) -> None:
    from netorch.diagnose.host.drift import find_drift

    for edge in EDGES:
        with closing(open_store(str(outskirts.world.store_path))) as store, in_node(edge):
            found = find_drift(edge, store)
        assert ([op for op in found.operations if op.obj.netns in (OUTSIDE, "overlay")], found.foreign) == ([], ())
