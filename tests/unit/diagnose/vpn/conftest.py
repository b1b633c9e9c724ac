"""A VPC with a VPN connection of static routes, one of BGP and a virtual interface, on the command line."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from netorch.model.mapping import Reach, ReachedPrefix
from netorch.model.outside.direct_connect import VirtualInterface
from netorch.model.outside.vpn import VirtualPrivateGateway, VpnConnection
from netorch.model.routing.effective import Origin
from netorch.model.status import TunnelStatus, VifStatus, VpnStatus
from netorch.records import keys
from netorch.records.codec import encode
from netorch.records.inventory import read_inventory
from netorch.records.vpc import VpcRecords
from netorch.store.base import Delete, Put
from netorch.store.sqlite.store import SqliteStore
from tests.unit.cli.conftest import Run
from tests.unit.cli.conftest import quick as quick
from tests.unit.diagnose.conftest import HOSTS
from tests.unit.sealing import publish_keys

STATIC, BY_BGP, BY_VLAN = "192.168.0.0/16", "172.20.0.0/16", "10.44.0.0/16"
CLOUD: Final = """
connections: [{name: ix-7, host: e2, device: eth3, owner: acme}]
customer_gateways:
- {name: office, owner: acme, address: 203.0.113.80}
- {name: branch, owner: acme, address: 203.0.113.81, asn: 65010}
vpcs:
- name: shop
  owner: acme
  cidrs: [10.0.0.0/16]
  vpn_gateway: {}
  vpn_connections:
  - {name: office, customer_gateway: office, static_routes: [192.168.0.0/16]}
  - {name: branch, customer_gateway: branch}
  virtual_interfaces: [{name: dc, connection: ix-7, vlan: 101, asn: 65020}]
  route_tables: [{name: main, propagate: true}, {name: alone}]
  subnets:
  - {name: app, cidr: 10.0.1.0/24}
  - {name: inner, cidr: 10.0.2.0/24, route_table: alone}
  security_groups: [{name: web, ingress: [{protocol: tcp, ports: 443, source: 0.0.0.0/0}]}]
  instances:
  - {name: a1, host: hv1, subnet: app, address: 10.0.1.5, security_groups: [web]}
  - {name: a2, host: hv2, subnet: inner, address: 10.0.2.6, security_groups: [web]}
"""
UP: Final = TunnelStatus(ike="ESTABLISHED", child="INSTALLED", bgp="Established", accepted=1)


class Site:
    """The command line, and the edges' status of the VPC's tunnels and virtual interface."""

    def __init__(self, run: Run, path: Path) -> None:
        self.run = run
        self._path = path / "db"
        with closing(SqliteStore(self._path)) as store:
            self.records: VpcRecords = next(iter(read_inventory(store).vpcs.values()))
        self.connections = {found.name: found for found in self.records.each(VpnConnection)}
        (self.gateway,) = self.records.each(VirtualPrivateGateway)
        (self.vif,) = self.records.each(VirtualInterface)

    def put(self, key: str, record: object | None) -> None:
        """Write a record, or delete it."""
        with closing(SqliteStore(self._path)) as store:
            store.txn((), [Put(key, encode(record)) if record is not None else Delete(key)])

    def tunnel(self, name: str, number: int, status: TunnelStatus) -> None:
        """Write an edge's status of a tunnel."""
        connection = self.connections[name]
        key = keys.tunnel_status(connection.tunnels[number - 1].edge, connection.id)
        self.put(key, VpnStatus(tunnels={number: status}))

    def edge_of(self, name: str, number: int) -> str:
        """Return the edge of a tunnel."""
        return self.connections[name].tunnels[number - 1].edge

    def port(self, status: VifStatus) -> None:
        """Write the edge's status of the virtual interface."""
        self.put(keys.tunnel_status(self.vif.edge, self.vif.id), status)

    def reach(self, edge: str, *prefixes: tuple[str, Origin]) -> None:
        """Write the prefixes that an edge reaches: these, and no others."""
        found = tuple(
            ReachedPrefix(prefix=prefix, origin=origin, as_path_length=0 if origin is Origin.VPN_STATIC else 1)
            for prefix, origin in sorted(prefixes)
        )
        gateway, vni = self.gateway.id, self.records.vni
        self.put(keys.reach(vni, gateway, edge), Reach(vni=vni, gateway=gateway, edge=edge, prefixes=found))


@pytest.fixture
def site(quick: Run, tmp_path: Path) -> Site:
    """Return a VPC whose two edges reach all sites."""
    (tmp_path / "hosts.yaml").write_text(HOSTS)
    (tmp_path / "vpc.yaml").write_text(CLOUD)
    quick("apply", "-f", "hosts.yaml", "--yes")
    with closing(SqliteStore(tmp_path / "db")) as store:
        publish_keys(store, "e1", "e2")
    quick("apply", "-f", "vpc.yaml", "--yes")
    made = Site(lambda *arguments, code=0: quick("--owner", "acme", *arguments, code=code), tmp_path)
    for name in made.connections:
        for number in (1, 2):
            made.tunnel(name, number, UP)
    made.port(VifStatus(carrier=True, bgp="Established", accepted=1))
    by_vpn = (STATIC, Origin.VPN_STATIC), (BY_BGP, Origin.VPN_BGP)
    made.reach("e1", *by_vpn)
    made.reach("e2", *by_vpn, (BY_VLAN, Origin.DIRECT_CONNECT))
    return made
