"""Subnets whose table leads their own range elsewhere: each has its own VRF, in which that range is local."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from netorch.control.actions.instances import Placed
from netorch.control.actions.subnets import create_subnet
from netorch.model.ids import port_name
from netorch.model.vpc import VpcRoute
from netorch.records import keys
from netorch.records.codec import encode
from netorch.records.inventory import read_inventory
from netorch.state.l3 import UNREACHABLE, Route
from netorch.state.link import VethPort, Vrf
from netorch.state.names import to_inlet_name, vrf_number, vrf_table
from tests.unit.agent.world import World


class Office:
    """Subnets a and b of the main table, each with an interface on hv1 and one on hv2; b1 is an appliance."""

    def __init__(self, path: Path) -> None:
        self.world = World(path, "hv1", "hv2")
        self.vpc, a = self.world.vpc("a")
        b = create_subnet(self.world.store, self.world.operator, self.vpc.id, name="b", cidr="10.0.1.0/24")
        self.a1, self.a2, self.b1, self.b2 = (self.world.run(subnet, host) for subnet in (a, b) for host in ("hv1", "hv2"))
        self.world.settle(3)

    def lead(self, *destinations: str) -> None:
        """Set the main table's routes: these destinations, to b1."""
        table = read_inventory(self.world.store).vpcs[self.vpc.vni].main_table()
        assert table is not None
        routes = tuple(VpcRoute(destination=dst, target=self.b1.eni.id) for dst in destinations)
        self.world.put(keys.resource(table.id), encode(msgspec.structs.replace(table, routes=routes)))
        self.world.settle(3)

    def vrf(self, placed: Placed) -> str:
        """Return the VRF of a port of hv1."""
        port = self.world.kernels["hv1"].objects["link", "overlay", port_name(placed.eni.id)]
        assert isinstance(port, VethPort)
        return port.vrf

    def way(self, start: Placed, address: str) -> str:
        """Return the output device of packets to an address from the VRF of a port on hv1; without one, the route's type."""
        table = vrf_table(self.vpc.vni, vrf_number(self.vrf(start)))
        routes = {
            obj.dst: obj for obj in self.world.kernels["hv1"].objects.values() if isinstance(obj, Route) and obj.table == table
        }
        third = ".".join(address.split(".")[:3])
        found = next(routes[dst] for dst in (f"{address}/32", f"{third}.0/24", "10.0.0.0/16") if dst in routes)
        return found.ifname or found.type


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


@pytest.mark.parametrize("destinations", [("10.0.0.0/16",), ("10.0.0.0/24", "10.0.1.0/24")], ids=["all", "each"])
def test_what_stays_in_a_subnet_goes_straight_and_the_rest_as_its_table_says(
    office: Office, destinations: tuple[str, ...]
) -> None:
    office.lead(*destinations)
    vxlan, inlet = f"vx{office.vpc.vni}", to_inlet_name(office.vpc.vni, office.b1.eni.id)
    assert office.vrf(office.a1) != office.vrf(office.b1)
    assert office.way(office.a1, office.a2.eni.address) == vxlan
    assert office.way(office.a1, office.b2.eni.address) == inlet
    assert office.way(office.b1, office.b2.eni.address) == vxlan
    assert office.way(office.b1, office.a2.eni.address) == inlet
    assert office.way(office.a1, "10.0.0.99") == UNREACHABLE, "nobody there has the address"
    office.world.assert_settled()


def test_a_table_that_leads_one_subnet_elsewhere_keeps_its_vrf_for_the_others(office: Office) -> None:
    office.lead("10.0.0.0/24")
    vni = office.vpc.vni
    assert office.vrf(office.b1) == f"vrf{vni}.255"
    assert vrf_number(office.vrf(office.a1)) in range(201, 255)
    office.world.assert_settled()
    office.lead()
    assert {office.vrf(office.a1), office.vrf(office.b1)} == {f"vrf{vni}"}
    assert [obj.ifname for obj in office.world.kernels["hv1"].objects.values() if isinstance(obj, Vrf)] == [f"vrf{vni}"]
    office.world.assert_settled()


def test_a_fresh_agent_learns_the_vrfs_of_subnets_from_their_ports(office: Office) -> None:
    """The subnets' numbers are in another order than a fresh agent would choose."""
    office.lead("10.0.1.0/24")
    office.lead("10.0.0.0/16")
    before = office.vrf(office.a1), office.vrf(office.b1)
    assert vrf_number(before[1]) < vrf_number(before[0])
    office.world.new_ops("hv1")
    office.world.start("hv1")
    office.world.settle(3)
    assert office.world.new_ops("hv1") == []
    assert (office.vrf(office.a1), office.vrf(office.b1)) == before
    office.world.assert_settled()


def test_without_a_number_for_a_subnet_its_vpc_stays_as_it_is_and_says_so(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("netorch.agent.numbers.INLET_NUMBER_LAST", 201)
    before = office.vrf(office.a1)
    office.lead("10.0.0.0/16")
    problem = office.world.agents["hv1"].reconciler.problems[office.vpc.vni]
    assert "have a VRF of their own on this host, which is the limit" in problem
    assert office.vrf(office.a1) == before
    office.lead("10.0.0.0/24")
    assert vrf_number(office.vrf(office.a1)) == 201
    assert f"routes to {office.b1.eni.id} are black holes" in office.world.agents["hv1"].reconciler.problems[office.vpc.vni]
