"""Packets between sites and VPCs that no command traces: to addresses without an interface, and into a tunnel that is down."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from netorch.diagnose.sites import modelled
from netorch.model.ids import port_name
from netorch.model.packet import Packet, echo
from netorch.records.inventory import read_inventory
from netorch.state.names import tunnel_name
from netorch.store.sqlite.store import SqliteStore
from netorch.trace.codes import Code
from netorch.trace.host_model import HostModel
from netorch.trace.walk import walk
from netorch.trace.way import Arrival, Departure, Place
from tests.unit.diagnose.vpn.conftest import Site


@pytest.fixture
def models(site: Site, tmp_path: Path) -> dict[str, HostModel]:
    """Return the models of all hosts, as their agents would build them."""
    with closing(SqliteStore(tmp_path / "db")) as store:
        records = read_inventory(store).vpcs[site.records.vni]
        found, problems = modelled(store, ["e1", "e2", "hv1", "hv2"], [records])
    assert problems == {}
    return found


def end_of(site: Site, name: str, number: int) -> Arrival:
    ifname = tunnel_name(site.records.vni, site.connections[name].id, number - 1)
    return Arrival(host=site.edge_of(name, number), ifname=ifname)


@pytest.mark.parametrize(
    ("packet", "code", "place"),
    [
        (echo("172.20.7.7", "10.0.1.99"), Code.VGW_PRIVATE_IP_ASSOCIATION_FOR_INGRESS, Place.ROUTE),
        (echo("172.20.7.7", "8.8.8.8"), Code.VGW_PRIVATE_IP_ASSOCIATION_FOR_INGRESS, Place.ROUTE),
        (echo("172.20.7.7", "192.168.7.7"), Code.VGW_PRIVATE_IP_ASSOCIATION_FOR_INGRESS, Place.ROUTE),
        (echo("10.0.1.77", "10.0.1.5"), Code.VGW_REJECTS_SPOOFED_TRAFFIC, Place.POLICY),
        (echo("8.8.8.8", "10.0.1.5"), Code.VGW_REJECTS_SPOOFED_TRAFFIC, Place.POLICY),
    ],
)
def test_a_site_gets_to_interfaces_only_and_from_what_is_there_only(
    site: Site, models: dict[str, HostModel], packet: Packet, code: Code, place: Place
) -> None:
    found = walk(models, end_of(site, "branch", 1), packet)
    assert (found.code, found.hops[-1].place) == (code, place)


def test_a_packet_dies_in_a_tunnel_that_is_down_though_the_route_is_still_there(site: Site, models: dict[str, HostModel]) -> None:
    for name, host_model in models.items():
        ends = {ifname: msgspec.structs.replace(end, problem="IKE has ended") for ifname, end in host_model.ends.items()}
        models[name] = HostModel(name, host_model.objects, ends)
    mapping = site.records.mappings["10.0.1.5"].record
    start = Departure(host="hv1", ifname=port_name(mapping.eni), mac=mapping.mac)
    for destination, code in (("172.20.7.7", Code.BAD_STATE_VPN), ("10.44.7.7", Code.BAD_STATE_VIRTUAL_INTERFACE)):
        found = walk(models, start, echo("10.0.1.5", destination))
        assert (found.code, found.hops[-1].place) == (code, Place.SITE)
        assert found.hops[-1].said.endswith(": IKE has ended")
