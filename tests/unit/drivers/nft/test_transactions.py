"""Changes that take effect together in one transaction."""

from __future__ import annotations

import msgspec

from netorch.drivers.nft.transactions import MOST, only_elements, transactions
from netorch.plan.diff import diff
from netorch.state.base import OVERLAY, KernelObject, Key
from netorch.state.nft import ChainSet, NftChain, NftElement, PortChain
from netorch.state.op import Create, Delete, Op, Replace

VNI, OTHER = 0x1388, 0x1389
OLD_IDENTITY, NEW_IDENTITY = "0x7", "0x8"


def policy_chain(*peers: str, vni: int = VNI, rules: tuple[str, ...] = ("accept",), name: str = "take") -> NftChain:
    """Return a chain that accepts peers of some classes, reduced to the parts that transactions depend on."""
    name = f"{name}-{vni:06x}-0000beef"
    held = ChainSet(
        name=f"{name}.peer_net", spec="type mark . inet_proto; flags interval", elements=tuple(f"{p} . 17" for p in peers)
    )
    return NftChain(vni=vni, name=name, rules=rules, sets=(held,))


def member(number: str, vni: int = VNI, address: str = "10.0.0.5") -> NftElement:
    """Return an address with its class number."""
    return NftElement(netns=OVERLAY, family="inet", set=f"identity-{vni:06x}.4", items=(address,), vni=vni, value=number)


def by_key(*objects: KernelObject) -> dict[Key, KernelObject]:
    return {obj.key: obj for obj in objects}


def together(ops: list[Op]) -> list[set[Key]]:
    return [{op.obj.key for op in transaction.ops} for transaction in transactions(ops)]


def test_a_class_that_comes_is_known_before_it_has_members_and_one_that_goes_until_it_has_none() -> None:
    new, old = policy_chain(name="send"), policy_chain(name="kept", rules=("drop",))
    before = by_key(policy_chain(OLD_IDENTITY), member(OLD_IDENTITY), old)
    after = by_key(policy_chain(NEW_IDENTITY), member(NEW_IDENTITY), new)
    both = policy_chain(OLD_IDENTITY, NEW_IDENTITY)
    assert list(transactions(diff(after, before))) == [
        ([Create(new)], False),
        ([Replace(policy_chain(OLD_IDENTITY), both)], False),
        ([Replace(member(OLD_IDENTITY), member(NEW_IDENTITY))], False),
        ([Replace(both, policy_chain(NEW_IDENTITY))], True),
        ([Delete(old)], True),
    ]


def test_members_change_when_no_packet_is_left_that_has_other_rules_than_those_that_know_their_class() -> None:
    without = NftChain(vni=VNI, name=policy_chain().name, rules=("ct state new", "goto refuse"))
    knows = msgspec.structs.replace(
        policy_chain(NEW_IDENTITY), rules=("ct state new", "meta mark set x", "meta mark @set", "goto refuse")
    )
    comes = diff(by_key(knows, member(NEW_IDENTITY)), by_key(without, member(OLD_IDENTITY)))
    goes = diff(by_key(without, member(OLD_IDENTITY)), by_key(knows, member(NEW_IDENTITY)))
    wider, narrower, onto, back = (
        Replace(without, knows),
        Replace(knows, without),
        Replace(member(OLD_IDENTITY), member(NEW_IDENTITY)),
        Replace(member(NEW_IDENTITY), member(OLD_IDENTITY)),
    )
    assert list(transactions(comes)) == [([wider], False), ([onto], True)]
    assert list(transactions(goes)) == [([back], False), ([narrower], True)]


def test_rules_and_members_that_change_together_change_at_once() -> None:
    before, after = policy_chain(OLD_IDENTITY), msgspec.structs.replace(policy_chain(NEW_IDENTITY), rules=("drop",))
    ops = diff(by_key(after, member(NEW_IDENTITY)), by_key(before, member(OLD_IDENTITY)))
    assert together(ops) == [{after.key, member("").key}]


def test_a_chain_of_another_shape_changes_with_the_elements_of_its_vpc_and_not_with_those_of_others() -> None:
    before = by_key(policy_chain(OLD_IDENTITY), member(OLD_IDENTITY), policy_chain(OLD_IDENTITY, vni=OTHER))
    reshaped = policy_chain(NEW_IDENTITY, rules=("accept", "drop"))
    after = by_key(
        reshaped, member(NEW_IDENTITY), policy_chain(OLD_IDENTITY, NEW_IDENTITY, vni=OTHER), member(NEW_IDENTITY, OTHER)
    )
    other = [{policy_chain(vni=OTHER).key}, {member("", OTHER).key}]
    assert together(diff(after, before)) == [*other, {reshaped.key, member("").key}]


def test_no_chain_gains_elements_by_themselves_while_others_of_its_vpc_go() -> None:
    gain = Replace(policy_chain(OLD_IDENTITY), policy_chain(OLD_IDENTITY, NEW_IDENTITY))
    assert only_elements([gain, Create(member(NEW_IDENTITY))])
    assert only_elements([gain, Delete(member(OLD_IDENTITY, OTHER))])
    assert not only_elements([gain, Replace(member(OLD_IDENTITY), member(NEW_IDENTITY))])
    assert not only_elements([gain, Delete(member(OLD_IDENTITY))])
    assert not only_elements([Replace(policy_chain(OLD_IDENTITY), policy_chain(NEW_IDENTITY))])


def test_a_chain_of_a_port_makes_no_element_wait() -> None:
    port = PortChain(vni=VNI, ifname="v-0013880000001", rules=("accept",))
    ops: list[Op] = [Replace(port, msgspec.structs.replace(port, rules=("drop",))), Create(member(NEW_IDENTITY))]
    assert together(ops) == [{port.key}, {member("").key}]


def test_what_makes_room_goes_before_what_takes_it() -> None:
    chain = policy_chain()
    assert together([Delete(chain), Create(chain)]) == [{chain.key}, {chain.key}]


def test_too_much_for_one_transaction_is_divided_between_vpcs_first() -> None:
    vpcs = [[Create(member(NEW_IDENTITY, vni, f"10.0.{i >> 8}.{i & 255}")) for i in range(MOST - 1000)] for vni in (VNI, OTHER)]
    huge = [Create(member(NEW_IDENTITY, OTHER + 1, f"10.1.{i >> 8}.{i & 255}")) for i in range(MOST + 1)]
    sizes = [(len(found), {op.obj.vni for op in found}) for found, _ in transactions([*vpcs[0], *vpcs[1], *huge])]
    assert sizes == [(MOST - 1000, {VNI}), (MOST - 1000, {OTHER}), (MOST, {OTHER + 1}), (1, {OTHER + 1})]
