"""Packets with other interfaces' source addresses at the borders of subnets, over the objects that agents compile."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import pytest

from netorch.control.apply.cloud import apply_cloud, plan_cloud
from netorch.diagnose.policy_indexes import paths_of, policy_index_of
from netorch.model.cloud import (
    AclAction,
    AclEntryDecl,
    Cloud,
    HostDecl,
    IngressDecl,
    InstanceDecl,
    NetworkAclDecl,
    RouteTableDecl,
    SecurityGroupDecl,
    SubnetDecl,
    VpcDecl,
)
from netorch.model.eni import Instance, NetworkInterface
from netorch.model.ids import port_name
from netorch.model.packet import Packet
from netorch.model.security import UDP
from netorch.records.inventory import read_inventory
from netorch.records.vpc import VpcRecords
from netorch.trace.codes import Code
from netorch.trace.explain import Explanation, explain
from netorch.trace.host_model import HostModel
from netorch.trace.reach import Reach
from netorch.trace.walk import round_trip
from netorch.trace.way import Departure, RoundTrip, Walk
from tests.unit.agent.world import World

ALL = AclEntryDecl(rule=1, action=AclAction.ALLOW, protocol="all", cidr="0.0.0.0/0")
OWN = AclEntryDecl(rule=1, action=AclAction.ALLOW, protocol="all", cidr="10.0.1.0/24")
A1, A2, D1 = "10.0.1.10", "10.0.1.20", "10.0.3.10"


OPEN = SecurityGroupDecl(name="default", ingress=[IngressDecl(protocol="all", source="10.0.0.0/16")])


def with_chain(y: str, *entries: AclEntryDecl) -> VpcDecl:
    """Return subnet a with an ACL, and an appliance x in another subnet, whose table leads to d through appliance y in a."""
    return VpcDecl(
        name="web",
        cidrs=["10.0.0.0/16"],
        security_groups=[OPEN],
        network_acls=[NetworkAclDecl(name="border", ingress=list(entries), egress=[ALL])],
        route_tables=[RouteTableDecl(name="to-d", routes=["10.0.3.0/24 via eni y"])],
        subnets=[
            SubnetDecl(name="a", cidr="10.0.1.0/24", network_acl="border"),
            SubnetDecl(name="x", cidr="10.0.2.0/24", route_table="to-d"),
            SubnetDecl(name="d", cidr="10.0.3.0/24"),
        ],
        instances=[
            InstanceDecl(name="a1", subnet="a", host="hv1", address=A1),
            InstanceDecl(name="a2", subnet="a", host="hv2", address=A2),
            InstanceDecl(name="x", subnet="x", host="hv1", source_dest_check=False),
            InstanceDecl(name="y", subnet="a", host=y, source_dest_check=False),
            InstanceDecl(name="d", subnet="d", host="hv2", address=D1),
        ],
    )


def with_appliance(acl_of: str, appliance: str, *entries: AclEntryDecl) -> VpcDecl:
    """Return subnets a and d of one table that leads the whole range to fw in a third subnet; one of the three has an ACL."""
    acls = {name: "border" if name == acl_of else "" for name in ("a", "d", "fw")}
    return VpcDecl(
        name="web",
        cidrs=["10.0.0.0/16"],
        security_groups=[OPEN],
        network_acls=[NetworkAclDecl(name="border", ingress=list(entries), egress=list(entries))],
        route_tables=[RouteTableDecl(name="through", routes=["10.0.0.0/16 via eni fw"])],
        subnets=[
            SubnetDecl(name="a", cidr="10.0.1.0/24", route_table="through", network_acl=acls["a"]),
            SubnetDecl(name="d", cidr="10.0.3.0/24", route_table="through", network_acl=acls["d"]),
            SubnetDecl(name="fw", cidr="10.0.9.0/24", network_acl=acls["fw"]),
        ],
        instances=[
            InstanceDecl(name="a1", subnet="a", host="hv1", address=A1),
            InstanceDecl(name="a2", subnet="a", host="hv2", address=A2),
            InstanceDecl(name="d1", subnet="d", host="hv1", address=D1),
            InstanceDecl(name="d2", subnet="d", host="hv2", address="10.0.3.20"),
            InstanceDecl(name="fw", subnet="fw", host=appliance, address="10.0.9.10", source_dest_check=False),
        ],
    )


class Site:
    """A VPC on two hosts, with their agents."""

    def __init__(self, path: Path, vpc: VpcDecl) -> None:
        self.world = World(path, "hv1", "hv2")
        hosts = [HostDecl(name=f"hv{n}", underlay=f"192.0.2.{10 + n}") for n in (1, 2)]
        store, operator = self.world.store, self.world.operator
        apply_cloud(store, plan_cloud(store, operator, Cloud(hosts=hosts, vpcs=[vpc])))
        self.world.settle(3)

    @property
    def records(self) -> VpcRecords:
        """Return the VPC's records."""
        (found,) = read_inventory(self.world.store).vpcs.values()
        return found

    def interfaces(self) -> dict[str, NetworkInterface]:
        """Return the interfaces by the names of their instances."""
        records = self.records
        names = {instance.id: instance.name for instance in records.each(Instance)}
        return {names[eni.instance]: eni for eni in records.each(NetworkInterface)}

    def walk(self, name: str, source: str, destination: str) -> Walk:
        """Return the path of a packet that an instance sends."""
        return self.trip(name, source, destination).there

    def trip(self, name: str, source: str, destination: str) -> RoundTrip:
        """Return the paths of a packet that an instance sends, and of the reply."""
        eni = self.interfaces()[name]
        (mapping,) = self.records.mappings_of(eni).values()
        host = mapping.record.host
        objects = {
            host: {key: obj for target in agent.reconciler.slices.values() for key, obj in target.desired.items()}
            for host, agent in self.world.agents.items()
        }
        models = {host: HostModel(host, found) for host, found in objects.items()}
        departure = Departure(host=host, ifname=port_name(eni.id), mac=eni.mac)
        return round_trip(models, departure, packet(source, destination))

    def explained(self, way: Walk, source: str, destination: str) -> Explanation:
        """Return the explanation of a packet's end."""
        return explain(policy_index_of(self.records), self.records.vpc.record, packet(source, destination), way, {})


def packet(source: str, destination: str) -> Packet:
    return Packet(source=source, destination=destination, protocol=UDP, source_port=40000, destination_port=53)


@pytest.mark.parametrize("y", ["hv1", "hv2"])
@pytest.mark.parametrize(("source", "destination"), [(A1, A2), (A2, A1), (A1, D1)])
def test_what_comes_from_elsewhere_enters_by_the_acl_whosever_name_it_bears(
    tmp_path: Path, y: str, source: str, destination: str
) -> None:
    """To an interface of the subnet, and to an appliance in the subnet that a route leads to."""
    found = Site(tmp_path, with_chain(y))
    way = found.walk("x", source, destination)
    assert (way.code, way.counter, way.host) == (Code.SUBNET_ACL_RESTRICTION, "acl_ingress", "hv1")
    said = found.explained(way, source, destination)
    assert "network ACL border denies udp/53 entering the subnet of" in said.sentence
    assert said.rule == "*"


@pytest.mark.parametrize("y", ["hv1", "hv2"])
def test_an_acl_that_allows_the_subnets_own_range_lets_it_enter(tmp_path: Path, y: str) -> None:
    found = Site(tmp_path, with_chain(y, OWN))
    assert found.walk("x", A1, A2).arrived
    way = found.walk("x", A1, D1)
    assert (way.arrived, len(way.through)) == (True, 1)


def test_what_stays_inside_meets_no_acl(tmp_path: Path) -> None:
    found = Site(tmp_path, with_chain("hv2"))
    assert found.walk("a1", A1, A2).arrived
    assert found.walk("y", A1, A2).arrived, "y is in the subnet whose name it uses"
    assert found.walk("a1", A1, D1).arrived


FAR = AclEntryDecl(rule=1, action=AclAction.ALLOW, protocol="all", cidr="10.0.3.0/24")
ENTRIES = {"nothing": (), "a": (OWN,), "d": (FAR,), "everything": (ALL,)}


@pytest.mark.parametrize("appliance", ["hv1", "hv2"])
@pytest.mark.parametrize("allowed", ENTRIES)
@pytest.mark.parametrize("acl_of", ["a", "d", "fw"])
def test_packets_pass_where_reach_says_so_within_subnets_and_through_the_appliance(
    tmp_path: Path, acl_of: str, allowed: str, appliance: str
) -> None:
    site = Site(tmp_path, with_appliance(acl_of, appliance, *ENTRIES[allowed]))
    records, interfaces = site.records, site.interfaces()
    reach = Reach(policy_index_of(records), paths=paths_of(records))
    for (name, near), (_, far) in permutations(interfaces.items(), 2):
        expected = reach.opens(reach.class_of(near, 4), reach.class_of(far, 4), UDP, 53)
        assert site.trip(name, near.address, far.address).succeeded is expected, (name, far.address)
    a1, a2 = (reach.class_of(interfaces[name], 4) for name in ("a1", "a2"))
    assert reach.opens(a1, a2, UDP, 53), "no ACL within a subnet"
