"""VPN connections to AWS: an edge acts as the customer's device of a VPC at AWS, according to AWS's configuration file.

The connection already exists at AWS. So the address and AS number that AWS knows of its customer must match here. AWS chose the
inside networks, the algorithms and the keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from netorch.control.actions.private.connections import AtAws, Wanted, create_vpn_connection
from netorch.control.actions.private.customers import create_customer_gateway
from netorch.control.actions.private.wishes import TunnelWish
from netorch.model.outside.secrets import Secret
from netorch.model.outside.vpn import AMAZON_ASN, VpnConnection
from netorch.model.vpc import Tags
from netorch.records.caller import Caller
from netorch.spec.vpn_config.imported import ImportedConnection
from netorch.store.base import Store


def import_vpn_connection(
    store: Store,
    caller: Caller,
    gateway_id: str,
    found: ImportedConnection,
    psks: Mapping[int, str],
    *,
    name: str,
    routes: Sequence[str] = (),
    tags: Tags | None = None,
) -> VpnConnection:
    """Create a connection between a virtual private gateway and AWS and return it; its tunnels end at the edge that AWS knows.

    `psks` holds the file's keys by tunnel (1, 2); `routes` are the ranges of the VPC at AWS, if there is no BGP. A customer
    gateway without a name represents AWS here. If the import is refused, the next attempt uses the same customer gateway.

    Raises:
      ApiError: as `create_vpn_connection`; InvalidParameterValue if no edge of the gateway has the address that AWS knows, or
        the gateway has another AS number than AWS knows; CustomerGatewayLimitExceeded.
    """
    # Without BGP, AWS's AS number has no meaning and is not in the file.
    asn = found.amazon_asn or AMAZON_ASN
    aws = create_customer_gateway(store, caller, asn=asn, address=found.tunnels[0].address)
    tunnels = tuple(
        TunnelWish(inside_cidr=one.inside_cidr, options=one.options, secret=Secret(psk=psks[number]), remote=one.address)
        for number, one in enumerate(found.tunnels, 1)
    )
    wanted = Wanted(
        name=name,
        static=found.static,
        routes=tuple(routes),
        at_aws=AtAws(address=found.address, asn=found.asn),
        tunnels=tunnels,
        tags=tags or {},
    )
    return create_vpn_connection(store, caller, gateway_id, aws.id, wanted)[0]
