"""Services that VPCs offer to others by interface endpoints: EC2's VPC endpoint services, as of AWS PrivateLink.

EC2 puts a network load balancer in front of a service. Here a service names its targets, and its ports, itself.

A consumer's endpoint asks for a connection, which the provider accepts or rejects:

    pendingAcceptance --accept--> available --reject--> rejected --accept--> available
            +--reject--> rejected

Each connection has an address of its own in the provider's subnet, in whose name the consumer's packets come. The record of a
connection is in both VPCs, and agrees in everything but `vni` and `tags`. One transaction writes both.
"""

from __future__ import annotations

from typing import Final

from netorch.model.endpoints.endpoint import EndpointState
from netorch.model.ids import vni_of
from netorch.model.record import Part, Record
from netorch.model.rules import Violation, shown
from netorch.model.security import TCP, UDP
from netorch.model.vpc import Tags

EVERYBODY: Final = "*"  # among a service's principals
PROTOCOLS: Final = {"tcp": TCP, "udp": UDP}  # those that a service may have
MOST_PORTS: Final = 50  # of one service: EC2's listeners of a network load balancer
MOST_TARGETS: Final = 100  # of one service; EC2 has 500 of a load balancer in one zone
MOST_SUBNETS: Final = 6  # of one endpoint; EC2 has one in each zone


class ServicePort(Part, frozen=True, kw_only=True, order=True):
    """A port that consumers reach."""

    protocol: int  # TCP or UDP
    port: int  # at the endpoint
    target_port: int  # at each target


class EndpointService(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A service. Stored at `vpc/<vni>/vpce-svc/<id>`; the VPC is the provider's."""

    id: str
    vni: int
    name: str
    subnets: tuple[str, ...]  # subnet-...: connections get their addresses in the first of these that has one
    ports: tuple[ServicePort, ...]  # sorted
    targets: tuple[str, ...]  # eni-..., of the VPC; one that is gone, or not attached, gets nothing
    acceptance_required: bool = True
    principals: tuple[str, ...] = ()  # owners that may ask for connections beside the provider, sorted; or EVERYBODY
    private_dns_name: str = ""
    proxy_protocol: bool = False  # whether targets are told of each TCP connection who its consumer is: PROXY protocol, version 2
    tags: Tags = {}

    def admits(self, owner: str) -> bool:
        """Return whether an owner other than the provider may ask for connections."""
        return owner in self.principals or EVERYBODY in self.principals


class EndpointConnection(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A connection of an endpoint with a service. Stored at `vpc/<vni>/vpce-con/<id>` of both VPCs.

    Its id has the consumer's VNI.
    """

    id: str
    vni: int  # of the VPC that has this record
    service: str  # vpce-svc-...
    endpoint: str  # vpce-...
    owner: str  # the consumer
    created: int  # seconds since 1970
    state: EndpointState = EndpointState.PENDING_ACCEPTANCE
    eni: str = ""  # eni-..., of the provider's VPC, while it is available
    address: str = ""  # that interface's
    name: str = ""  # it has none: it goes by its id, or the endpoint's
    tags: Tags = {}

    @property
    def consumer(self) -> int:
        """Return the VNI of the endpoint's VPC."""
        return vni_of(self.endpoint)

    @property
    def provider(self) -> int:
        """Return the VNI of the service's VPC."""
        return vni_of(self.service)

    @property
    def other(self) -> int:
        """Return the VNI of the VPC that has the other record."""
        return self.provider if self.vni == self.consumer else self.consumer


def port_text(port: ServicePort) -> str:
    """Return a port as people write it: tcp/443, or tcp/443:8443 where targets have another one."""
    word = next(word for word, number in PROTOCOLS.items() if number == port.protocol)
    to = f":{port.target_port}" if port.target_port != port.port else ""
    return f"{word}/{port.port}{to}"


def read_port(text: str) -> ServicePort | Violation:
    """Return the port that such a text means, or what is wrong with it."""
    word, _, numbers = text.partition("/")
    port, _, target = numbers.partition(":")
    found = [int(number) if number.isascii() and number.isdigit() else 0 for number in (port, target or port)]
    if word not in PROTOCOLS or not all(0 < number < 65536 for number in found):
        fix = "write e.g. tcp/443, or tcp/443:8443 if targets have another one"
        return Violation(f"{shown(text)} is not a port", fix)
    return ServicePort(protocol=PROTOCOLS[word], port=found[0], target_port=found[1])


def connection_of(endpoint_id: str) -> str:
    """Return the id of the connection of an interface endpoint: the two have their digits in common."""
    return f"vpce-con-{endpoint_id[-17:]}"
