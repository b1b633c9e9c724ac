"""Two VPCs with the same addresses behind a pair of edges in memory, and packets between them and the internet."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from netorch.control.actions.groups import create_security_group
from netorch.control.actions.instances import Placed
from netorch.control.actions.memberships import modify_interface_groups
from netorch.control.actions.permissions import Permission, authorize
from netorch.model.eni import NetworkInterface
from netorch.model.ids import port_name
from netorch.model.packet import Packet, echo
from netorch.model.security import Direction
from netorch.model.vpc import VpcRoute
from netorch.records import keys
from netorch.records.codec import encode
from netorch.records.inventory import read_inventory
from netorch.trace.host_model import HostModel
from netorch.trace.walk import round_trip
from netorch.trace.way import Arrival, Departure, RoundTrip
from tests.unit.edges.pair import UPLINK, Pair, gateway_of

SERVER: Final = "203.0.113.10"


class Internet:
    """Two VPCs with the same addresses, and with a gateway and an instance with a public address each."""

    def __init__(self, path: Path) -> None:
        self.pair = Pair(path)
        self.placed: list[Placed] = []
        self.publics: list[str] = []
        for number, name in enumerate(("a", "b"), 5):
            vpc, subnet = self.pair.world.vpc(name)
            self.pair.seat(vpc)
            placed = self.pair.world.run(subnet, "hv1")
            self._open(placed, vpc.id)
            self._route(vpc.vni)
            self.placed.append(placed)
            self.publics.append(f"198.51.100.{number}")
            self.pair.associate(vpc, self.publics[-1], placed.eni.address)
        self.pair.world.settle(5)

    def _open(self, placed: Placed, vpc: str) -> None:
        world = self.pair.world
        group = create_security_group(world.store, world.operator, vpc, name="open", description="")
        everybody = Permission(protocol="all", peer="0.0.0.0/0")
        authorize(world.store, world.operator, group.id, Direction.INGRESS, [everybody])
        modify_interface_groups(world.store, world.operator, placed.eni.id, [group.id])

    def _route(self, vni: int) -> None:
        table = read_inventory(self.pair.world.store).vpcs[vni].main_table()
        assert table is not None
        routes = (*table.routes, VpcRoute(destination="0.0.0.0/0", target=gateway_of(vni)))
        self.pair.world.put(keys.resource(table.id), encode(msgspec.structs.replace(table, routes=routes)))

    @property
    def models(self) -> dict[str, HostModel]:
        """Return the models of all hosts, as their kernels are now."""
        return {name: HostModel(name, kernel.objects) for name, kernel in self.pair.world.kernels.items()}

    def eni(self, number: int) -> NetworkInterface:
        """Return the interface of a VPC's instance."""
        return self.placed[number].eni

    def vpc_of(self, number: int) -> str:
        """Return the id of a VPC."""
        return read_inventory(self.pair.world.store).vpcs[self.eni(number).vni].vpc.record.id

    def sent(self, number: int, destination: str) -> RoundTrip:
        """Return the round trip of a ping that an instance sends."""
        eni = self.eni(number)
        start = Departure(host="hv1", ifname=port_name(eni.id), mac=eni.mac)
        return round_trip(self.models, start, echo(eni.address, destination))

    def comes(self, edge: str, packet: Packet) -> RoundTrip:
        """Return the round trip of a packet that an edge receives from the internet."""
        return round_trip(self.models, Arrival(host=edge, ifname=UPLINK.device), packet)

    def remove(self, edge: str, kind: type, **fields: object) -> None:
        """Delete from an edge the objects of a kind that have these fields."""
        objects = self.pair.world.kernels[edge].objects
        found = [
            obj for obj in objects.values() if isinstance(obj, kind) and all(getattr(obj, f) == v for f, v in fields.items())
        ]
        assert found
        for obj in found:
            del objects[obj.key]
