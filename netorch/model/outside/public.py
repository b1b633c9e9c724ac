"""Public addresses: pools of them, and the IPv4 ones that customers hold.

pool/<name>               AddressPool     ranges that arrive at the edges of one pair; the operator's
eip/<owner>/<id>          ElasticIp       an address that a customer holds until it is released
map/<vni>/eip/<address>   PublicMapping   what an address stands for (netorch.model.mapping); edges translate by these alone
alloc/eip/<address>       who holds an address: an elastic IP, or the association of an ephemeral one; who holds the IPv6 range
                          that begins with it: a VPC (netorch.model.vpc.Vpc.ipv6_pools)
"""

from __future__ import annotations

from netorch.model.record import Record
from netorch.model.vpc import Tags


class AddressPool(Record, frozen=True, kw_only=True, omit_defaults=True):
    """Public addresses that arrive at the edges of one pair."""

    name: str
    pair: str
    cidrs: tuple[str, ...]  # IPv4 and IPv6 (/56 or larger), canonical; they overlap no other pool's
    tags: Tags = {}


class ElasticIp(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A public address that a customer holds. Its id carries no VNI, because it belongs to no VPC: eipalloc-000000..."""

    id: str
    owner: str
    address: str
    pool: str
    name: str = ""
    vni: int = 0  # of the VPC in which it stands for an address; 0: it stands for none
    tags: Tags = {}
