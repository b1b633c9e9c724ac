"""What customers' devices announce by BGP becomes routes of VPCs, and goes when it is withdrawn."""

from __future__ import annotations

import pytest

from netorch.model.mapping import Reach
from netorch.model.routing.effective import Origin
from netorch.state.l3 import Route
from tests.integration.edges.vpn.sites import PATIENCE_S, SITE, Stage
from tests.rig.outskirts import EDGES
from tests.rig.world import wait_for

pytestmark = pytest.mark.root


def reached(stage: Stage, name: str) -> dict[str, tuple[tuple[str, Origin, int], ...]]:
    found = stage.outskirts.world.vpc(name).each(Reach)
    return {
        reach.edge: tuple((each.prefix, Origin(each.origin), each.as_path_length) for each in reach.prefixes) for reach in found
    }


def test_every_edge_says_what_it_reaches_and_how_it_knows(stage: Stage) -> None:
    wait_for(lambda: len(reached(stage, "b")) == len(EDGES) and all(reached(stage, "b").values()), "b's routes", PATIENCE_S)
    assert reached(stage, "b") == dict.fromkeys(EDGES, ((SITE, Origin.VPN_BGP, 1),))
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
    assert stage.reaches("a/one")
    for protocol in stage.bgp_protocols("b"):
        device.bird(f"enable {protocol}")
    stage.wait_reaches("b/one")
