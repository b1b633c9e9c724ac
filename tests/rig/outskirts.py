"""A cloud with a pair of edges: hypervisors, edges with uplinks to a border router, and an internet host behind the router.

    hv1, hv2 --- spine --- e1 [outside] --- border --- internet 203.0.113.10, 2001:db8:99::10
                       \\-- e2 [outside] ---/

The border routes all pool addresses to one edge: `arrive_at`. Answers may come through the other edge.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec
from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl.ifaddrmsg import IFA_F_NODAD

from netorch.agent.tasks.handover import RETURN_S
from netorch.control.actions.endpoints.gateway import create_gateway_endpoint
from netorch.diagnose.trace import Report, trace
from netorch.drivers import netns
from netorch.drivers.probe.echo import Answer, Probe, ask
from netorch.lab.wiring import in_node
from netorch.model.addr import version_of
from netorch.model.endpoints.endpoint import VpcEndpoint
from netorch.model.eni import Host, Placement, Role, Uplink
from netorch.model.ids import make_id
from netorch.model.mapping import PublicMapping
from netorch.model.outside.public import AddressPool
from netorch.model.routing.peering import PeeringConnection
from netorch.model.vpc import RouteTable, Subnet, VpcRoute
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.codec import encode
from netorch.records.inventory import read_inventory
from netorch.state.base import OUTSIDE
from netorch.state.owner import netns_name
from netorch.store import open_store
from netorch.store.base import Delete, Put
from tests.rig.hosts import end_bird, end_charon
from tests.rig.seats import egress_only_of, gateway_of, nat_of, seat_egress_only, seat_gateway, seat_nat
from tests.rig.world import World, wait_for

BORDER, INTERNET, SERVER, SERVER6 = "border", "internet", "203.0.113.10", "2001:db8:99::10"
POOL: Final = "198.51.100.0/24"
POOL6: Final = "2001:db8:100::/40"
EDGES: Final = ("e1", "e2")
ACTIVE_S: Final = RETURN_S + 150.0
UPLINKS: Final = {
    edge: Uplink(
        device="out0",
        address=f"198.19.{n}.1/24",
        gateway=f"198.19.{n}.254",
        ipv6_address=f"2001:db8:{n + 1}::1/64",
        ipv6_gateway=f"2001:db8:{n + 1}::fe",
    )
    for n, edge in enumerate(EDGES)
}


class Outskirts:
    """A world with the hosts hv1, hv2, e1 and e2, and with the border and the internet outside."""

    def __init__(self, directory: Path, mtu: int = 1450) -> None:
        self.world = World(directory, ("hv1", "hv2", *EDGES), mtu)
        for name in (BORDER, INTERNET):
            os.close(netns.make(name))
        self._wire()
        for edge in EDGES:
            self._make_edge(edge)
        for pool, cidr in (("west", POOL), ("west6", POOL6)):
            self.put(keys.pool(pool), encode(AddressPool(name=pool, pair="west", cidrs=(cidr,))))
        self.arrive_at("e1")

    def put(self, key: str, value: bytes) -> None:
        """Write a record."""
        self.world.store.txn((), [Put(key, value)])

    @contextmanager
    def rtnl(self, name: str) -> Iterator[IPRoute]:
        """Open an rtnetlink socket in a namespace."""
        with in_node(name), IPRoute() as ipr:
            yield ipr

    def _wire(self) -> None:
        with self.rtnl(BORDER) as border:
            for forwarding in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
                Path(f"/proc/sys/net/{forwarding}").write_text("1")
            for edge, uplink in UPLINKS.items():
                _cable(border, f"to-{edge}", (f"{uplink.gateway}/24", f"{uplink.ipv6_gateway}/64"), edge, uplink.device)
            _cable(border, "to-inet", ("203.0.113.1/24", "2001:db8:99::1/64"), INTERNET, "eth0")
        with self.rtnl(INTERNET) as internet:
            _up(internet, "eth0", (f"{SERVER}/24", f"{SERVER6}/64"))
            internet.route("add", dst="default", gateway="203.0.113.1")
            internet.route("add", dst="::/0", gateway="2001:db8:99::1")

    def _make_edge(self, name: str) -> None:
        host = self.world.hosts[name]
        record = Host(name=name, underlay=host.vtep, role=Role.EDGE, pair="west", uplink=UPLINKS[name])
        self.put(keys.host_spec(name), encode(record))

    def arrive_at(self, edge: str) -> None:
        """Let the border route the pools to an edge."""
        uplink = UPLINKS[edge]
        with self.rtnl(BORDER) as border:
            for pool, address in ((POOL, uplink.address), (POOL6, uplink.ipv6_address)):
                border.route("replace", dst=pool, gateway=address.partition("/")[0])

    def settle(self) -> None:
        """Wait until every agent has acted on the store, and each host uses every edge that it knows.

        An edge is active a second after it is ready. Until then hosts may differ about where a stateful gateway is. One that is
        ready later than its partner waits for RETURN_S before it asks for its gateways, and gets them by a handover.
        """
        self.world.settle()
        wait_for(lambda: not any(self._unused(host) for host in self.world.agents), "all edges to be active", ACTIVE_S)

    def _unused(self, host: str) -> frozenset[str]:
        """Return the VTEPs of edges that a host does not use at all, or not for stateful gateways."""
        seats = self.world.agent(host).records.seats
        return frozenset(seats.silent | seats.standby)

    def is_calm(self) -> bool:
        """Return whether all hosts use all edges, and have published that, which the model reads."""
        published, hosts = self.world.inventory().agents, self.world.hosts
        is_said = published.keys() == hosts.keys() and not any(one.silent or one.standby for one in published.values())
        return is_said and not any(self._unused(host) for host in self.world.agents)

    def traced(self, source: str, destination: str, service: str = "icmp", owner: str = "") -> Report:
        """Return a trace for the operator, or for a customer, made while no host changes anything.

        On a machine that stalls for a second a host leaves an edge for a moment. Its kernel is then ahead of what it publishes
        each second, so the trace rightly reports a disagreement. Such a trace says nothing about the tested subject.
        """
        caller = Caller(owner=owner) if owner else Caller(operator=True)

        def undisturbed() -> Report | None:
            before = self._writes()
            wait_for(self.is_calm, "all hosts to hear all edges, and to say so", ACTIVE_S)
            with closing(open_store(str(self.world.store_path))) as store:
                found = trace(store, read_inventory(store), caller, source, destination, service, timeout_s=1.0)
            return found if self._writes() == before else None

        found = wait_for(undisturbed, "a trace while no host changes anything", 300.0)
        assert found is not None
        return found

    def _writes(self) -> dict[str, int]:
        """Return the number of each agent's writes to its kernel so far."""
        return {name: self.world.agent(name).reconciler.writes for name in self.world.agents}

    def kill_agent(self, edge: str) -> None:
        """Kill an edge's agent, run as a process. The next agent finds everything in force, and writes nothing."""
        world = self.world
        world.stop_agent(edge)
        process = world.start_process(edge)
        wait_for(lambda: world.inventory().agents[edge].pid == process.pid, "the agent to report")
        process.kill()
        world.start_agents(edge)
        world.settle()
        assert world.agent(edge).reconciler.writes == 0
        assert world.agent(edge).reconciler.problems == {}

    def lose_power(self, edge: str) -> None:
        """Bring an edge to the state of a machine that boots: only underlay and uplink are left, and no agent runs."""
        outside, overlay = netns_name(edge, OUTSIDE), self.world.hosts[edge].overlay
        self.world.stop_agent(edge)
        end_bird(edge)
        end_charon(edge)
        subprocess.run(["ip", "-n", outside, "link", "set", UPLINKS[edge].device, "netns", edge], check=True)
        for name in (outside, overlay):
            with self.rtnl(name) as ipr:  # the namespace may outlive its name, so it is emptied first
                for link in ipr.get_links():
                    with suppress(NetlinkError):  # loopback; a veth whose peer was deleted
                        ipr.link("del", index=link["index"])
            netns.remove(name)
        subprocess.run(["ip", "netns", "exec", edge, "nft", "flush", "ruleset"], check=True)

    def pair_up(self) -> None:
        """Give both edges their places in the pair, as control does: gateways made on the pair are seated on them."""
        for place, edge in enumerate(EDGES):
            self.put(keys.pair_place("west", place), encode(edge))

    def seat(self, name: str, table: str = "") -> None:
        """Give a VPC an internet gateway on both edges, and route its main table, or another one, to the gateway."""
        vni = self.world.vpc(name).vni
        seat_gateway(self.world.store, vni, self._vteps())
        self.lead(name, gateway_of(vni), table)
        for edge in EDGES:
            self.put(keys.placement(edge, gateway_of(vni)), encode(Placement(id=gateway_of(vni))))

    def seat_nat(self, name: str, subnet: str, address: str, public: str, edges: Iterable[str] = EDGES) -> None:
        """Give a VPC a NAT gateway in a subnet, and route its main table to the gateway, which stays on its edge."""
        records = self.world.vpc(name)
        found = next(each for each in records.each(Subnet) if each.name == subnet)
        seat_nat(self.world.store, found, address, public, {edge: self._vteps()[edge] for edge in edges})
        self.lead(name, nat_of(records.vni))

    def seat_egress_only(self, name: str) -> None:
        """Give a VPC an egress-only internet gateway, and route its main table to the gateway."""
        vni = self.world.vpc(name).vni
        seat_egress_only(self.world.store, vni, self._vteps())
        self.lead(name, egress_only_of(vni), "", "::/0")

    def make_endpoint(self, name: str, service: str, policy: str = "") -> VpcEndpoint:
        """Give a VPC a gateway endpoint of a service, and route its main table to it; the edges need places in the pair."""
        world, records = self.world, self.world.vpc(name)
        main = [table.id for table in records.each(RouteTable) if table.main]
        vpc_id = records.vpc.record.id
        return create_gateway_endpoint(world.store, world.caller, vpc_id, service, route_tables=main, policy=policy)

    def lead(self, name: str, target: str, table: str = "", *destinations: str) -> None:
        """Route the main table of a VPC, or another one, to a target: the named destinations, or everything."""
        records = self.world.vpc(name)
        dual = records.vpc.record.ipv6_cidrs and target == gateway_of(records.vni)
        everywhere = ("0.0.0.0/0", "::/0") if dual else ("0.0.0.0/0",)
        self._add_routes(name, table, destinations or everywhere, target)

    def _add_routes(self, name: str, table: str, cidrs: Iterable[str], target: str) -> None:
        tables = self.world.vpc(name).each(RouteTable)
        found = next(each for each in tables if (each.name == table if table else each.main))
        routes = (*found.routes, *(VpcRoute(destination=cidr, target=target) for cidr in cidrs))
        self.put(keys.resource(found.id), encode(msgspec.structs.replace(found, routes=routes)))

    def lead_to_peer(self, name: str, peer: str) -> None:
        """Route the main table of a VPC to its peer."""
        far = self.world.vpc(peer).vpc.record
        halves = self.world.vpc(name).each(PeeringConnection)
        self._add_routes(name, "", far.cidrs, next(half.id for half in halves if half.peer.id == far.id))

    def _vteps(self) -> dict[str, str]:
        return {edge: self.world.hosts[edge].vtep for edge in EDGES}

    def associate(self, name: str, address: str) -> None:
        """Associate a public address with the private address of an instance."""
        public = self.public_mapping(name, address)
        self.put(keys.public_mapping(public.vni, address), encode(public))

    def public_mapping(self, name: str, address: str) -> PublicMapping:
        """Return the record that associates a public address with the private address of an instance."""
        eni = self.world.eni(name)
        return PublicMapping(
            vni=eni.vni,
            address=address,
            association=make_id("eipassoc", eni.vni, int(address.rpartition(".")[2])),
            eni=eni.id,
            private_address=eni.address,
            pool="west",
        )

    def dissociate(self, name: str, address: str) -> None:
        """Delete the association of a public address."""
        self.world.store.txn((), [Delete(keys.public_mapping(self.world.eni(name).vni, address))])

    def place(self, name: str) -> str:
        """Return the namespace of an instance, or of an outside host."""
        return self.world.instance(name).id if "/" in name else name

    def wire_to(self, edge: str) -> tuple[str, str, str, str]:
        """Return the border's namespace, its device towards an edge, and the MACs at both ends of that cable."""
        near, far = (BORDER, f"to-{edge}"), (netns_name(edge, OUTSIDE), UPLINKS[edge].device)
        return (*near, self._mac(*near), self._mac(*far))

    def _mac(self, name: str, device: str) -> str:
        with self.rtnl(name) as ipr:
            (link,) = ipr.link("get", index=ipr.link_lookup(ifname=device)[0])
        return str(link.get_attr("IFLA_ADDRESS"))

    def ping(
        self, source: str, destination: str, *, payload_bytes: int = 56, dont_fragment: bool = False, tries: int = 3
    ) -> Answer:
        """Return the outcome of an echo from an instance or from the internet host."""
        probe = Probe(netns=self.place(source), destination=destination, payload_bytes=payload_bytes)
        return ask([probe], 1.0, tries)[0]

    def close(self) -> None:
        """Stop everything and remove the namespaces."""
        try:
            self.world.close()
        finally:
            for name in (BORDER, INTERNET, *(netns_name(edge, OUTSIDE) for edge in EDGES)):
                netns.remove(name)


@contextmanager
def dead(edge: str) -> Iterator[None]:
    """Drop everything from and to an edge; its cables stay up."""
    rules = f"""table ip dead {{
        chain from_it {{ type filter hook prerouting priority -500; iifname "to-{edge}" drop; }}
        chain to_it {{ type filter hook postrouting priority 500; oifname "to-{edge}" drop; }}
    }}"""
    places = ("spine", BORDER)
    for place in places:
        subprocess.run(["ip", "netns", "exec", place, "nft", "-f", "-"], input=rules, text=True, check=True)
    try:
        yield
    finally:
        for place in places:
            subprocess.run(["ip", "netns", "exec", place, "nft", "delete", "table", "ip", "dead"], check=True)


def _cable(near: IPRoute, ifname: str, addresses: tuple[str, str], there: str, other: str) -> None:
    near.link("add", ifname=ifname, kind="veth", peer={"ifname": other, "net_ns_fd": there})
    _up(near, ifname, addresses)


def _up(ipr: IPRoute, ifname: str, addresses: tuple[str, str]) -> None:
    index = ipr.link_lookup(ifname=ifname)[0]
    for address in addresses:
        host, _, length = address.partition("/")
        ipr.addr("add", index=index, address=host, prefixlen=int(length), flags=IFA_F_NODAD if ":" in host else 0)
    ipr.link("set", index=index, state="up")


ANY: Final = {4: "0.0.0.0", 6: "::"}
FAMILIES: Final = {4: socket.AF_INET, 6: socket.AF_INET6}


def udp_socket(place: str, address: tuple[str, int] = ("0.0.0.0", 0)) -> socket.socket:
    """Return a UDP socket bound to an address in a namespace; wait for the address: IPv6 addresses come with a delay."""
    bound: list[socket.socket] = []

    def bind() -> bool:
        with in_node(place):
            found = socket.socket(FAMILIES[version_of(address[0])], socket.SOCK_DGRAM)
        try:
            found.bind(address)
        except OSError:
            found.close()
            return False
        bound.append(found)
        return True

    wait_for(bind, f"{address[0]} to be an address of {place}")
    bound[0].settimeout(10.0)
    return bound[0]


def listening(place: str, port: int, version: int = 4) -> socket.socket:
    """Return a TCP socket that listens in a namespace."""
    with in_node(place):
        found = socket.socket(FAMILIES[version], socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    found.bind((ANY[version], port))
    found.listen(8)
    found.settimeout(10.0)
    return found


def connected(place: str, to: tuple[str, int], port: int = 0, timeout_s: float = 10.0) -> socket.socket:
    """Return a TCP connection from a namespace, from source port `port` unless 0. Raises OSError."""
    version = version_of(to[0])
    with in_node(place):
        found = socket.socket(FAMILIES[version], socket.SOCK_STREAM)
    found.settimeout(timeout_s)
    found.bind((ANY[version], port))
    try:
        found.connect(to)
    except OSError:
        found.close()
        raise
    return found


def source_seen(server_place: str, client_place: str, address: str) -> str:
    """Return the client's address as the server sees it; check that data passes in both directions."""
    with listening(server_place, 80, version_of(address)) as server, connected(client_place, (address, 80)) as client:
        taken, peer = server.accept()
        with taken:
            taken.settimeout(10.0)
            for sender, receiver in ((client, taken), (taken, client)):
                sender.sendall(b"hello")
                assert receiver.recv(16) == b"hello"
    return str(peer[0])
