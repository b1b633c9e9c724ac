"""An edge gets another uplink while its partner carries everything: a VLAN subinterface, as on a bond or a trunk port."""

from __future__ import annotations

import pytest

from netorch.control.actions.outside.drains import drain_host, undrain_host
from netorch.control.actions.outside.edges import update_edge
from netorch.control.base.edge_users import users_of
from netorch.errors import ApiError
from netorch.state.base import OUTSIDE
from netorch.state.owner import netns_name
from tests.integration.edges.conftest import PUBLIC
from tests.rig.outskirts import BORDER, INTERNET, POOL, SERVER, UPLINKS, Outskirts
from tests.rig.world import wait_for

pytestmark = pytest.mark.root

TRUNK, VLAN, ROUTER, ADDRESS = "trunk1", 7, "198.20.7.254", "198.20.7.1"


def lay_trunk(outskirts: Outskirts) -> None:
    """Connect e1 to the border router by another cable, with a subinterface for one VLAN at both ends."""
    with outskirts.rtnl(BORDER) as border:
        border.link("add", ifname="trunk", kind="veth", peer={"ifname": TRUNK, "net_ns_fd": "e1"})
        below = border.link_lookup(ifname="trunk")[0]
        border.link("set", index=below, state="up")
        border.link("add", ifname="trunk.7", kind="vlan", link=below, vlan_id=VLAN)
        index = border.link_lookup(ifname="trunk.7")[0]
        border.addr("add", index=index, address=ROUTER, prefixlen=24)
        border.link("set", index=index, state="up")
    with outskirts.rtnl("e1") as edge:
        below = edge.link_lookup(ifname=TRUNK)[0]
        edge.link("set", index=below, state="up")
        edge.link("add", ifname=f"{TRUNK}.{VLAN}", kind="vlan", link=below, vlan_id=VLAN)


def devices(outskirts: Outskirts, name: str) -> set[str]:
    with outskirts.rtnl(name) as ipr:
        return {str(link.get_attr("IFLA_IFNAME")) for link in ipr.get_links()}


def test_a_drained_edge_gets_a_vlan_subinterface_and_gives_its_old_uplink_back(outskirts: Outskirts) -> None:
    world = outskirts.world
    outskirts.pair_up()
    lay_trunk(outskirts)
    new = f"{TRUNK}.{VLAN},{ADDRESS}/24,{ROUTER}"
    with pytest.raises(ApiError, match="drain it first"):
        update_edge(world.store, world.caller, "e1", uplink=new)
    wait_for(lambda: all(state.live for state in world.inventory().hosts.values()), "all agents to live")
    wait_for(lambda: not world.inventory().agents["e2"].not_ready, "e2 to be ready")
    drain_host(world.store, world.caller, "e1")
    outskirts.arrive_at("e2")
    wait_for(lambda: not users_of(world.inventory(), "e1"), "everybody to leave e1")
    update_edge(world.store, world.caller, "e1", uplink=new)
    outside = netns_name("e1", OUTSIDE)
    wait_for(lambda: f"{TRUNK}.{VLAN}" in devices(outskirts, outside), "the new uplink")
    wait_for(lambda: UPLINKS["e1"].device in devices(outskirts, "e1"), "the old uplink to be given back")
    assert outskirts.ping(INTERNET, PUBLIC["a/one"]).ok, "by e2 meanwhile"
    wait_for(lambda: not world.inventory().agents["e1"].not_ready, "e1 to be ready")
    undrain_host(world.store, world.caller, "e1")
    with outskirts.rtnl(BORDER) as border:
        border.route("replace", dst=POOL, gateway=ADDRESS)
    wait_for(lambda: outskirts.ping(INTERNET, PUBLIC["a/one"]).ok, "the internet to reach an instance by the new uplink")
    assert outskirts.ping("a/one", SERVER).ok
    world.settle()
    assert world.agent("e1").reconciler.problems == {}
