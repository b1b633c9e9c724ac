"""A VPC with a virtual private gateway on two edges, and its sites."""

from __future__ import annotations

from typing import Final

import msgspec

from netorch.drivers.base import LearnedRoute
from netorch.model.eni import Host, Placement, Role, Uplink
from netorch.model.ids import make_id
from netorch.model.mapping import GatewayMapping, Reach, Seat
from netorch.model.outside.direct_connect import VirtualInterface
from netorch.model.outside.vpn import Tunnel, VirtualPrivateGateway, VpnConnection
from netorch.model.routing.effective import Origin
from netorch.model.status import Sealed, TunnelStatus
from netorch.model.vpc import RouteTable
from netorch.records import keys
from netorch.records.codec import encode
from netorch.records.inventory import read_inventory
from netorch.records.read import read_all
from netorch.state.l3 import UNICAST, Route
from netorch.state.names import VPN_GATEWAY_NUMBER, vrf_table
from tests.unit.agent.world import World

EDGES: Final = {"hv3": "198.18.0.23", "hv4": "198.18.0.24"}
SITE: Final = "10.44.0.0/16"
UP: Final = TunnelStatus(ike="ESTABLISHED", child="INSTALLED")


class Office:
    """A VPC with an instance on hv1 and a gateway on two edges, hv3 and hv4, and connections to a site."""

    def __init__(self, world: World) -> None:
        self.world = world
        for name, address in EDGES.items():
            uplink = Uplink(device="out0", address=f"{address}/24", gateway="198.18.0.254")
            record = Host(name=name, underlay=vtep(name), role=Role.EDGE, pair="west", uplink=uplink)
            world.kernels[name].host.devices.add("out0")
            world.kernels[name].public_key = "cHVibGlj"
            self.put(keys.host_spec(name), record)
        self.vpc, subnet = world.vpc("a")
        world.run(subnet, "hv1")
        self.vni = self.vpc.vni
        self.gateway = make_id("vgw", self.vni, 0xD0E0F0100)
        seats = tuple(Seat(host=name, vtep=vtep(name)) for name in EDGES)
        self.put(keys.resource(self.gateway), VirtualPrivateGateway(id=self.gateway, vni=self.vni))
        self.put(keys.gateway_mapping(self.vni, self.gateway), GatewayMapping(vni=self.vni, gateway=self.gateway, seats=seats))
        for name in EDGES:
            self.put(keys.placement(name, self.gateway), Placement(id=self.gateway))
        table = next(stored.record for stored in read_all(world.store, RouteTable, self.vni).values() if stored.record.main)
        self.put(keys.resource(table.id), msgspec.structs.replace(table, propagating=(self.gateway,)))

    def put(self, key: str, record: object) -> None:
        self.world.put(key, encode(record))

    def connect(self, *, static: bool) -> VpnConnection:
        connection = VpnConnection(
            id=make_id("vpn", self.vni, 0xE0F010201),
            vni=self.vni,
            name="office",
            gateway=self.gateway,
            customer_gateway=make_id("cgw", 0, 1),
            number=1,
            asn=65000,
            address="203.0.113.80",
            static=static,
            routes=(SITE,) if static else (),
            tunnels=tuple(
                Tunnel(inside_cidr=f"169.254.10.{4 * place}/30", edge=name, address=address)
                for place, (name, address) in enumerate(EDGES.items())
            ),
        )
        for place, name in enumerate(EDGES, 1):
            self.put(keys.secret(name, connection.id), Sealed(boxes={place: "c2VhbGVk"}))
        self.put(keys.resource(connection.id), connection)
        self.settle()
        return connection

    def settle(self) -> None:
        for _ in range(6):
            self.world.clock.now += 1.0
            self.world.turn(audits=False)

    def reach(self) -> dict[str, dict[str, tuple[Origin, int]]]:
        records = read_inventory(self.world.store).vpcs[self.vni]
        return {
            found.edge: {each.prefix: (Origin(each.origin), each.as_path_length) for each in found.prefixes}
            for found in records.each(Reach)
        }

    def ways(self, host: str, prefix: str = SITE) -> list[str]:
        """Return the next hops of a host's routes to a prefix."""
        objects = self.world.kernels[host].objects.values()
        return [obj.via for obj in objects if isinstance(obj, Route) and obj.dst == prefix and obj.type == UNICAST]

    def set_tunnel(self, connection: VpnConnection, place: int, status: TunnelStatus) -> None:
        edge = connection.tunnels[place].edge
        self.world.kernels[edge].set_tunnel(f"{connection.id}-{place + 1}", status)

    def learn(self, edge: str, *routes: LearnedRoute) -> None:
        self.world.kernels[edge].learn(vrf_table(self.vni, VPN_GATEWAY_NUMBER), *routes)
        self.settle()


def interface(office: Office, device: str) -> VirtualInterface:
    return VirtualInterface(
        id=make_id("dxvif", office.vni, 0xF0102030405),
        vni=office.vni,
        name="port",
        gateway=office.gateway,
        connection="west",
        edge="hv3",
        device=device,
        vlan=101,
        asn=65010,
        address="169.254.50.1/30",
        peer="169.254.50.2",
    )


def vtep(host: str) -> str:
    return f"192.0.2.{10 + int(host[2:])}"
