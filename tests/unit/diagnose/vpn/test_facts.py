"""The facts about a VPN connection: the edges' status, tables with routes to it, and prefixes that security groups admit."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from netorch.control.actions import hosts
from netorch.control.actions.private.connections import Wanted, create_vpn_connection
from netorch.control.actions.private.customers import create_customer_gateway
from netorch.control.actions.private.gateways import create_vpn_gateway
from netorch.control.apply.cloud import apply_cloud, plan_cloud
from netorch.control.views.describe import resolve
from netorch.diagnose.vpn.facts import facts_of
from netorch.diagnose.vpn.findings import TableFacts, diagnose
from netorch.model.eni import Role
from netorch.model.mapping import Reach, ReachedPrefix
from netorch.model.outside.vpn import VpnConnection
from netorch.model.routing.effective import Origin
from netorch.model.security import SecurityGroup
from netorch.model.status import AgentStatus, TunnelStatus, VpnStatus
from netorch.model.vpc import RouteTable, VpcRoute
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.codec import encode
from netorch.records.inventory import read_inventory
from netorch.records.vpc import VpcRecords
from netorch.spec import load_cloud
from netorch.store.base import Delete, Put
from netorch.store.memory import MemoryStore
from tests.unit.sealing import publish_keys

SITE, FAR = "192.168.0.0/16", "172.20.0.0/16"
CLOUD = """
hosts: [{name: hv1, underlay: 192.0.2.11}]
vpcs:
- name: a
  cidrs: [10.0.0.0/16]
  subnets:
  - {name: app, cidr: 10.0.1.0/24}
  - {name: inner, cidr: 10.0.2.0/24, route_table: inner}
  route_tables: [{name: inner}, {name: unused}]
  prefix_lists: [{name: offices, cidrs: [192.168.7.0/24]}]
  security_groups:
  - {name: web, ingress: [{protocol: tcp, ports: 443, source: pl-offices}]}
  - {name: idle, ingress: [{protocol: all, source: 0.0.0.0/0}]}
  instances: [{name: one, host: hv1, subnet: app, security_groups: [web]}]
"""


class Cloud:
    """A store with a working VPN connection."""

    def __init__(self) -> None:
        self.store, self.caller = MemoryStore(), Caller(operator=True)
        for number, edge in enumerate(("e1", "e2"), 21):
            uplink = f"eth2,198.18.0.{number}/24,198.18.0.254"
            hosts.create_host(
                self.store, self.caller, name=edge, underlay=f"192.0.2.{number}", role=Role.EDGE, pair="west", uplink=uplink
            )
        publish_keys(self.store, "e1", "e2")
        apply_cloud(self.store, plan_cloud(self.store, self.caller, load_cloud("vpc.yaml", CLOUD)))
        vpc = self.records.vpc.record
        self.gateway = create_vpn_gateway(self.store, self.caller, vpc.id, name="home").id
        customer = create_customer_gateway(self.store, self.caller, name="office", address="203.0.113.80")
        self.connection: VpnConnection = create_vpn_connection(
            self.store, self.caller, self.gateway, customer.id, Wanted(name="office")
        )[0]
        up = TunnelStatus(ike="ESTABLISHED", child="INSTALLED", packets_in=1, bgp="Established", accepted=1)
        for number, tunnel in enumerate(self.connection.tunnels, 1):
            self.put(keys.host_live(tunnel.edge), True)
            self.put(keys.tunnel_status(tunnel.edge, self.connection.id), VpnStatus(tunnels={number: up}))
            self.reach(tunnel.edge, SITE)

    @property
    def records(self) -> VpcRecords:
        return resolve(read_inventory(self.store), self.caller, "vpc", "a")[0]

    def put(self, key: str, record: object) -> None:
        self.store.txn((), [Put(key, encode(record))])

    def reach(self, edge: str, *prefixes: str) -> None:
        found = tuple(ReachedPrefix(prefix=prefix, origin=Origin.VPN_BGP, as_path_length=1) for prefix in prefixes)
        vni = self.connection.vni
        self.put(keys.reach(vni, self.gateway, edge), Reach(vni=vni, gateway=self.gateway, edge=edge, prefixes=found))

    def change_table(self, name: str, **changes: object) -> None:
        table = next(table for table in self.records.each(RouteTable) if table.name == name)
        self.put(keys.resource(table.id), msgspec.structs.replace(table, **changes))

    def words(self) -> list[tuple[int, str]]:
        return [(finding.tunnel, finding.word) for finding in diagnose(facts_of(self.store, self.connection))]


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    found = Cloud()
    yield found
    found.store.close()


def test_tables_that_no_subnet_has_do_not_count(cloud: Cloud) -> None:
    cloud.change_table("unused", propagating=(cloud.gateway,))
    assert {table.name for table in facts_of(cloud.store, cloud.connection).tables} == {"main", "inner"}
    assert cloud.words() == [(0, "not_propagated")]


def test_a_table_that_learns_leads_there(cloud: Cloud) -> None:
    cloud.change_table("inner", propagating=(cloud.gateway,))
    tables = facts_of(cloud.store, cloud.connection).tables
    assert TableFacts(name="inner", leads=frozenset({SITE})) in tables
    assert cloud.words() == []


def test_a_route_by_hand_leads_to_what_is_inside(cloud: Cloud) -> None:
    cloud.change_table("main", routes=(VpcRoute(destination="192.0.0.0/8", target=cloud.gateway),))
    assert cloud.words() == []


def test_a_group_that_no_interface_has_lets_nothing_in(cloud: Cloud) -> None:
    cloud.change_table("main", propagating=(cloud.gateway,))
    cloud.reach("e1", FAR, SITE)
    assert facts_of(cloud.store, cloud.connection).admitted == {SITE}  # through a prefix list
    assert cloud.words() == [(0, "closed")]
    group = next(group for group in cloud.records.each(SecurityGroup) if group.name == "web")
    cloud.put(keys.resource(group.id), msgspec.structs.replace(group, ingress=()))
    assert facts_of(cloud.store, cloud.connection).admitted == frozenset()


def test_what_an_edge_says_is_of_its_own_tunnel(cloud: Cloud) -> None:
    cloud.change_table("main", propagating=(cloud.gateway,))
    first = cloud.connection.tunnels[0].edge
    status = VpnStatus(tunnels={1: TunnelStatus(problem="wrong_psk")})
    cloud.put(keys.tunnel_status(first, cloud.connection.id), status)
    assert cloud.words() == [(1, "wrong_psk")]


def test_an_edge_may_be_drained_not_ready_dead_or_without_a_secret(cloud: Cloud) -> None:
    cloud.change_table("main", propagating=(cloud.gateway,))
    first, second = (tunnel.edge for tunnel in cloud.connection.tunnels)
    cloud.put(keys.host_drained(first), True)
    cloud.put(keys.agent_status(second), AgentStatus(version="", pid=1, started_at=0.0, not_ready="no BGP session"))
    assert cloud.words() == [(1, "drained"), (2, "edge_not_ready"), (0, "edges_lost")]
    for key in (keys.host_drained(first), keys.secret(first, cloud.connection.id), keys.host_live(second)):
        cloud.store.txn((), [Delete(key)])
    assert cloud.words() == [(1, "no_secret"), (2, "no_agent")]
