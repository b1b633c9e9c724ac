"""A packet that routes lead through an appliance: model, kernels and live packet agree."""

from __future__ import annotations

import subprocess

import pytest

from netorch.trace.codes import Code
from netorch.trace.way import Place
from tests.integration.test_trace import traced
from tests.rig.appliance import lead_through
from tests.rig.world import World

pytestmark = pytest.mark.root


@pytest.mark.parametrize("appliance", ["fw1", "fw3"])
def test_model_kernel_and_live_packet_agree_about_an_appliance(world: World, appliance: str) -> None:
    world.start_agents()
    host = f"hv{appliance[-1]}"
    for check, code in ((False, None), (True, Code.ENI_SOURCE_DEST_CHECK_RESTRICTION)):
        lead_through(world, appliance, check=check)
        for source, destination, service in (("a1", "b2", "tcp/443"), ("b1", "a1", "udp/53"), ("a1", "fd00:44:0:102::5", "icmp")):
            found = traced(world, source, destination, service)
            assert found.disagreement == "", (source, destination, service, check)
            assert found.kernel_problem == found.live.why_not == ""
            assert (found.verdict.code, found.reachable) == (code, code is None), found.verdict
            ways = [way.there for way in (found.model, found.kernel) if way is not None]
            assert [{hop.host for hop in way.hops if hop.place is Place.INLET} for way in ways] == [{host}, {host}]
    assert found.verdict.fix == f"netorch eni modify {world.eni(f'acme/{appliance}').id} --no-source-dest-check"


def test_a_packet_that_the_appliance_keeps_is_no_drift(world: World) -> None:
    world.start_agents()
    lead_through(world, "fw3", check=False)
    fw3 = world.instance("acme/fw3").id
    subprocess.run(["ip", "netns", "exec", fw3, "sysctl", "-qw", "net.ipv4.ip_forward=0"], check=True)
    found = traced(world, "a1", "b2", "tcp/443")
    assert (found.live.arrived, found.disagreement, found.reachable) == (False, "", False)
    assert found.verdict.code is Code.NOT_FORWARDED
    assert found.verdict.fix.endswith("netorch instance exec default/acme/fw3 -- sysctl net.ipv4.ip_forward")
