"""Services that a VPC offers to other VPCs by interface endpoints: EC2's VPC endpoint services (AWS PrivateLink).

EC2 puts a network load balancer in front of a service. A netorch service lists its targets and ports itself.

A consumer's endpoint requests a connection, which the provider accepts or rejects:

    pendingAcceptance --accept--> available --reject--> rejected --accept--> available
            +--reject--> rejected

Each connection has its own address in the provider's subnet, the source of the consumer's packets there. Both VPCs have a
record of the connection. The two records differ only in `vni` and `tags`. One transaction writes both.
"""

from __future__ import annotations

from typing import Final

from netorch.model.endpoints.endpoint import EndpointState
from netorch.model.ids import vni_of
from netorch.model.record import Part, Record
from netorch.model.rules import Violation, shown
from netorch.model.security import TCP, UDP
from netorch.model.vpc import Tags

EVERYBODY: Final = "*"  # the principal that means every owner
PROTOCOLS: Final = {"tcp": TCP, "udp": UDP}  # the protocols of services
MOST_PORTS: Final = 50  # per service; EC2's limit for listeners of a network load balancer
MOST_TARGETS: Final = 100  # per service; EC2's limit is 500 per load balancer and zone
MOST_SUBNETS: Final = 6  # per endpoint; EC2 allows one per zone


class ServicePort(Part, frozen=True, kw_only=True, order=True):
    """A port of a service."""

    protocol: int  # TCP or UDP
    port: int  # at the endpoint
    target_port: int  # at each target


class EndpointService(Record, frozen=True, kw_only=True, omit_defaults=True):
    """An endpoint service. Stored at `vpc/<vni>/vpce-svc/<id>` of the provider's VPC."""

    id: str
    vni: int
    name: str
    subnets: tuple[str, ...]  # subnet-...; a connection gets its address in the first subnet with a free one
    ports: tuple[ServicePort, ...]  # sorted
    targets: tuple[str, ...]  # eni-... of the VPC; deleted or detached targets get no traffic
    acceptance_required: bool = True
    principals: tuple[str, ...] = ()  # owners that may request connections besides the provider, sorted; or EVERYBODY
    private_dns_name: str = ""
    proxy_protocol: bool = False  # whether targets get a PROXY header (version 2) with the consumer of each TCP connection
    tags: Tags = {}

    def admits(self, owner: str) -> bool:
        """Return whether an owner other than the provider may request connections."""
        return owner in self.principals or EVERYBODY in self.principals


class EndpointConnection(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A connection of an endpoint to a service. Stored at `vpc/<vni>/vpce-con/<id>` of both VPCs.

    Its id contains the consumer's VNI.
    """

    id: str
    vni: int  # of the VPC that has this record
    service: str  # vpce-svc-...
    endpoint: str  # vpce-...
    owner: str  # the consumer
    created: int  # seconds since 1970
    state: EndpointState = EndpointState.PENDING_ACCEPTANCE
    eni: str = ""  # eni-... in the provider's VPC, while the connection is available
    address: str = ""  # the address of `eni`
    name: str = ""  # always empty: the connection is known by its id or the endpoint's
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
        """Return the VNI of the VPC with the other record."""
        return self.provider if self.vni == self.consumer else self.consumer


def port_text(port: ServicePort) -> str:
    """Return a port as text: tcp/443, or tcp/443:8443 if the targets' port differs."""
    word = next(word for word, number in PROTOCOLS.items() if number == port.protocol)
    to = f":{port.target_port}" if port.target_port != port.port else ""
    return f"{word}/{port.port}{to}"


def read_port(text: str) -> ServicePort | Violation:
    """Return the port of a text written by `port_text`, or the error in it."""
    word, _, numbers = text.partition("/")
    port, _, target = numbers.partition(":")
    found = [int(number) if number.isascii() and number.isdigit() else 0 for number in (port, target or port)]
    if word not in PROTOCOLS or not all(0 < number < 65536 for number in found):
        fix = "write e.g. tcp/443, or tcp/443:8443 if the targets use another port"
        return Violation(f"{shown(text)} is not a port", fix)
    return ServicePort(protocol=PROTOCOLS[word], port=found[0], target_port=found[1])


def connection_of(endpoint_id: str) -> str:
    """Return the id of an interface endpoint's connection. Both ids have the same digits."""
    return f"vpce-con-{endpoint_id[-17:]}"
