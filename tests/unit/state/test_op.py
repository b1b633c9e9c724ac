"""The text of operations in errors."""

from __future__ import annotations

from netorch.state.l3 import Route
from netorch.state.link import Vrf
from netorch.state.nft import NftChain
from netorch.state.op import Create, Delete, Replace, describe

ROUTE = Route(vni=5000, table=5000, dst="10.0.0.5/32", ifname="vx5000", via="192.0.2.12")


def test_an_operation_reads_like_the_command_that_does_it() -> None:
    assert describe(Create(ROUTE)) == "create route 10.0.0.5/32 via 192.0.2.12 dev vx5000"
    assert describe(Replace(ROUTE, ROUTE)) == "replace route 10.0.0.5/32 via 192.0.2.12 dev vx5000"
    assert describe(Delete(Vrf(vni=5000, ifname="vrf5000", table=5000))) == "delete link vrf5000 type vrf table 5000"


def test_an_error_does_not_show_all_rules_of_a_chain() -> None:
    chain = NftChain(vni=5000, name="egress-001388-0000beef", rules=("ip saddr 10.0.0.1 accept",) * 1000)
    text = describe(Create(chain))
    assert text.startswith("create nft chain inet egress-001388-0000beef {")
    assert len(text) < 250
