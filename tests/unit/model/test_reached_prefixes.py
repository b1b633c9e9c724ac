"""The prefixes that an edge publishes as reached, in a valid record."""

from __future__ import annotations

from netorch.model.mapping import Reach, ReachedPrefix
from netorch.model.routing.effective import Origin
from netorch.model.routing.reach import best
from netorch.records import keys
from netorch.records.valid.vpn import check_reach

GATEWAY = "vgw-00138800000000001"


def test_prefixes_are_in_the_order_of_records() -> None:
    found = [ReachedPrefix(prefix=prefix, origin=Origin.VPN_BGP) for prefix in ("10.0.0.0/8", "9.0.0.0/8", "100.64.0.0/10")]
    reach = Reach(vni=5000, gateway=GATEWAY, edge="e1", prefixes=best(found))
    assert [each.prefix for each in reach.prefixes] == ["9.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10"]
    check_reach(keys.reach(5000, GATEWAY, "e1"), reach)
