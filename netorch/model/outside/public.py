"""Public addresses: pools, and the elastic IPv4 addresses of customers.

pool/<name>               AddressPool     an operator's ranges that are routed to the edges of one pair
eip/<owner>/<id>          ElasticIp       an address that a customer holds until its release
map/<vni>/eip/<address>   PublicMapping   the private address (netorch.model.mapping); edges translate by these records only
alloc/eip/<address>       the holder of an address: an elastic IP, or an ephemeral address's association; the VPC that holds the
                          IPv6 range that begins at the address (netorch.model.vpc.Vpc.ipv6_pools)
"""

from __future__ import annotations

from netorch.model.record import Record
from netorch.model.vpc import Tags


class AddressPool(Record, frozen=True, kw_only=True, omit_defaults=True):
    """Public addresses that are routed to the edges of one pair."""

    name: str
    pair: str
    cidrs: tuple[str, ...]  # IPv4 and IPv6 (/56 or larger), canonical; they overlap no other pool
    tags: Tags = {}


class ElasticIp(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A public address that a customer holds. Its id carries no VNI, because it belongs to no VPC: eipalloc-000000..."""

    id: str
    owner: str
    address: str
    pool: str
    name: str = ""
    vni: int = 0  # of the VPC in which it is associated; 0: not associated
    tags: Tags = {}
