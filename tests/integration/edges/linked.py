"""A service of one VPC offered in two others, all three with the same addresses, through a pair of edges."""

from __future__ import annotations

from netorch.control.actions.endpoints import connections, interface, offered
from netorch.drivers.services.control import Control
from netorch.drivers.services.driver import services_directory
from netorch.model.endpoints.endpoint import VpcEndpoint
from netorch.model.endpoints.endpoint_service import EndpointConnection, EndpointService, ServicePort, connection_of
from netorch.model.eni import NetworkInterface
from netorch.model.security import TCP, UDP, SecurityGroup
from netorch.model.vpc import Subnet
from netorch.records import keys
from netorch.records.read import get
from netorch.state.base import OUTSIDE
from tests.rig.outskirts import Outskirts, connected

VPC = """
- name: {name}
  cidrs: [10.0.0.0/16]
  network_acls:
  - name: narrow
    ingress: [{{rule: 90, action: deny, protocol: all, cidr: 10.0.1.7/32}},
              {{rule: 100, action: allow, protocol: all, cidr: 0.0.0.0/0}}]
    egress: [{{rule: 100, action: allow, protocol: all, cidr: 0.0.0.0/0}}]
  subnets:
  - {{name: app, cidr: 10.0.1.0/24}}
  - {{name: front, cidr: 10.0.9.0/24}}
  - {{name: side, cidr: 10.0.10.0/24, network_acl: narrow}}
  security_groups:
  - {{name: open, ingress: [{{protocol: all, source: 0.0.0.0/0}}]}}
  - {{name: of-b, ingress: [{{protocol: all, source: 10.0.9.5/32}}]}}
  - {{name: clients, ingress: [{{protocol: all, source: 0.0.0.0/0}}]}}
  - {{name: front, ingress: [{{protocol: tcp, ports: 443, source: sg-clients}}, {{protocol: tcp, ports: 444, source: sg-clients}},
     {{protocol: udp, ports: 5353, source: 10.0.1.5/32}}]}}
  instances:
  - {{name: one, host: hv1, subnet: app, address: 10.0.1.5, security_groups: [{group}]}}
  - {{name: two, host: hv2, subnet: app, address: 10.0.1.6, security_groups: [open]}}
  - {{name: three, host: hv2, subnet: app, address: 10.0.1.7, security_groups: [{group}]}}
"""
# Three VPCs; the connections' addresses in the provider's VPC equal those of the endpoints.
CONSUMERS = ("a", "b")
PORTS = (
    ServicePort(protocol=TCP, port=443, target_port=8443),
    ServicePort(protocol=TCP, port=444, target_port=9),
    ServicePort(protocol=UDP, port=5353, target_port=53),
)


class Linked:
    """A provider, two consumers, and the edges between them."""

    def __init__(self, outskirts: Outskirts) -> None:
        self.outskirts = outskirts
        self.world = outskirts.world
        outskirts.pair_up()
        self.world.start_agents()
        groups = {"p": "open", "a": "clients", "b": "clients"}
        self.world.apply("vpcs:" + "".join(VPC.format(name=name, group=group) for name, group in groups.items()))
        self.service = self._offer()
        self.endpoints = {name: self._ask(name) for name in CONSUMERS}

    def _offer(self) -> EndpointService:
        records = self.world.vpc("p")
        front = self.of("p", Subnet, "front")
        targets = [self.world.instance(f"p/{name}").id for name in ("one", "two")]
        vpc_id = records.vpc.record.id
        return offered.create_endpoint_service(
            self.world.store, self.world.caller, vpc_id, name="db", subnets=[front], ports=PORTS, targets=targets
        )

    def _ask(self, name: str) -> VpcEndpoint:
        vpc_id = self.world.vpc(name).vpc.record.id
        subnets, groups = [self.of(name, Subnet, each) for each in ("front", "side")], [self.of(name, SecurityGroup, "front")]
        return interface.create_interface_endpoint(
            self.world.store, self.world.caller, vpc_id, self.service.id, subnets=subnets, groups=groups, name="db"
        )

    def of(self, vpc: str, kind: type[Subnet] | type[SecurityGroup], name: str) -> str:
        """Return the id of a subnet or group of a VPC."""
        return next(each.id for each in self.world.vpc(vpc).each(kind) if each.name == name)

    def accept(self, name: str) -> EndpointConnection:
        """Accept a consumer's endpoint; return the connection."""
        made = connections.accept_connection(self.world.store, self.world.caller, connection_of(self.endpoints[name].id))
        self.outskirts.settle()
        return made

    def reject(self, name: str) -> None:
        """Reject a consumer's endpoint."""
        connections.reject_connection(self.world.store, self.world.caller, connection_of(self.endpoints[name].id))
        self.outskirts.settle()

    def modify(self, **terms: bool) -> None:
        """Change the service."""
        offered.modify_endpoint_service(self.world.store, self.world.caller, self.service.id, **terms)  # type: ignore[arg-type]
        self.outskirts.settle()

    def ailing(self, name: str) -> set[str]:
        """Return the targets that do not answer, as a consumer's connection finds."""
        found = connections.describe_connection(self.world.store, self.world.caller, connection_of(self.endpoints[name].id))
        return set(found.use.ailing)

    def daemon(self, edge: str) -> int:
        """Return the process ID of the relay on an edge."""
        with Control(services_directory(edge, OUTSIDE) / "control", 30.0) as control:
            return control.pid()

    def front(self, name: str, place: int = 0) -> str:
        """Return the address of a consumer's endpoint, by default in its first subnet."""
        eni = get(self.world.store, keys.resource(self.endpoints[name].interfaces[place]), NetworkInterface)
        assert eni is not None
        return eni.record.address

    def back(self, name: str) -> str:
        """Return the address of a consumer's connection in the provider's VPC."""
        key = keys.member(self.service.vni, connection_of(self.endpoints[name].id))
        found = get(self.world.store, key, EndpointConnection)
        assert found is not None
        return found.record.address

    def place(self, name: str) -> str:
        """Return the namespace of an instance."""
        return self.outskirts.place(name)

    def cannot(self, source: str, to: tuple[str, int]) -> bool:
        """Return whether an instance gets no answer when it opens a connection, except from its router."""
        try:
            connected(self.place(source), to, timeout_s=0.6).close()
        except ConnectionRefusedError:
            return False
        except OSError:
            return True
        return False
