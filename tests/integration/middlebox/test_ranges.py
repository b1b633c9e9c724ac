"""Routes that replace the VPC's whole range by an appliance, and prefix lists that lead to one."""

from __future__ import annotations

import os
import re

import pytest

from tests.rig.appliance import address, cloud, forward, passed, talks
from tests.rig.crafted import framed
from tests.rig.packets import PATIENCE_S, PacketListener, send_frame, udp
from tests.rig.world import World, wait_for

pytestmark = pytest.mark.root

LOST, LOST_AT_WORST = 10, 60  # at most, per change: echoes, one each 5 ms
ROUTES = re.compile(r"routes: \[[^]]*\]")


def routed(through: str, *routes: str) -> str:
    """Return the cloud in which the tables of a and of b have these routes, and the appliance has no check."""
    return ROUTES.sub(f"routes: [{', '.join(routes)}]", cloud(through, check=False))


@pytest.mark.parametrize("through", ["fw1", "fw3"])
def test_the_whole_local_range_goes_to_an_appliance_and_back_under_traffic(world: World, through: str) -> None:
    """Packets within a subnet always go direct; packets between subnets pass the appliance while the route exists."""
    world.start_agents()
    world.apply(routed(through))
    world.settle()
    forward(world.instance(f"acme/{through}").id)
    ranges = (f"10.44.0.0/16 via eni {through}", f"'fd00:44:0:100::/56 via eni {through}'")
    inside, across = world.traffic("acme/b1", "acme/b2"), world.traffic("acme/a1", "acme/b2")
    changes = 0
    with PacketListener(world.instance(f"acme/{through}").id) as listener:
        for routes in (ranges, (), ranges, ()):
            world.apply(routed(through, *routes))
            world.settle()
            changes += 1
            listener.take()
            for version in (4, 6):
                ends = [address(world, name, version) for name in ("a1", "b1", "b2")]
                assert talks(world, "b1", "b2", "udp", version)
                assert passed(listener, ends[1], ends[2]) == (0, 0)
                assert talks(world, "a1", "b2", "udp", version)
                there, back = passed(listener, ends[0], ends[2])
                assert (there > 0, back > 0) == (bool(routes), bool(routes))
    lost = inside.stop(), across.stop()
    assert max(lost) <= LOST_AT_WORST, "on a machine that does something else"
    assert min(lost) <= LOST * changes
    print(f"lost in {changes} changes: {lost}")


def test_a_shared_table_leads_each_subnet_to_the_other_by_the_appliance_and_to_itself_directly(world: World) -> None:
    """Both subnets share a table that leads the ranges of both to the appliance; a restart keeps their VRFs."""
    world.start_agents()
    text = routed("fw2", "10.44.1.0/24 via eni fw2", "10.44.2.0/24 via eni fw2").replace("route_table: b", "route_table: a")
    world.apply(text)
    world.settle()
    forward(world.instance("acme/fw2").id)
    for _ in range(2):
        with PacketListener(world.instance("acme/fw2").id) as listener:
            assert talks(world, "b1", "b2", "udp")
            assert passed(listener, address(world, "b1", 4), address(world, "b2", 4)) == (0, 0)
            assert talks(world, "a1", "b1", "udp")
            assert min(passed(listener, address(world, "a1", 4), address(world, "b1", 4))) > 0
        world.stop_agent("hv1")
        world.start_agents("hv1")
        world.settle()
        assert world.agent("hv1").reconciler.writes == 0


def test_a_prefix_list_leads_to_an_appliance_and_follows_its_entries(world: World) -> None:
    world.start_agents()

    def leads(*cidrs: str) -> None:
        lists = f"\n  prefix_lists: [{{name: partners, cidrs: [{', '.join(cidrs)}], max_entries: 4}}]\n  subnets:"
        routes = ("pl-partners via eni fw3", "198.51.100.128/25 via blackhole")
        world.apply(routed("fw3", *routes).replace("\n  subnets:", lists))
        world.settle()

    leads("198.51.100.0/24", "198.51.100.128/25")
    source = world.eni("acme/a1")
    with PacketListener(world.instance("acme/fw3").id) as listener:

        def arrives(destination: str) -> bool:
            token, last = (b"token " + os.urandom(8) for _ in range(2))
            for to, payload in ((destination, token), (address(world, "fw3", 4), last)):
                send_frame(source.instance, "eth0", framed(source.mac, udp(source.address, to, payload)))
            assert listener.hears(last, within_s=PATIENCE_S)
            return listener.heard(token)

        assert arrives("198.51.100.7")
        assert not arrives("198.51.100.200"), "a static route to the same prefix is in force"
        assert not arrives("203.0.113.7")
        leads("203.0.113.0/24")
        assert not arrives("198.51.100.7")
        wait_for(lambda: arrives("203.0.113.7"), "the new entry to lead there")
