"""VPN connections end to end: agents, charon and bird on both edges, and customers' devices as their configuration says.

Announced prefixes become routes of VPCs, and model, kernels and live packets agree. One file, because this cloud takes long
to build.
"""

from __future__ import annotations

import pytest

from netorch.model.mapping import Reach
from netorch.model.routing.effective import Origin
from netorch.state.l3 import Route
from netorch.trace.codes import Code
from netorch.trace.way import Place
from tests.integration.edges.vpn.sites import PATIENCE_S, SERVER, SITE, Stage, takes
from tests.rig.outskirts import EDGES
from tests.rig.world import Traffic, wait_for

pytestmark = pytest.mark.root


def test_two_customers_with_the_same_addresses_each_reach_their_own_site(stage: Stage) -> None:
    for name in "ab":
        stage.wait_reaches(f"{name}/one")
    with stage.listener("site-a") as of_a, stage.listener("site-b") as of_b:
        stage.say("a/one", b"of a")
        stage.say("b/one", b"of b")
        assert takes(of_a, b"of a")
        assert takes(of_b, b"of b")
        stage.say("a/one", b"again")
        assert takes(of_a, b"again")
        assert not takes(of_b, b"again")


def test_the_site_reaches_the_instance_and_nothing_that_is_not_mapped(stage: Stage) -> None:
    device = stage.sites["a"].device
    wait_for(lambda: device.reaches(SERVER, "10.0.1.5"), "the instance to answer its site", PATIENCE_S)
    assert not device.reaches(SERVER, "10.0.1.99")
    assert not device.reaches(SERVER, "203.0.113.10")  # no transit to the internet


def test_a_source_that_the_gateway_does_not_reach_is_refused(stage: Stage) -> None:
    device = stage.sites["a"].device
    device.shell("ip address add 10.99.0.9/32 dev lan")
    before = stage.dropped("unreached")
    assert not device.reaches("10.99.0.9", "10.0.1.5")
    assert stage.dropped("unreached") > before
    assert stage.outskirts.world.agent("e1").reconciler.problems == {}


def test_an_agent_that_is_killed_and_started_again_changes_nothing_and_loses_nothing(stage: Stage) -> None:
    stage.wait_up()
    instance = stage.outskirts.world.instance("a/one").id
    stream = Traffic(instance, SERVER)
    stage.outskirts.kill_agent("e1")
    assert stream.stop() == 0


# --- learned routes -----------------------------------------------------------------------------------------------------------


def reached(stage: Stage, name: str) -> dict[str, tuple[tuple[str, Origin, int], ...]]:
    found = stage.outskirts.world.vpc(name).each(Reach)
    return {
        reach.edge: tuple((each.prefix, Origin(each.origin), each.as_path_length) for each in reach.prefixes) for reach in found
    }


def test_every_edge_says_what_it_reaches_and_how_it_knows(stage: Stage) -> None:
    learned = dict.fromkeys(EDGES, ((SITE, Origin.VPN_BGP, 1),))
    wait_for(lambda: reached(stage, "b") == learned, f"{learned} of b", PATIENCE_S)
    assert reached(stage, "a") == dict.fromkeys(EDGES, ((SITE, Origin.VPN_STATIC, 0),))


def test_the_site_is_told_of_the_vpc_as_a_whole(stage: Stage) -> None:
    bird = stage.sites["b"].device.bird
    assert bird("show route for 10.0.1.5").count("10.0.0.0/16") >= 1
    assert "/32" not in bird("show route protocol vpn1") + bird("show route")


def test_a_prefix_that_is_withdrawn_goes_everywhere(stage: Stage) -> None:
    device, world = stage.sites["b"].device, stage.outskirts.world
    for protocol in stage.bgp_protocols("b"):
        device.bird(f"disable {protocol}")
    wait_for(lambda: not any(reached(stage, "b").values()), "the prefix to be withdrawn", PATIENCE_S)
    world.settle()
    assert not stage.reaches("b/one")
    dumped = world.reader("hv1").dump(frozenset({Route.kind})).values()
    routes = [obj for obj in dumped if isinstance(obj, Route)]
    vni = world.vpc("b").vni
    assert [obj for obj in routes if obj.vni == vni and obj.dst == SITE] == []
    stage.wait_reaches("a/one")
    for protocol in stage.bgp_protocols("b"):
        device.bird(f"enable {protocol}")
    stage.wait_reaches("b/one")


# --- traces -------------------------------------------------------------------------------------------------------------------


def wait_said(stage: Stage, name: str) -> None:
    """Wait until both edges report that their tunnels to a site are up, and how many prefixes they have learned."""

    def arrives() -> bool:
        found = stage.outskirts.traced(f"{name}/one", SERVER)
        return found.reachable and found.model is not None and len(found.model.backs) == len(EDGES)

    wait_for(arrives, f"what edges say of {name}'s tunnels", PATIENCE_S)


@pytest.mark.parametrize("service", ["icmp", "tcp/80", "udp/53"])
@pytest.mark.parametrize("name", ["a", "b"])
def test_model_kernel_and_live_packet_agree(stage: Stage, name: str, service: str) -> None:
    wait_said(stage, name)
    found = stage.outskirts.traced(f"{name}/one", SERVER, service)
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
    found = stage.outskirts.traced(SERVER, f"{name}/one")
    assert (found.disagreement, found.kernel_problem, found.verdict.code) == ("", "", None)
    assert found.live.why_not == "only the site itself can send its packets"
    assert found.kernel is not None
    assert found.kernel.there.hops[0].place is Place.SITE


def test_a_source_that_no_site_has_is_refused_in_model_and_kernel(stage: Stage) -> None:
    wait_said(stage, "b")
    found = stage.outskirts.traced("10.99.0.1", "b/one")
    assert (found.disagreement, found.verdict.code) == ("", Code.VGW_REJECTS_SPOOFED_TRAFFIC)
    assert found.kernel is not None
    assert found.kernel.there.counter == "unreached"


def test_a_site_that_is_withdrawn_is_not_reached_any_more(stage: Stage) -> None:
    wait_said(stage, "b")
    device, world = stage.sites["b"].device, stage.outskirts.world
    for protocol in stage.bgp_protocols("b"):
        device.bird(f"disable {protocol}")
    try:
        wait_for(lambda: not stage.outskirts.traced("b/one", SERVER).reachable, "the prefix to be withdrawn", PATIENCE_S)
        world.settle()
        found = stage.outskirts.traced("b/one", SERVER)
        assert (found.disagreement, found.live.arrived) == ("", False)
    finally:
        for protocol in stage.bgp_protocols("b"):
            device.bird(f"enable {protocol}")
    wait_said(stage, "b")
