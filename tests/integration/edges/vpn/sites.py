"""Customers' sites behind the internet, and VPN connections to them: control's records, and devices with real daemons.

a/one 10.0.1.5 - hv1 - e1, e2 - border - a's device 198.18.81.2 - 10.44.0.9
                                       - b's device 198.18.82.2 - 10.44.0.9
"""

from __future__ import annotations

import socket
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from netorch.drivers.probe.echo import Probe, ask
from netorch.lab.wiring import in_node
from netorch.model.eni import Placement
from netorch.model.ids import make_id
from netorch.model.mapping import GatewayMapping, Seat
from netorch.model.outside.secrets import Secret, seal
from netorch.model.outside.vpn import Tunnel, TunnelOptions, VirtualPrivateGateway, VpnConnection
from netorch.model.status import Sealed, SealingKey
from netorch.model.vpc import RouteTable
from netorch.records import keys
from netorch.records.codec import decode, encode
from netorch.spec.vpn_config.bgp import bird_conf
from netorch.spec.vpn_config.facts import EXAMPLE, Facts, facts_of
from netorch.spec.vpn_config.swanctl import COMMAND, swanctl_conf
from netorch.store.base import Put
from tests.integration.edges.vpn.device import Device
from tests.rig.outskirts import BORDER, EDGES, UPLINKS, Outskirts
from tests.rig.world import wait_for

SITE: Final = "10.44.0.0/16"
SERVER: Final = "10.44.0.9"
PSKS: Final = {1: "first.key_of.the.test", 2: "second.key_of.the.test"}
PORT: Final = 6000
PATIENCE_S: Final = 60.0


def vpn_gateway_of(vni: int) -> str:
    """Return the id of a VPC's virtual private gateway."""
    return make_id("vgw", vni, 0xD0E0F0100)


class Site:
    """A customer's network: a device with a public address, and a server behind it."""

    def __init__(self, outskirts: Outskirts, name: str, number: int, directory: Path) -> None:
        self.device = Device(f"site-{name}", directory / f"site-{name}")
        self.address = f"198.18.{number}.2"
        port = f"to-site-{name}"
        self.device.shell(
            f"ip link add eth0 type veth peer name {port} netns {BORDER}; ip address add {self.address}/24 dev eth0;"
            f"ip link set eth0 up; ip route add default via 198.18.{number}.1;"
            f"ip link add lan type dummy; ip address add {SERVER}/16 dev lan; ip link set lan up"
        )
        with outskirts.rtnl(BORDER) as border:
            index = border.link_lookup(ifname=port)[0]
            border.addr("add", index=index, address=f"198.18.{number}.1", prefixlen=24)
            border.link("set", index=index, state="up")

    def follow(self, facts: Facts) -> None:
        """Carry out this device's configuration: the commands in its comments, then the file itself."""
        text = swanctl_conf(facts, PSKS)
        lines = [line.removeprefix(COMMAND) for line in text.splitlines() if line.startswith(COMMAND)]
        end = lines.index("}")
        self.device.start_charon("\n".join(lines[: end + 1]))
        self.device.shell("\n".join(lines[end + 1 :]))
        self.device.load(text)
        if not facts.ends[0].connection.static:
            self.device.start_bird(bird_conf(facts, PSKS).replace(EXAMPLE, SITE))

    def close(self) -> None:
        """Stop the site's processes."""
        self.device.close()


class Private:
    """VPN connections of the VPCs of a cloud with a pair of edges."""

    def __init__(self, outskirts: Outskirts) -> None:
        self.outskirts = outskirts
        self.world = outskirts.world

    def seat(self, name: str) -> None:
        """Give a VPC a virtual private gateway on both edges, which propagates into the VPC's main table."""
        vni = self.world.vpc(name).vni
        gateway = vpn_gateway_of(vni)
        seats = tuple(Seat(host=edge, vtep=self.world.hosts[edge].vtep) for edge in EDGES)
        self.put(keys.resource(gateway), VirtualPrivateGateway(id=gateway, vni=vni))
        self.put(keys.gateway_mapping(vni, gateway), GatewayMapping(vni=vni, gateway=gateway, seats=seats))
        for edge in EDGES:
            self.put(keys.placement(edge, gateway), Placement(id=gateway))
        table = next(table for table in self.world.vpc(name).each(RouteTable) if table.main)
        self.put(keys.resource(table.id), msgspec.structs.replace(table, propagating=(gateway,)))

    def connect(
        self, name: str, site: Site, number: int = 1, *, static: bool = True, options: TunnelOptions | None = None
    ) -> Facts:
        """Make a VPN connection to a site, and return the values for its device."""
        records = self.world.vpc(name)
        vni = records.vni
        tunnels = tuple(
            Tunnel(
                inside_cidr=f"169.254.{10 + number}.{4 * place}/30",
                edge=edge,
                address=UPLINKS[edge].address.partition("/")[0],
                options=options or TunnelOptions(),
            )
            for place, edge in enumerate(EDGES)
        )
        connection = VpnConnection(
            id=make_id("vpn", vni, 0xE0F010200 + number),
            vni=vni,
            name=f"office-{number}",
            gateway=vpn_gateway_of(vni),
            customer_gateway=make_id("cgw", 0, number),
            number=number,
            asn=65000,
            address=site.address,
            static=static,
            routes=(SITE,) if static else (),
            tunnels=tunnels,
        )
        for place, edge in enumerate(EDGES, 1):
            self.seal(edge, connection.id, place, PSKS[place])
        self.put(keys.resource(connection.id), connection)
        gateway = VirtualPrivateGateway(id=vpn_gateway_of(vni), vni=vni)
        return facts_of(connection, gateway, records.vpc.record.cidrs)

    def seal(self, edge: str, resource_id: str, number: int, psk: str) -> None:
        """Seal a pre-shared key for an edge."""
        key = keys.edge_key(edge)
        wait_for(lambda: self.world.store.get(key) is not None, f"the public key of {edge}")
        found = self.world.store.get(key)
        assert found is not None
        box = seal(decode(found, SealingKey).public, Secret(psk=psk))
        self.put(keys.secret(edge, resource_id), Sealed(boxes={number: box}))

    def put(self, key: str, record: object) -> None:
        """Write a record."""
        self.world.store.txn((), [Put(key, encode(record))])


class Stage:
    """Customers with VPCs and sites."""

    def __init__(self, outskirts: Outskirts) -> None:
        self.outskirts = outskirts
        self.private = Private(outskirts)
        self.sites: dict[str, Site] = {}

    def wait_up(self, *names: str) -> None:
        """Wait until both tunnels of these (default: all) sites are up, and instances reach the sites."""
        for name in names or self.sites:
            device = self.sites[name].device
            wait_for(lambda device=device: device.installed() == len(EDGES), f"both tunnels of {name}", PATIENCE_S)  # type: ignore[misc]
            self.wait_reaches(f"{name}/one")

    def wait_reaches(self, name: str) -> None:
        """Wait until the server of its site answers an instance."""
        wait_for(lambda: self.reaches(name), f"{name} to reach its site", PATIENCE_S)

    def reaches(self, name: str, destination: str = SERVER) -> bool:
        """Return whether an echo from an instance is answered."""
        return ask([Probe(netns=self.outskirts.place(name), destination=destination)], 1.0, 1)[0].ok

    def sender(self, name: str) -> socket.socket:
        """Return a socket that sends datagrams as an instance."""
        with in_node(self.outskirts.place(name)):
            return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def say(self, name: str, payload: bytes) -> None:
        """Let an instance send a datagram to the server of its site."""
        with self.sender(name) as sender, suppress(OSError):
            sender.sendto(payload, (SERVER, PORT))

    def listener(self, place: str) -> socket.socket:
        """Return a socket in a namespace that receives such datagrams at the server's address."""
        with in_node(place):
            found = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        found.bind((SERVER, PORT))
        found.settimeout(1.0)
        return found

    def bgp_protocols(self, name: str) -> list[str]:
        """Return the names of the BGP protocols of a site's bird."""
        lines = (line.split() for line in self.sites[name].device.bird("show protocols").splitlines())
        return [words[0] for words in lines if len(words) > 1 and words[1] == "BGP"]

    def dropped(self, reason: str) -> int:
        """Return the number of packets that both edges have dropped for a reason."""
        return sum(self.outskirts.world.counters(edge).get(reason, 0) for edge in EDGES)

    def close(self) -> None:
        """Stop everything."""
        for site in self.sites.values():
            site.close()
        self.outskirts.close()


def takes(server: socket.socket, payload: bytes) -> bool:
    """Return whether a socket receives a datagram with a payload."""
    with suppress(TimeoutError):
        while True:
            if server.recv(64) == payload:
                return True
    return False
