"""Model, kernels and live packets agree on packets to services, and to a peer with the same addresses.

Flow logs agree, too: each of two owners sees what its own interfaces have seen.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Final

import pytest

from netorch.agent.flowlog.files import log_directory, read_lines
from netorch.control.actions.endpoints import connections, interface, offered
from netorch.control.actions.endpoints.services import create_service
from netorch.control.actions.flow_logs import create_flow_log
from netorch.diagnose.trace import Report, trace
from netorch.model.endpoints.endpoint_service import EndpointConnection, ServicePort, connection_of
from netorch.model.eni import NetworkInterface
from netorch.model.security import TCP, SecurityGroup
from netorch.model.vpc import Subnet
from netorch.records.caller import Caller
from netorch.records.inventory import read_inventory
from netorch.store import open_store
from netorch.trace.codes import Code
from netorch.trace.way import Place
from tests.rig.outskirts import ACTIVE_S, Outskirts, connected, listening
from tests.rig.services.remembered import forget
from tests.rig.world import wait_for

pytestmark = pytest.mark.root

VPC: Final = """
- name: {name}
  owner: {name}
  cidrs: [10.0.0.0/16]
  subnets:
  - {{name: app, cidr: 10.0.1.0/24}}
  - {{name: lone, cidr: 10.0.2.0/24, route_table: closed}}
  - {{name: front, cidr: 10.0.9.0/24}}
  route_tables: [{{name: main, main: true, routes: [{routes}]}}, {{name: closed}}]
  peerings: [{peerings}]
  security_groups:
  - {{name: open, ingress: [{{protocol: tcp, ports: 8000-9000, source: 0.0.0.0/0}}, {{protocol: icmp, source: 0.0.0.0/0}}]}}
  - {{name: front, ingress: [{{protocol: tcp, ports: 443-444, source: sg-open}}]}}
  instances:
  - {{name: one, host: hv1, subnet: app, address: 10.0.1.5, security_groups: [open]}}
  - {{name: two, host: hv2, subnet: app, address: 10.0.1.6, security_groups: [open]}}
  - {{name: lone, host: hv1, subnet: lone, address: 10.0.2.5, security_groups: [open]}}
"""
MAPS: Final = "map_own: 10.0.0.0/16=100.66.0.0/16, map_peer: 10.0.0.0/16=100.65.0.0/16"
CLOUD: Final = "vpcs:" + "".join(
    (
        VPC.format(name="a", routes="100.65.0.0/16 via pcx-to-b", peerings=f"{{name: to-b, peer: b/b, {MAPS}}}"),
        VPC.format(name="b", routes="100.66.0.0/16 via pcx-of-a", peerings="{name: of-a, peer: a/a}"),
        VPC.format(name="p", routes="", peerings=""),
    )
)
S3: Final = "198.18.200.7"


class Scene:
    """A consumer with a gateway endpoint, an interface endpoint and a mapped peer; all VPCs have the same addresses."""

    def __init__(self, outskirts: Outskirts) -> None:
        self.outskirts, self.world = outskirts, outskirts.world
        store, caller = self.world.store, self.world.caller
        outskirts.pair_up()
        forget(("hv1", "hv2"))  # uses the real daemons
        self.world.start_agents()
        self.world.apply(CLOUD)
        create_service(store, caller, name="s3", prefixes=["198.18.200.0/24"], upstream="http://203.0.113.10:9000")
        outskirts.make_endpoint("a", "s3")
        provider, consumer = (self.world.vpc(name).vpc.record.id for name in "pa")
        targets = [self.world.instance(f"p/{name}").id for name in ("one", "two")]
        ports = (ServicePort(protocol=TCP, port=443, target_port=8443),)
        fronts = {name: [self._of(name, Subnet, "front")] for name in "ap"}
        service = offered.create_endpoint_service(
            store, caller, provider, name="db", subnets=fronts["p"], ports=ports, targets=targets, principals=["a"]
        )
        groups = [self._of("a", SecurityGroup, "front")]
        endpoint = interface.create_interface_endpoint(
            store, caller, consumer, service.id, subnets=fronts["a"], groups=groups, name="db"
        )
        connections.accept_connection(store, caller, connection_of(endpoint.id))
        outskirts.settle()
        for name in ("p/one", "p/two", "b/one", "b/two"):
            threading.Thread(target=_serve, args=(listening(outskirts.place(name), 8443),), daemon=True).start()
        enis = self.world.vpc("a").each(NetworkInterface)
        self.front = next(eni.address for eni in enis if eni.gateway == endpoint.id)
        self.back = next(found.address for found in self.world.vpc("p").each(EndpointConnection))
        wait_for(self._is_calm, "all hosts to say that the edges answer, and edges that the targets do", ACTIVE_S)

    def _of(self, vpc: str, kind: type[Subnet] | type[SecurityGroup], name: str) -> str:
        return next(each.id for each in self.world.vpc(vpc).each(kind) if each.name == name)

    def _is_calm(self) -> bool:
        """Return whether all hosts hear all edges, the edges find that all targets answer, and all have published that."""
        published, agents = self.world.inventory().agents, [self.world.agent(name) for name in self.world.agents]
        if len(published) < 4 or any(status.silent or status.standby for status in published.values()):
            return False
        if any(any(agent.records.ailing.values()) for agent in agents):
            return False
        said = self.world.store.list("hoststat/").kvs
        return not any(b"ailing" in kv.value for kv in said if "/vpce-con-" in kv.key)

    def _writes(self) -> list[int]:
        return [self.world.agent(name).reconciler.writes for name in self.world.agents]

    def traced(self, source: str, destination: str, service: str, owner: str = "") -> Report:
        """Return a trace for the operator, or for a customer, made while all hosts hear all edges."""
        caller = Caller(owner=owner) if owner else Caller(operator=True)

        def undisturbed() -> Report | None:
            wait_for(self._is_calm, "all hosts to hear all edges, and to say so", ACTIVE_S)
            before = self._writes()
            with closing(open_store(str(self.world.store_path))) as store:
                found = trace(store, read_inventory(store), caller, source, destination, service, timeout_s=2.0)
            return found if self._writes() == before else None

        found = wait_for(undisturbed, "a trace while no host changes anything", 200.0)
        assert found is not None
        return found


def _serve(server: socket.socket) -> None:
    """Accept connections, and close them: including the edges' health checks of a target."""
    server.settimeout(None)
    with suppress(OSError):
        while True:
            server.accept()[0].close()


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    outskirts = Outskirts(tmp_path_factory.mktemp("service-trace"))
    try:
        yield Scene(outskirts)
    finally:
        outskirts.close()


def test_model_kernel_and_live_packet_agree(scene: Scene) -> None:
    for source, destination, service, place in (
        ("a/one", S3, "tcp/80", Place.SERVICE),
        ("a/two", S3, "tcp/443", Place.SERVICE),
        ("a/one", "169.254.169.253", "tcp/53", Place.HOST),
        ("a/two", "169.254.169.254", "tcp/80", Place.HOST),
        ("a/one", "100.65.1.6", "tcp/8443", Place.DELIVERY),
        ("a/two", "b/one", "icmp", Place.DELIVERY),
        ("b/one", "a/two", "icmp", Place.DELIVERY),
        ("a/one", scene.front, "tcp/443", Place.DELIVERY),
        ("a/two", scene.front, "tcp/443", Place.DELIVERY),
    ):
        found = scene.traced(source, destination, service)
        said = (source, destination, service, found.disagreement, found.kernel_problem, found.live.why_not)
        assert said[3:] == ("", "", ""), said
        assert (found.verdict.code, found.live.arrived, found.reachable, found.live.answered) == (None, True, True, True), said
        assert found.model is not None
        assert found.kernel is not None
        assert found.kernel.there.hops[-1].place is place, said


def test_what_is_refused_is_found_by_all_three(scene: Scene) -> None:
    for source, destination, service, code, counter in (
        ("a/one", S3, "tcp/22", Code.VPCE_SERVES_HTTP_AND_TLS_ONLY, "endpoint_port"),
        ("a/lone", S3, "tcp/80", Code.NO_ROUTE_TO_DESTINATION, ""),
        ("a/one", "169.254.169.254", "tcp/81", Code.NOT_SERVED_THERE, "to_near"),
        ("a/one", "100.65.1.6", "tcp/22", Code.ENI_SG_RULES_MISMATCH, "sg_ingress"),
        ("a/one", "100.65.1.99", "icmp", Code.NO_MAPPING, ""),
        ("a/one", scene.front, "tcp/444", Code.VPCE_PORT_NOT_SERVED, "no_service"),
        ("a/one", scene.front, "udp/443", Code.ENI_SG_RULES_MISMATCH, "sg_ingress"),
        ("p/one", scene.back, "tcp/443", Code.VPCE_REQUIRES_SOURCE_IN_CONSUMER_VPC, "unasked"),
    ):
        found = scene.traced(source, destination, service)
        said = (source, destination, service, found.disagreement, found.kernel_problem, found.live.why_not)
        assert said[3:] == ("", "", ""), said
        assert (found.verdict.code, found.live.arrived, found.reachable) == (code, False, False), said
        assert not counter or counter in {name for _, name in found.live.drops}, said


def test_a_consumer_hears_its_packet_leave_for_the_provider(scene: Scene) -> None:
    found = scene.traced("a/one", scene.front, "tcp/443", owner="a")
    assert (found.disagreement, found.kernel_problem, found.live.why_not, found.reachable) == ("", "", "", True)
    assert found.model is not None
    assert (found.model.there.hops[-1].place, found.live.arrived) == (Place.ENDPOINT, True)
    assert "8443" not in " ".join(hop.said for way in found.model.ways for hop in way.hops)


FIELDS: Final = "srcaddr dstaddr srcport dstport pkt-srcaddr pkt-dstaddr action flow-direction traffic-path log-status"
PATIENCE_S: Final = 60.0  # an interval lasts 10 s


class Log:
    """A flow log of a VPC."""

    def __init__(self, scene: Scene, name: str) -> None:
        world = scene.world
        vpc = world.vpc(name).vpc.record
        log = create_flow_log(world.store, world.caller, vpc.id, name="all", interval_s=10, log_format=FIELDS)
        self._directory = log_directory(world.directory / "flow-logs", vpc.owner, vpc.id, log.id)
        wait_for(self.lines, f"the first lines of {name}", PATIENCE_S)

    def lines(self) -> list[list[str]]:
        """Return all lines so far."""
        return [line.split() for line in read_lines(self._directory)]

    def flows(self) -> set[str]:
        """Return the flows so far."""
        return {" ".join(line[:9]) for line in self.lines() if line[-1] == "OK"}


def test_each_owner_has_the_lines_of_its_own_half_and_none_of_services_of_the_host(scene: Scene) -> None:
    consumer, provider = Log(scene, "a"), Log(scene, "p")
    one, front, back = "10.0.1.5", scene.front, scene.back
    place = scene.outskirts.place("a/one")
    for to, port in (((front, 443), 40000), ((S3, 80), 40001), (("169.254.169.253", 53), 40002)):
        connected(place, to, port).close()
    found = scene.traced("a/lone", front, "tcp/22")  # permitted by no group of the endpoint
    assert found.live.arrived is False
    wanted = {
        f"{one} {front} 40000 443 {one} {front} ACCEPT egress 1",  # at the instance
        f"{front} {one} 443 40000 {front} {one} ACCEPT ingress -",
        f"{one} {front} 40000 443 {one} {front} ACCEPT ingress -",  # at the endpoint
        f"{front} {one} 443 40000 {front} {one} ACCEPT egress 1",
        f"{one} {S3} 40001 80 {one} {S3} ACCEPT egress 7",
        f"{S3} {one} 80 40001 {S3} {one} ACCEPT ingress -",
    }
    wait_for(lambda: wanted <= consumer.flows(), f"the consumer's lines, not {consumer.flows()}", PATIENCE_S)
    assert not any("169.254." in flow for flow in consumer.flows())
    refused = [flow for flow in consumer.flows() if flow.startswith(f"10.0.2.5 {front} ") and "REJECT" in flow]
    assert {flow.split()[3] for flow in refused} == {"22"}
    wait_for(lambda: len(provider.flows()) >= 4, f"the provider's lines, not {provider.flows()}", PATIENCE_S)
    for flow in provider.flows():
        ends = {*flow.split()[:2], *flow.split()[4:6]}
        assert back in ends, flow
        assert ends <= {back, "10.0.1.5", "10.0.1.6"}, flow
        assert "8443" in flow.split(), flow
    directions = {tuple(flow.split()[6:]) for flow in provider.flows()}
    assert directions == {("ACCEPT", "egress", "1"), ("ACCEPT", "ingress", "-")}
