"""Connections through an appliance end when a rule of its groups is revoked that permitted them, if that was requested."""

from __future__ import annotations

from pathlib import Path

import pytest

from netorch.control.actions import groups, memberships, permissions
from netorch.control.actions.enis import modify_network_interface
from netorch.control.actions.permissions import Permission
from netorch.model.eni import NetworkInterface
from netorch.model.security import Direction, SecurityGroup
from netorch.state.base import OVERLAY
from netorch.state.flow import BEGINNER_TRACKS, OTHER_END_TRACKS, Flow
from tests.unit.agent.tasks.test_connections import zone
from tests.unit.agent.test_middleboxes import Shop
from tests.unit.agent.world import World

FAR, OUTSIDE = "10.0.0.200", "198.51.100.7"  # an address on another host than the appliance's, and one behind the appliance
DNS, NTP = 53, 123


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, "hv1", "hv2", "hv3")


class Box:
    """An appliance on hv3 with a group that permits two services in both directions."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.shop = Shop(world)
        store, operator = world.store, world.operator
        self.group = groups.create_security_group(store, operator, self.shop.vpc.id, name="box").id
        permissions.revoke_by_id(store, operator, self.group, [rule.id for rule in self._group().egress])
        for direction in Direction:
            permissions.authorize(store, operator, self.group, direction, [_rule(DNS), _rule(NTP)])
        memberships.modify_interface_groups(store, operator, self.shop.eni.id, [self.group])
        self.shop.check(on=False)
        self.shop.route("198.51.100.0/24")
        world.settle(3)
        self.own = zone(world, "hv3", self.shop.vpc)
        (self.inlet,) = set(world.agents["hv3"].reconciler.zones_of(self.shop.vni)) - {self.own}

    def _group(self) -> SecurityGroup:
        return groups.describe_security_group(self.world.store, self.world.operator, self.group).group

    def track(self, zone: int, source: str, port: int, mark: int) -> tuple[int, str, int]:
        found = Flow(zone=zone, protocol=17, source=source, destination=OUTSIDE, sport=4000, dport=port, mark=mark, timeout_s=30)
        self.world.kernels["hv3"].trackers[OVERLAY].restore([found])
        return zone, source, port

    def revoke(self, direction: Direction, port: int) -> set[tuple[int, str, int]]:
        """Revoke a rule, and return the connections that hv3 then tracks."""
        store, operator = self.world.store, self.world.operator
        permissions.revoke(store, operator, self.group, direction, [_rule(port)], terminate_established=True)
        self.world.turn()
        return {(flow.zone, flow.source, flow.dport) for flow in self.world.kernels["hv3"].tracker.tracked.values()}


def _rule(port: int) -> Permission:
    return Permission(protocol="udp", ports=port, peer="0.0.0.0/0")


def test_what_came_in_by_the_inlet_ends_with_its_ingress_rule(world: World) -> None:
    box = Box(world)
    box.track(box.inlet, FAR, DNS, OTHER_END_TRACKS)
    others = {
        box.track(box.inlet, FAR, NTP, OTHER_END_TRACKS),
        box.track(box.inlet, "10.0.0.201", DNS, 0),  # not tracked by this end: each packet is evaluated
        box.track(box.own, FAR, DNS, BEGINNER_TRACKS),
    }
    assert box.revoke(Direction.INGRESS, DNS) == others


def test_what_an_appliance_sent_as_others_ends_with_its_egress_rule(world: World) -> None:
    box = Box(world)
    local = next(eni for eni in world.agents["hv3"].reconciler.phases[box.shop.vni] if eni != box.shop.eni.id)
    beside = world.agents["hv3"].records.vpcs[box.shop.vni].of(NetworkInterface)[local].record.address
    box.track(box.own, FAR, DNS, BEGINNER_TRACKS)
    others = {
        box.track(box.own, FAR, NTP, BEGINNER_TRACKS),
        box.track(box.own, "10.0.0.201", DNS, OTHER_END_TRACKS),
        box.track(box.own, beside, DNS, BEGINNER_TRACKS),  # permitted by its own groups
        box.track(box.inlet, FAR, DNS, OTHER_END_TRACKS),
    }
    assert box.revoke(Direction.EGRESS, DNS) == others


def test_what_another_appliance_of_the_host_may_send_goes_on(world: World) -> None:
    box = Box(world)
    second = world.run(box.shop.subnet, "hv3")
    world.settle(3)
    modify_network_interface(world.store, world.operator, second.eni.id, source_dest_check=False)
    world.settle(3)
    kept = box.track(box.own, FAR, DNS, BEGINNER_TRACKS)
    assert box.revoke(Direction.EGRESS, DNS) == {kept}
