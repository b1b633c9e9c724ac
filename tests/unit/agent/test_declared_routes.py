"""Routes of a vpc.yaml and of commands, from their text to the kernels of hosts."""

from __future__ import annotations

from pathlib import Path

import pytest

from netorch.control.actions import enis, route_tables
from netorch.control.apply.cloud import apply_cloud, plan_cloud
from netorch.model.eni import NetworkInterface
from netorch.model.vpc import RouteTable
from netorch.records.inventory import read_inventory
from netorch.records.vpc import VpcRecords
from netorch.spec import load_cloud
from netorch.state.l3 import Route
from netorch.state.names import to_inlet_name, vrf_table
from netorch.state.nft import NftElement
from tests.unit.agent.world import World

CLOUD = """
vpcs:
- name: web
  owner: acme
  vni: 5000
  cidrs: [10.0.0.0/16]
  prefix_lists: [{name: s3, cidrs: [198.51.100.0/24, 203.0.113.0/24]}]
  peerings: [{name: d, peer: data}]
  route_tables:
  - {name: main, routes: [192.0.2.0/24 via blackhole]}
  - {name: inner, routes: [0.0.0.0/0 via eni fw, pl-s3 via blackhole, 10.0.2.0/24 via eni fw, 10.1.0.0/16 via pcx-d]}
  subnets:
  - {name: app, cidr: 10.0.1.0/24, route_table: inner}
  - {name: db, cidr: 10.0.2.0/24}
  instances:
  - {name: a, subnet: app, host: hv1}
  - {name: d, subnet: db, host: hv2, address: 10.0.2.4}
  - {name: fw, subnet: db, host: hv1, source_dest_check: false}
- name: data
  owner: acme
  vni: 7000
  cidrs: [10.1.0.0/16]
  route_tables: [{name: main, routes: [10.0.0.0/16 via pcx-w]}]
  peerings: [{name: w, peer: web}]
  subnets: [{name: a, cidr: 10.1.1.0/24}]
  instances: [{name: there, host: hv2, address: 10.1.1.4}]
"""


@pytest.fixture
def world(tmp_path: Path) -> World:
    found = World(tmp_path, "hv1", "hv2")
    declare(found, CLOUD)
    return found


def declare(world: World, text: str) -> None:
    apply_cloud(world.store, plan_cloud(world.store, world.operator, load_cloud("vpc.yaml", text), source="/vpc.yaml"))
    world.settle(3)


def records(world: World) -> VpcRecords:
    return read_inventory(world.store).vpcs[5000]


def table_id(world: World, name: str) -> str:
    return next(table.id for table in records(world).each(RouteTable) if table.name == name)


def ways(world: World, host: str, number: int) -> dict[str, str]:
    """Return a VRF's routes by destination: the output device, or the type of those without one."""
    table = vrf_table(5000, number)
    found = [obj for obj in world.kernels[host].objects.values() if isinstance(obj, Route) and obj.table == table]
    return {obj.dst: obj.ifname or obj.type for obj in sorted(found, key=lambda obj: obj.metric, reverse=True)}


def test_a_file_s_routes_are_in_the_vrfs_of_the_hosts_that_use_its_tables(world: World) -> None:
    fw = next(eni for eni in records(world).each(NetworkInterface) if not eni.source_dest_check)
    inner, main = ways(world, "hv1", 1), ways(world, "hv1", 0)
    near = to_inlet_name(5000, fw.id)
    assert {dst: inner[dst] for dst in ("0.0.0.0/0", "10.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "10.1.1.4/32")} == {
        "0.0.0.0/0": near,
        "10.0.2.0/24": near,
        "198.51.100.0/24": "blackhole",
        "203.0.113.0/24": "blackhole",
        "10.1.1.4/32": "vx7000",
    }
    assert "10.0.2.4/32" not in inner
    assert main["10.0.2.4/32"] == "vx5000"
    assert main["192.0.2.0/24"] == "blackhole"
    assert "10.1.1.4/32" not in main
    assert ways(world, "hv2", 1) == {}
    world.assert_settled()


def test_commands_change_what_hosts_hold(world: World) -> None:
    table = table_id(world, "inner")
    route_tables.replace_route(world.store, world.operator, table, "0.0.0.0/0", "blackhole")
    route_tables.delete_route(world.store, world.operator, table, "pl-s3")
    route_tables.delete_route(world.store, world.operator, table, "10.1.0.0/16")
    world.settle(3)
    inner = ways(world, "hv1", 1)
    assert inner["0.0.0.0/0"] == "blackhole"
    assert not {"198.51.100.0/24", "203.0.113.0/24", "10.1.1.4/32"} & inner.keys()
    world.assert_settled()


def test_the_check_of_an_appliance_decides_whether_its_host_may_speak_for_others(world: World) -> None:
    def speakers() -> set[str]:
        objects = world.kernels["hv2"].objects.values()
        return {obj.items[0] for obj in objects if isinstance(obj, NftElement) and obj.set == "speakers"}

    assert speakers() == {"192.0.2.11"}
    fw = next(eni for eni in records(world).each(NetworkInterface) if not eni.source_dest_check)
    enis.modify_network_interface(world.store, world.operator, fw.id, source_dest_check=True)
    world.settle(3)
    assert speakers() == set()
    world.assert_settled()


def test_a_file_without_its_routes_takes_them_away(world: World) -> None:
    lines = [line for line in CLOUD.splitlines() if "routes:" not in line and "prefix_lists" not in line]
    declare(world, "\n".join(lines).replace(", route_table: inner", "").replace("  route_tables:\n", ""))
    assert ways(world, "hv1", 1) == {}
    assert not {"192.0.2.0/24", "10.0.2.0/24"} & ways(world, "hv1", 0).keys()
    world.assert_settled()
