"""A VPC with a gateway on two edges."""

from __future__ import annotations

import msgspec

from netorch.model.mapping import GatewayMapping, Seat
from netorch.model.routing.next_hop import gateway_mac
from netorch.model.routing.seats import seat_for
from netorch.model.vpc import VpcRoute
from netorch.records import keys
from netorch.records.codec import encode
from netorch.records.inventory import read_inventory
from netorch.state.base import UNDERLAY, KernelObject
from netorch.state.l2 import Fdb
from netorch.state.l3 import Route
from netorch.state.nft import NftChain, NftElement
from tests.rig.seats import gateway_of, seat_gateway
from tests.unit.agent.world import World

IPV6 = "fd00:44::/56"
DEFAULT, PREFIX, DEFAULT6 = "0.0.0.0/0", "203.0.113.0/24", "::/0"
EDGES = ("hv3", "hv4")


class Shop:
    """A VPC with interfaces on two hosts and a gateway on two others, which act as edges."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.vpc, self.subnet = world.vpc("a", ipv6=IPV6)
        for host in ("hv1", "hv2"):
            world.run(self.subnet, host)
        self.vni = self.vpc.vni
        self.gateway = gateway_of(self.vni)
        self.seat(*EDGES)
        self.route(DEFAULT, PREFIX, DEFAULT6)
        world.settle(3)
        self.forget()

    def seat(self, *hosts: str) -> None:
        """Place the gateway on these hosts, or on none."""
        seat_gateway(self.world.store, self.vni, {host: vtep(host) for host in hosts})

    def route(self, *destinations: str) -> None:
        """Set the main table's routes: these destinations, to the gateway."""
        table = read_inventory(self.world.store).vpcs[self.vni].main_table()
        assert table is not None
        routes = tuple(VpcRoute(destination=dst, target=self.gateway) for dst in destinations)
        self.world.put(keys.resource(table.id), encode(msgspec.structs.replace(table, routes=routes)))

    def forget(self) -> None:
        for host in self.world.agents:
            self.world.new_ops(host)

    def objects(self, host: str) -> list[KernelObject]:
        return list(self.world.kernels[host].objects.values())

    def leads_to(self, host: str) -> str:
        """Return the VTEP for the gateway's MAC."""
        return next(obj.dst for obj in self.objects(host) if isinstance(obj, Fdb) and obj.lladdr == gateway_mac(self.gateway))

    def ways(self, host: str) -> dict[str, Route]:
        return {obj.dst: obj for obj in self.objects(host) if isinstance(obj, Route) and obj.dst in (DEFAULT, PREFIX, DEFAULT6)}

    def chosen(self, host: str, *silent: str) -> str:
        seats = tuple(Seat(host=edge, vtep=vtep(edge)) for edge in EDGES)
        mapping = GatewayMapping(vni=self.vni, gateway=self.gateway, seats=seats)
        return seat_for(host, mapping, {vtep(name) for name in silent}).vtep

    def speakers(self, host: str) -> dict[str, str]:
        return {obj.items[0]: obj.value for obj in self.objects(host) if isinstance(obj, NftElement) and obj.set == "speakers"}

    def chain(self, host: str) -> NftChain | None:
        return next((obj for obj in self.objects(host) if isinstance(obj, NftChain) and obj.netns == UNDERLAY), None)

    def silent(self, host: str, *edges: str) -> None:
        self.world.agents[host].records.set_silent({vtep(edge) for edge in edges})
        self.world.turn(host, audits=False)


def vtep(host: str) -> str:
    return f"192.0.2.{10 + int(host[2:])}"
