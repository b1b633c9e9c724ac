"""VPN connections to AWS: an edge as the customer's device of a VPC there, as the file that AWS gives its customers says.

AWS has made the other half already. So what it knows of its customer must be true here: the address and the AS number. AWS chose
the networks inside, the algorithms and the keys.
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
    """Return a new connection between a virtual private gateway and AWS; both its tunnels end at the edge that AWS knows.

    `psks` are the file's keys by tunnel (1, 2), `routes` the ranges of the VPC at AWS, if there is no BGP. AWS has a customer
    gateway here, without a name. It is that of the next attempt if this one is refused.

    Raises:
      ApiError: as `create_vpn_connection`; InvalidParameterValue if no edge of the gateway has the address that AWS knows, or
        the gateway has another AS number than AWS knows; CustomerGatewayLimitExceeded.
    """
    # Without BGP AWS's number means nothing, and the file has none.
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
