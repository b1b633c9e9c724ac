"""Model, kernels and live packets tell the same story of packets to customers' sites, and of what comes from there."""

from __future__ import annotations

from contextlib import closing

import pytest

from netorch.diagnose.trace import Report, trace
from netorch.records.caller import Caller
from netorch.records.inventory import read_inventory
from netorch.store import open_store
from netorch.trace.codes import Code
from netorch.trace.way import Place
from tests.integration.edges.vpn.sites import PATIENCE_S, SERVER, Stage
from tests.rig.outskirts import EDGES
from tests.rig.world import wait_for

pytestmark = pytest.mark.root


def traced(stage: Stage, source: str, destination: str, service: str = "icmp") -> Report:
    with closing(open_store(str(stage.outskirts.world.store_path))) as store:
        return trace(store, read_inventory(store), Caller(operator=True), source, destination, service, timeout_s=1.0)


def wait_said(stage: Stage, name: str) -> None:
    """Wait until both edges have said that their tunnels to a site are up, and how many prefixes they have learned."""

    def arrives() -> bool:
        found = traced(stage, f"{name}/one", SERVER)
        return found.reachable and found.model is not None and len(found.model.backs) == len(EDGES)

    wait_for(arrives, f"what edges say of {name}'s tunnels", PATIENCE_S)


@pytest.mark.parametrize("service", ["icmp", "tcp/80", "udp/53"])
@pytest.mark.parametrize("name", ["a", "b"])
def test_model_kernel_and_live_packet_agree(stage: Stage, name: str, service: str) -> None:
    wait_said(stage, name)
    found = traced(stage, f"{name}/one", SERVER, service)
    assert (found.disagreement, found.kernel_problem, found.live.why_not) == ("", "", "")
    assert (found.verdict.code, found.live.arrived, found.reachable) == (None, True, True)
    for walked in (found.model, found.kernel):
        assert walked is not None
        end = walked.there.hops[-1]
        assert (end.place, end.host in EDGES) == (Place.SITE, True)
        assert end.said.startswith("left by tunnel ")
        assert sorted(back.hops[0].host for back in walked.backs) == sorted(EDGES)


@pytest.mark.parametrize("name", ["a", "b"])
def test_what_comes_from_a_site_arrives_in_model_and_kernel(stage: Stage, name: str) -> None:
    wait_said(stage, name)
    found = traced(stage, SERVER, f"{name}/one")
    assert (found.disagreement, found.kernel_problem, found.verdict.code) == ("", "", None)
    assert found.live.why_not == "packets from a site are sent there, not here"
    assert found.kernel is not None
    assert found.kernel.there.hops[0].place is Place.SITE


def test_a_source_that_no_site_has_is_refused_in_model_and_kernel(stage: Stage) -> None:
    wait_said(stage, "b")
    found = traced(stage, "10.99.0.1", "b/one")
    assert (found.disagreement, found.verdict.code) == ("", Code.VGW_REJECTS_SPOOFED_TRAFFIC)
    assert found.kernel is not None
    assert found.kernel.there.counter == "unreached"


def test_a_site_that_is_withdrawn_is_not_reached_any_more(stage: Stage) -> None:
    wait_said(stage, "b")
    device, world = stage.sites["b"].device, stage.outskirts.world
    for protocol in stage.bgp_protocols("b"):
        device.bird(f"disable {protocol}")
    try:
        wait_for(lambda: not traced(stage, "b/one", SERVER).reachable, "the prefix to be withdrawn", PATIENCE_S)
        world.settle()
        found = traced(stage, "b/one", SERVER)
        assert (found.disagreement, found.live.arrived) == ("", False)
    finally:
        for protocol in stage.bgp_protocols("b"):
            device.bird(f"enable {protocol}")
    wait_said(stage, "b")
