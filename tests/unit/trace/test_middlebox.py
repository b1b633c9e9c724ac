"""Packets that routes lead through an appliance, over the objects that agents compile."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from netorch.control.actions.groups import create_security_group
from netorch.control.actions.instances import Placed
from netorch.control.actions.memberships import modify_interface_groups
from netorch.control.actions.permissions import Permission, authorize
from netorch.control.actions.subnets import create_subnet
from netorch.diagnose.appliances import not_forwarded
from netorch.diagnose.policy_indexes import names_of, policy_index_of
from netorch.model.eni import NetworkInterface
from netorch.model.ids import make_id, port_name
from netorch.model.packet import Packet
from netorch.model.security import UDP, Direction
from netorch.model.vpc import RouteTable, Subnet, VpcRoute
from netorch.records import keys
from netorch.records.codec import encode
from netorch.records.inventory import read_inventory
from netorch.records.vpc import VpcRecords
from netorch.state.base import KernelObject
from netorch.state.link import CableEnd
from netorch.state.nft import NftElement
from netorch.state.tc import TcFilter
from netorch.trace.codes import Code
from netorch.trace.explain import Explanation, explain, said_at
from netorch.trace.host_model import HostModel
from netorch.trace.walk import round_trip
from netorch.trace.way import Departure, Place, RoundTrip, Walk
from tests.unit.agent.world import World


class Pass:
    """Two interfaces in two subnets of a table that leads to an appliance for both; the appliance's own table differs."""

    def __init__(self, path: Path, near: str, far: str, interval: str, *, apart: bool = True) -> None:
        self.world = World(path, "hv1", "hv2", "hv3")
        self.vpc, self.subnet = self.world.vpc("a")
        other = create_subnet(self.world.store, self.world.operator, self.vpc.id, name="b", cidr="10.0.1.0/24")
        beyond = create_subnet(self.world.store, self.world.operator, self.vpc.id, name="c", cidr="10.0.2.0/24")
        self.near, self.far = self.world.run(self.subnet, near), self.world.run(beyond, far)
        self.interval = self.world.run(other, interval)
        if apart:
            plain = RouteTable(id=make_id("rtb", self.vpc.vni, 1), vni=self.vpc.vni, name="plain", number=1)
            self._put(plain)
            self._put(msgspec.structs.replace(other, route_table=plain.id))
        self.hosts = {self.near.eni.id: near, self.far.eni.id: far, self.interval.eni.id: interval}
        records = read_inventory(self.world.store).vpcs[self.vpc.vni]
        table = records.main_table()
        assert table is not None
        target = self.interval.eni.id
        routes = tuple(VpcRoute(destination=subnet.cidr, target=target) for subnet in (self.subnet, beyond))
        self._put(msgspec.structs.replace(table, routes=routes))
        self.world.settle(3)

    def check(self, on: bool) -> None:
        self._put(msgspec.structs.replace(self.interval.eni, source_dest_check=on))
        self.world.settle(3)

    def _put(self, record: RouteTable | NetworkInterface | Subnet) -> None:
        self.world.put(keys.resource(record.id), encode(record))

    def walk(self, start: Placed, destination: str, without: Callable[[KernelObject], bool] = lambda _: False) -> RoundTrip:
        host_models = {
            host: HostModel(
                host, {key: obj for target in agent.reconciler.slices.values() for key, obj in target.desired.items()}
            )
            for host, agent in self.world.agents.items()
        }
        kept = {
            host: HostModel(host, {key: obj for key, obj in host_model.objects.items() if not without(obj)})
            for host, host_model in host_models.items()
        }
        packet = Packet(source=start.eni.address, destination=destination, protocol=UDP, source_port=40000, destination_port=53)
        departure = Departure(host=self.hosts[start.eni.id], ifname=port_name(start.eni.id), mac=start.eni.mac)
        return round_trip(kept, departure, packet)

    def records(self) -> VpcRecords:
        return read_inventory(self.world.store).vpcs[self.vpc.vni]

    def packet(self) -> Packet:
        ends = self.near.eni.address, self.far.eni.address
        return Packet(source=ends[0], destination=ends[1], protocol=UDP, source_port=40000, destination_port=53)

    def explained(self, way: Walk) -> Explanation:
        return explain(policy_index_of(self.records()), self.vpc, self.packet(), way, {})


PLACES = [("hv1", "hv1", "hv1"), ("hv1", "hv1", "hv2"), ("hv1", "hv2", "hv1"), ("hv1", "hv2", "hv2"), ("hv1", "hv2", "hv3")]


@pytest.mark.parametrize(("near", "far", "interval"), PLACES)
def test_both_ways_pass_the_appliance(tmp_path: Path, near: str, far: str, interval: str) -> None:
    found = Pass(tmp_path, near, far, interval)
    found.check(False)
    trip = found.walk(found.near, found.far.eni.address)
    assert trip.succeeded
    assert trip.back is not None
    port = port_name(found.interval.eni.id)
    assert trip.there.through == trip.back.through == (port,)
    for way, end in ((trip.there, found.far), (trip.back, found.near)):
        assert way.arrived_at == port_name(end.eni.id)
        assert [hop.host for hop in way.hops if hop.place is Place.INLET] == [interval]
        assert [hop.host for hop in way.hops if hop.place is Place.DELIVERY and hop.said.startswith(port)] == [interval]
        assert [hop.host for hop in way.hops if hop.place is Place.PORT and hop.said.startswith(port)] == [interval]


@pytest.mark.parametrize(("near", "far", "interval"), PLACES)
def test_with_the_check_the_appliance_takes_what_is_its_own_only(tmp_path: Path, near: str, far: str, interval: str) -> None:
    found = Pass(tmp_path, near, far, interval)
    way = found.walk(found.near, found.far.eni.address).there
    assert (way.code, way.host, way.hops[-1].place) == (Code.ENI_SOURCE_DEST_CHECK_RESTRICTION, interval, Place.INLET)
    said = found.explained(way)
    assert (said.code, said.fix) == (way.code, f"netorch eni modify {found.interval.eni.id} --no-source-dest-check")


def test_what_the_appliance_s_own_groups_refuse_is_told_as_theirs(tmp_path: Path) -> None:
    found = Pass(tmp_path, "hv1", "hv2", "hv3")
    found.check(False)
    group = create_security_group(found.world.store, found.world.operator, found.vpc.id, name="fw", description="firewalls")
    modify_interface_groups(found.world.store, found.world.operator, found.interval.eni.id, [group.id])
    found.world.settle(3)
    way = found.walk(found.near, found.far.eni.address).there
    assert (way.code, way.host, way.counter) == (Code.ENI_SG_RULES_MISMATCH, "hv3", "sg_ingress")
    assert "sg rule add" in found.explained(way).fix
    assert "/fw ingress udp 53" in found.explained(way).fix


def test_the_appliance_itself_is_reached_by_its_inlet(tmp_path: Path) -> None:
    found = Pass(tmp_path, "hv1", "hv1", "hv2")
    found.check(False)
    way = found.walk(found.near, found.interval.eni.address).there
    assert way.arrived_at == port_name(found.interval.eni.id)


def test_an_appliance_whose_own_table_leads_to_it_sends_packets_in_a_circle(tmp_path: Path) -> None:
    found = Pass(tmp_path, "hv1", "hv1", "hv2", apart=False)
    found.check(False)
    way = found.walk(found.near, found.far.eni.address).there
    assert (way.code, way.host) == (Code.ROUTING_LOOP, "hv2")


def test_what_is_lacking_of_an_inlet_is_named(tmp_path: Path) -> None:
    found = Pass(tmp_path, "hv1", "hv1", "hv2")
    found.check(False)
    destination = found.far.eni.address
    way = found.walk(found.near, destination, lambda obj: isinstance(obj, TcFilter)).there
    assert (way.code, way.host) == (Code.STALE_MAPPING, "hv2")
    way = found.walk(found.near, destination, lambda obj: isinstance(obj, CableEnd)).there
    assert (way.code, way.host) == (Code.PORT_MISSING, "hv2")
    way = found.walk(found.near, destination, lambda obj: isinstance(obj, NftElement) and obj.set == "speakers").there
    assert (way.code, way.host, way.counter) == (Code.MAPPING_VIOLATION, "hv1", "unverified")


def test_each_port_on_the_way_is_told_by_its_own_groups(tmp_path: Path) -> None:
    found = Pass(tmp_path, "hv1", "hv2", "hv3")
    found.check(False)
    group = create_security_group(found.world.store, found.world.operator, found.vpc.id, name="fw", description="firewalls")
    permission = Permission(protocol="all", peer="0.0.0.0/0")
    authorize(found.world.store, found.world.operator, group.id, Direction.INGRESS, [permission])
    modify_interface_groups(found.world.store, found.world.operator, found.interval.eni.id, [group.id])
    found.world.settle(3)
    trip = found.walk(found.near, found.far.eni.address)
    assert trip.succeeded
    texts = said_at([policy_index_of(found.records())], [trip.there])
    near, box, far = (port_name(placed.eni.id) for placed in (found.near, found.interval, found.far))
    asked = {side: text.partition(", group ")[2].partition(" ")[0] for side, text in texts.items()}
    assert asked == {("egress", near): "default", ("ingress", box): "fw", ("egress", box): "fw", ("ingress", far): "default"}


def test_a_packet_that_an_appliance_may_have_kept_is_looked_for_there(tmp_path: Path) -> None:
    found = Pass(tmp_path, "hv1", "hv2", "hv3")
    found.check(False)
    records, way = found.records(), found.walk(found.near, found.far.eni.address).there
    index = policy_index_of(records)
    said = not_forwarded([records], index, way, found.packet(), names_of(records))
    assert said is not None
    name = found.interval.instance.name
    assert (said.code, said.sentence) == (Code.NOT_FORWARDED, f"{Code.NOT_FORWARDED.text} ({name})")
    path = f"{found.vpc.owner}/{found.vpc.name}/{name}"
    assert said.fix.endswith(f": netorch instance exec {path} -- sysctl net.ipv4.ip_forward")
    direct = msgspec.structs.replace(way, through=())
    assert not_forwarded([records], index, direct, found.packet(), {}) is None
