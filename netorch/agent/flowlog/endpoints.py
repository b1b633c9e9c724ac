"""Flow-log halves of an interface endpoint's connection: each interface logs the half in its own VPC.

  endpoint      10.0.1.5:40000 to 10.0.9.9:443 arrives, the answer leaves
  connection    10.0.8.20:40001 to the target 10.0.1.5:8443 leaves, the answer arrives

Neither log shows anything of the other VPC: no address, and no packet dropped there. A reader of one log learns nothing of the
other VPC. A dropped packet is logged as it arrived, or with its destination translated. It never has the connection's source,
since the ACL is checked before source translation (edges.interface_endpoint).
"""

from __future__ import annotations

from typing import NamedTuple

from netorch.agent.flowlog.gateways import FlowDirection, GatewayDrop, Leg
from netorch.agent.flowlog.lines import Interface
from netorch.compiler.interface_endpoint import FRONT
from netorch.drivers.conntrack.attrs import Connection, Tuple


class Refused(NamedTuple):
    """The leg of a dropped packet that an interface logs: a rejected one, or an accepted one."""

    refused: Leg | None = None
    accepted: Leg | None = None


def halves_of(connection: Connection, interface: Interface) -> tuple[FlowDirection, FlowDirection]:
    """Return both directions of a connection as an interface sees them: the initiator's packets, and the answers."""
    original, reply = connection.original, connection.reply
    to_target = Tuple(original.source, reply.source, original.protocol, original.source_port, reply.source_port)
    seen = (original, to_target), (reply, original.reversed())
    if interface.end != FRONT and reply.destination not in interface.addresses:  # a consumer's connection, relayed on this host
        return FlowDirection(seen[0], ()), FlowDirection(seen[1], ())
    if interface.end != FRONT:
        return FlowDirection(seen[0], (Leg(reply.reversed(), True),)), FlowDirection(seen[1], (Leg(reply, False),))
    if original.destination not in interface.addresses:  # through the endpoint's interface in another subnet
        return FlowDirection(seen[0], ()), FlowDirection(seen[1], ())
    return FlowDirection(seen[0], (Leg(original, False),)), FlowDirection(seen[1], (Leg(original.reversed(), True),))


def dropped_half(flow: Tuple, interface: Interface, drop: GatewayDrop) -> Refused:
    """Return what an interface logs of a packet dropped in the connection's namespace.

    A packet that the endpoint's groups and ACL let in, and the service does not take, is accepted, as in EC2.
    """
    at_front = interface.end == FRONT
    if at_front and drop.leaving and flow.source not in interface.addresses:
        return Refused()
    if drop.leaving and drop.reply == at_front:  # an answer at the endpoint's ACL, or a request at the connection's
        here = interface.addresses[0]
        leg = Leg(
            flow if drop.reply else Tuple(here, flow.destination, flow.protocol, flow.source_port, flow.destination_port), True
        )
        return Refused(refused=leg)
    comes_here = flow.destination in interface.addresses and not drop.leaving and drop.reply != at_front
    if not comes_here:
        return Refused()
    leg = Leg(flow, False)
    return Refused(refused=leg) if drop.by_rules else Refused(accepted=leg)
