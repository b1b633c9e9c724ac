"""Changed nftables tables, each with its contents in one transaction."""

from __future__ import annotations

from netorch.drivers.base import Lost
from netorch.state.nft import NFT_KINDS, NftChain, NftTable
from netorch.state.op import Delete, Reload
from tests import chains
from tests.contract.kernel.stands import (
    CHAIN,
    ELEMENTS,
    OUTSIDE_CHAIN,
    PORT,
    TABLES,
    VETH,
    VNI,
    VRF,
    ZONE,
    Stand,
    by_key,
    create,
    missing,
    reload,
    there,
    with_more,
)

_, OVERLAY_INET, OVERLAY_NETDEV = TABLES
MORE = "counter extra {\n}\n"


def leading(name: str, to: str, vni: int = VNI) -> NftChain:
    """Return a chain of a VPC that leads to another."""
    return NftChain(vni=vni, name=name, rules=(f"goto {to}",))


def test_reloaded_tables_have_their_contents(stand: Stand) -> None:
    contents = (CHAIN, OUTSIDE_CHAIN, *ELEMENTS)
    create(stand.kernel, VRF, VETH, *TABLES, *contents)
    ops = [reload(table, MORE, contents) for table in TABLES]
    assert stand.kernel.apply(ops) == []
    found = stand.kernel.dump(NFT_KINDS)
    assert {key: obj for key, obj in found.items() if not isinstance(obj, NftTable)} == by_key(*contents)
    assert missing(stand.kernel, *(op.obj for op in ops)) == []


def test_a_reloaded_table_has_the_policies_of_vpcs(stand: Stand) -> None:
    contents = (*chains.POLICY, *chains.verdicts(PORT), ZONE)
    create(stand.kernel, *TABLES, *contents)
    op = reload(OVERLAY_INET, MORE, contents)
    assert stand.kernel.apply([op]) == []
    assert missing(stand.kernel, op.obj, *contents) == []


def test_a_reloaded_table_has_other_chains_than_before(stand: Stand) -> None:
    """The old chain leads to where the new table has nothing, and the new one to where the old table has nothing."""
    old, new = (leading(chains.EGRESS, to=f"way{number}") for number in (1, 2))
    other = leading("acl-001388-00000000002-egress", to="way1")
    before = with_more(OVERLAY_INET, "chain way1 {\n}\n")
    create(stand.kernel, before, old, other)
    op = Reload(before, with_more(OVERLAY_INET, "chain way2 {\n}\n"), (new,))
    assert stand.kernel.apply([op]) == []
    assert missing(stand.kernel, op.obj, new) == []
    assert not there(stand.kernel, other)


def test_contents_that_do_not_fit_cost_their_vpc_all_but_its_zone(stand: Stand) -> None:
    own = (*chains.POLICY, ZONE)
    others = [leading(f"egress-{vni:06x}-0000beef", to="deliver", vni=vni) for vni in range(6001, 6006)]
    create(stand.kernel, *TABLES, *own, *others)
    lost = [leading("egress-001773-0000beef", to="nowhere", vni=6003), leading("egress-001389-0000beef", to="nowhere", vni=5001)]
    fit = [obj for obj in others if obj.vni != 6003]
    op = reload(OVERLAY_INET, MORE, (*own, *fit, *lost, leading(chains.ACL, to="nowhere")))
    assert stand.kernel.apply([op]) == []
    assert missing(stand.kernel, op.obj) == []
    found = [obj for obj in stand.kernel.dump(NFT_KINDS).values() if obj.within == op.obj.key]
    assert {obj.key: obj for obj in found} == by_key(ZONE, *fit)
    assert Lost(NFT_KINDS) in stand.kernel.events()


def test_what_was_on_a_device_that_is_gone_stops_no_reload(stand: Stand) -> None:
    create(stand.kernel, VRF, VETH, *TABLES, CHAIN)
    assert stand.kernel.apply([Delete(VETH)]) == []
    op = reload(OVERLAY_NETDEV, MORE, (CHAIN,))
    assert stand.kernel.apply([op]) == []
    assert missing(stand.kernel, op.obj) == []
    assert not there(stand.kernel, CHAIN)
