"""VPN connections end to end: agents, charon and bird on both edges, and customers' devices as their configuration says."""

from __future__ import annotations

import pytest

from tests.integration.edges.vpn.sites import SERVER, Stage, takes
from tests.rig.world import Traffic

pytestmark = pytest.mark.root


def test_two_customers_with_the_same_addresses_each_reach_their_own_site(stage: Stage) -> None:
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
    assert device.reaches(SERVER, "10.0.1.5")
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
