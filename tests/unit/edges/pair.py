"""A pair of edges and a hypervisor in memory, and the control plane's records of an internet gateway."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from netorch.control.actions import hosts
from netorch.drivers.base import Underlay
from netorch.drivers.fake.kernel import FakeKernel
from netorch.model.eni import Host, Placement, Role, Uplink
from netorch.model.ids import make_id
from netorch.model.mapping import GatewayMapping, Mapping, PublicMapping, Seat
from netorch.model.outside.gateway import InternetGateway
from netorch.model.outside.public import AddressPool
from netorch.model.vpc import Subnet, Vpc
from netorch.records import keys
from netorch.records.codec import decode_value, encode
from tests.unit.agent.world import World

POOL: Final = "198.51.100.0/24"
UPLINK: Final = Uplink(
    device="eth1",
    address="198.18.0.21/24",
    gateway="198.18.0.254",
    ipv6_address="2001:db8:1::21/64",
    ipv6_gateway="2001:db8:1::fe",
)
EDGES: Final = {"e1": "192.0.2.21", "e2": "192.0.2.22"}


class Pair:
    """A world with the hosts hv1, e1 and e2, and an address pool of the pair."""

    def __init__(self, path: Path) -> None:
        self.world = World(path, "hv1")
        for name, vtep in EDGES.items():
            self.put_edge(Host(name=name, underlay=vtep, role=Role.EDGE, pair="west", uplink=UPLINK))
            self.world.start(name, self.kernel())
        self.world.kernels["hv1"].other = self.edge_at
        self.put_pool(POOL)

    def kernel(self) -> FakeKernel:
        """Return a kernel for an edge, with a device for the uplink."""
        kernel = FakeKernel(underlays={vtep: Underlay(ifname="eth0", mtu=1550) for vtep in EDGES.values()})
        kernel.devices.add(UPLINK.device)
        kernel.other = self.edge_at
        return kernel

    def boot(self, edge: str) -> FakeKernel:
        """Replace the kernel of an edge without an agent by an empty one; return it."""
        fresh = self.kernel()
        fresh.identity = self.world.kernels[edge].identity
        self.world.kernels[edge] = fresh
        return fresh

    def edge_at(self, vtep: str) -> FakeKernel | None:
        """Return the kernel of the edge with a VTEP."""
        return next((self.world.kernels[name] for name in EDGES if EDGES[name] == vtep and name in self.world.kernels), None)

    def put_edge(self, host: Host) -> None:
        """Write an edge's record."""
        if self.world.store.get(keys.host_spec(host.name)) is None:
            hosts.create_host(self.world.store, self.world.operator, name=host.name, underlay=host.underlay, role=Role.EDGE)
        self.world.put(keys.host_spec(host.name), encode(host))

    def put_pool(self, *cidrs: str, pair: str = "west") -> None:
        """Write the pool of a pair."""
        self.world.put(keys.pool(pair), encode(AddressPool(name=pair, pair=pair, cidrs=cidrs)))

    def vpc(self, name: str, cidr: str = "10.0.0.0/16", ipv6: str = "") -> tuple[Vpc, Subnet]:
        """Write a VPC with a subnet, an instance on hv1 and an internet gateway on both edges."""
        vpc, subnet = self.world.vpc(name, cidr, ipv6)
        self.world.run(subnet, "hv1")
        self.seat(vpc)
        return vpc, subnet

    def seat(self, vpc: Vpc, *edges: str) -> str:
        """Write an internet gateway of a VPC, on these edges or both; return its id."""
        gateway = gateway_of(vpc.vni)
        chosen = edges or tuple(EDGES)
        seats = tuple(Seat(host=edge, vtep=EDGES[edge]) for edge in chosen)
        self.world.put(keys.resource(gateway), encode(InternetGateway(id=gateway, vni=vpc.vni)))
        self.world.put(keys.gateway_mapping(vpc.vni, gateway), encode(GatewayMapping(vni=vpc.vni, gateway=gateway, seats=seats)))
        for edge in EDGES:
            if edge in chosen:
                self.world.put(keys.placement(edge, gateway), encode(Placement(id=gateway)))
            else:
                self.world.delete(keys.placement(edge, gateway))
        return gateway

    def unseat(self, vpc: Vpc) -> None:
        """Delete the internet gateway of a VPC."""
        gateway = gateway_of(vpc.vni)
        self.world.delete(keys.resource(gateway))
        self.world.delete(keys.gateway_mapping(vpc.vni, gateway))
        for edge in EDGES:
            self.world.delete(keys.placement(edge, gateway))

    def associate(self, vpc: Vpc, address: str, private: str) -> None:
        """Map a public address to a private one."""
        number = int(address.rpartition(".")[2])
        found = self.world.store.get(keys.mapping(vpc.vni, private))
        public = PublicMapping(
            vni=vpc.vni,
            address=address,
            association=make_id("eipassoc", vpc.vni, number),
            eni=decode_value(found.key, found.value, Mapping).eni if found is not None else make_id("eni", vpc.vni, number),
            private_address=private,
            pool="west",
        )
        self.world.put(keys.public_mapping(vpc.vni, address), encode(public))

    def dissociate(self, vpc: Vpc, address: str) -> None:
        """Delete the mapping of a public address."""
        self.world.delete(keys.public_mapping(vpc.vni, address))

    def close(self) -> None:
        """Kill all agents."""
        for name in list(self.world.agents):
            self.world.kill(name)
        for kernel in self.world.kernels.values():
            kernel.close()


def gateway_of(vni: int) -> str:
    """Return the id of a VPC's internet gateway."""
    return make_id("igw", vni, 0xABCDEF01234)
