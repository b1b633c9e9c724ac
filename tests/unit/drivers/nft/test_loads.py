"""Which contents of a table fit, found by trials."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from netorch.drivers.nft.loads import fitting
from netorch.state.base import OVERLAY
from netorch.state.nft import NftChain, NftElement, NftTable
from netorch.state.op import Reload

TABLE = NftTable(netns=OVERLAY, family="inet", body="")
VNIS = range(5000, 5064)
ZONES = [NftElement(family="inet", set="zone", items=(f"vx{vni}",), value="0x1", vni=vni) for vni in VNIS]
CHAINS = [NftChain(vni=vni, name=f"egress-{vni:06x}-0000beef", rules=("accept",)) for vni in VNIS]


@pytest.mark.parametrize("bad", [set(), {5000}, {5063}, {5001, 5002, 5040}, set(VNIS)], ids=len)
def test_only_contents_that_do_not_fit_are_left_out(bad: set[int]) -> None:
    trials = 0

    def fits(loads: Sequence[Reload]) -> bool:
        nonlocal trials
        trials += 1
        return not any(isinstance(obj, NftChain) and obj.vni in bad for load in loads for obj in load.contents)

    (found,) = fitting([Reload(TABLE, TABLE, (*CHAINS, *ZONES))], fits)
    assert found.contents == (*(chain for chain in CHAINS if chain.vni not in bad), *ZONES)
    assert trials <= 1 + 2 * len(bad) * 6


def test_two_vpcs_that_fit_only_together_stay_together() -> None:
    """Chains of a VPC may read what its peer's part of the table has."""

    def fits(loads: Sequence[Reload]) -> bool:
        vnis = {obj.vni for load in loads for obj in load.contents}
        return 5003 not in vnis and not (5001 in vnis and 5000 not in vnis)

    (found,) = fitting([Reload(TABLE, TABLE, tuple(CHAINS[:4]))], fits)
    assert found.contents == tuple(CHAINS[:3])
