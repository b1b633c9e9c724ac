"""VPCs' own chains, sets and maps in a real kernel: read back as created, and changed without a moment of absence."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator

import msgspec
import pytest

from netorch.drivers import netns
from netorch.drivers.base import Lost
from netorch.drivers.nft.commands import as_text, element_changes, preparations
from netorch.drivers.nft.tables import Nft
from netorch.drivers.nft.wire.elements import pack
from netorch.drivers.nft.wire.messages import transaction
from netorch.errors import KernelError
from netorch.plan.diff import diff
from netorch.state.base import OVERLAY, KernelObject, Key
from netorch.state.nft import NFT_KINDS, ChainSet, NftChain, NftMap, NftTable
from netorch.state.op import Create, Delete, Op, Replace
from policy import skeleton
from tests import chains

pytestmark = pytest.mark.root

HOME = "nft-policy-test"
PORT = "v-0013880000001"
SKELETON = skeleton.overlay_tables()[0]
ALL = (SKELETON, *chains.POLICY, *chains.verdicts(PORT), chains.element("zone", "vx5000", value="0x7"))


@pytest.fixture
def nft() -> Iterator[Nft]:
    """netorch's tables in a network namespace for the test."""
    fd = netns.make(HOME)
    nft = Nft(OVERLAY, fd)
    yield nft
    nft.close()
    netns.remove(HOME)
    os.close(fd)


def by_key(*objects: KernelObject) -> dict[Key, KernelObject]:
    return {obj.key: obj for obj in objects}


def load(nft: Nft, *objects: KernelObject) -> None:
    assert [str(failure.error) for failure in nft.apply([Create(obj) for obj in objects])] == []


def somebody_else(*commands: str) -> None:
    """Change the ruleset as an operator would."""
    for command in commands:
        subprocess.run(["ip", "netns", "exec", HOME, "nft", command], check=True)


def fresh_dump() -> dict[Key, KernelObject]:
    """Return the dump of a process without memory."""
    fd = netns.find(HOME)
    nft = Nft(OVERLAY, fd)
    try:
        return nft.dump()
    finally:
        nft.close()
        os.close(fd)


def apply_difference(*wanted: KernelObject) -> list[Op]:
    """Let a process without memory apply the difference, and return the remaining operations."""
    fd = netns.find(HOME)
    nft = Nft(OVERLAY, fd)
    try:
        assert nft.apply(diff(by_key(*wanted), nft.dump())) == []
    finally:
        nft.close()
        os.close(fd)
    return diff(by_key(*wanted), fresh_dump())


def listing() -> str:
    """Return the ruleset as nft lists it."""
    command = ["ip", "netns", "exec", HOME, "nft", "list", "ruleset"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def with_elements(chain: NftChain, name: str, *elements: str) -> NftChain:
    """Return the chain with other elements in one of its sets."""
    sets = tuple(
        msgspec.structs.replace(held, elements=tuple(sorted(elements))) if held.name == f"{chain.name}.{name}" else held
        for held in chain.sets
    )
    return msgspec.structs.replace(chain, sets=sets)


def test_sets_that_were_left_without_their_chains_delay_nothing(nft: Nft) -> None:
    """An agent was killed after it had made sets, before it made the chains that use them and the jumps to these chains."""
    load(nft, SKELETON)
    somebody_else(as_text(preparations(Create(obj) for obj in chains.POLICY)))
    assert apply_difference(*ALL) == []


def test_every_form_of_rule_and_set_is_found_as_it_was_made(nft: Nft) -> None:
    load(nft, *ALL)
    found = fresh_dump()
    assert diff(by_key(*ALL), found) == []
    assert {key: obj for key, obj in found.items() if not isinstance(obj, NftTable)} == by_key(*ALL[1:])
    assert nft.events() == []


def test_creating_again_what_is_there_is_no_error(nft: Nft) -> None:
    load(nft, *ALL)
    load(nft, *ALL)
    assert diff(by_key(*ALL), nft.dump()) == []


def test_all_of_a_vpc_goes_in_the_order_of_a_plan(nft: Nft) -> None:
    load(nft, *ALL)
    assert nft.apply(diff(by_key(SKELETON), nft.dump())) == []
    assert list(fresh_dump()) == [SKELETON.key]
    assert nft.apply([Delete(obj) for obj in reversed(ALL[1:])]) == []


WIDER = ("0.0.0.0/0 . 53 . 17", "10.0.0.0/7 . 80-65535 . 6")
CHANGES = {
    "elements that overlap the old ones": (chains.EGRESS_CHAIN, with_elements(chains.EGRESS_CHAIN, "port4", *WIDER)),
    "no elements at all": (chains.EGRESS_CHAIN, with_elements(chains.EGRESS_CHAIN, "icmp4")),
    "other elements of many kinds": (
        chains.INGRESS_CHAIN,
        with_elements(
            with_elements(with_elements(chains.INGRESS_CHAIN, "port6", "::/0 . 1 . 6"), "peer_icmp6", "0x1 . 0-255 . 0-255"),
            "peer_port",
            "0xdeadbeef . 7-9 . 17",
        ),
    ),
    "fewer rules and sets": (
        chains.INGRESS_CHAIN,
        NftChain(
            vni=chains.VNI,
            name=chains.INGRESS,
            rules=(*chains.INGRESS_CHAIN.rules[:5], "drop"),
            sets=chains.INGRESS_CHAIN.sets[:2],
        ),
    ),
    "more rules and sets": (
        chains.ACL_CHAIN,
        NftChain(
            vni=chains.VNI,
            name=chains.ACL,
            rules=(f"ip daddr . meta l4proto @{chains.ACL}.net4 return", *chains.ACL_CHAIN.rules),
            sets=chains.chain_sets(chains.ACL, "net4", "net6", "port4"),
        ),
    ),
    "a set of another type": (
        chains.ACL_CHAIN,
        NftChain(
            vni=chains.VNI,
            name=chains.ACL,
            rules=(f"meta l4proto @{chains.ACL}.port4 return",),
            sets=(ChainSet(name=f"{chains.ACL}.port4", spec="type inet_proto; flags interval", elements=("1-5", "17")),),
        ),
    ),
    "where it leads": (chains.BORDER_CHAIN, msgspec.structs.replace(chains.BORDER_CHAIN, rules=(f"goto {chains.EGRESS}",))),
}


@pytest.mark.parametrize("case", sorted(CHANGES))
def test_a_chain_changes_in_place(nft: Nft, case: str) -> None:
    old, new = CHANGES[case]
    load(nft, *ALL)
    assert nft.apply([Replace(old, new)]) == []
    wanted = by_key(*ALL, new)
    assert diff(wanted, fresh_dump()) == []
    assert nft.apply([Replace(new, old)]) == []
    assert diff(by_key(*ALL), nft.dump()) == []
    assert nft.events() == []


def test_a_process_without_memory_goes_on_where_the_last_one_was(nft: Nft) -> None:
    """A changed chain has other names for its sets; after the agent's end only the kernel knows them."""
    load(nft, *ALL)
    mixed = with_elements(chains.EGRESS_CHAIN, "port4", *WIDER)
    fewer = with_elements(chains.EGRESS_CHAIN, "port4", *WIDER[:1])
    assert nft.apply([Replace(chains.EGRESS_CHAIN, mixed)]) == []
    for wanted in (fewer, mixed, chains.EGRESS_CHAIN, fewer):
        assert apply_difference(*ALL, wanted) == []
    assert apply_difference(SKELETON) == []
    assert "egress-" not in listing()


STRAY: Key = ("nft-rules", "overlay", "egress-001388-00000bad")  # of a chain that is not wanted
ALTERATIONS: dict[str, tuple[str, Key]] = {
    "a rule flushed": (f"flush chain inet netorch {chains.EGRESS}", chains.EGRESS_CHAIN.key),
    "a rule added": (f"insert rule inet netorch {chains.ACL} accept", chains.ACL_CHAIN.key),
    "an element of a chain's set added": (
        f"add element inet netorch {chains.INGRESS}.port4 {{ 10.9.9.0/24 . 1-9 . 6 }}",
        chains.INGRESS_CHAIN.key,
    ),
    "an element of a chain's set deleted": (
        f"delete element inet netorch {chains.INGRESS}.icmp4 {{ 10.0.0.0/30 . 3 . 4 }}",
        chains.INGRESS_CHAIN.key,
    ),
    "an element deleted": ("delete element inet netorch identity-001388.4 { 10.0.0.11 }", chains.PEERS[0].key),
    "an intruder among the identities": (
        "add element inet netorch identity-001388.6 { 2001:db8::66 : 0xbeef }",
        ("nft-element", "overlay", "inet", "identity-001388.6", "2001:db8::66"),
    ),
    "a chain added": (
        "add chain inet netorch egress-001388-00000bad { accept; }",
        STRAY,
    ),
    "a set added": (
        "add set inet netorch egress-001388-00000bad.port4 { type mark; }",
        STRAY,
    ),
    "what an agent made and did not live to use": (
        f"add set inet netorch {chains.EGRESS}.port4_ {{ type mark; }}; add set inet netorch {chains.EGRESS}.x_ {{ type mark; }}",
        chains.EGRESS_CHAIN.key,
    ),
    "a map added": (
        "add map inet netorch identity-001389.4 { type mark : verdict; }",
        ("nft-set", "overlay", "identity-001389.4"),
    ),
    "a shared chain added": ("add chain inet netorch extra { accept; }", SKELETON.key),
    "a shared rule flushed": ("flush chain inet netorch drop_sg_egress", SKELETON.key),
    "a shared map widened": ('add element inet netorch zone { "eth0" : 7 }', SKELETON.key),
}


@pytest.mark.parametrize("case", sorted(ALTERATIONS))
def test_an_operators_hand_is_noticed_and_repaired(nft: Nft, case: str) -> None:
    load(nft, *ALL)
    command, key = ALTERATIONS[case]
    somebody_else(command)
    assert nft.events() == [Lost(NFT_KINDS)]
    ops = diff(by_key(*ALL), nft.dump())
    assert [op.obj.key for op in ops] == [key]
    assert nft.apply(ops) == []
    assert diff(by_key(*ALL), fresh_dump()) == []
    assert nft.events() == []


def test_a_deleted_chain_comes_back_with_its_sets(nft: Nft) -> None:
    load(nft, *ALL)
    somebody_else(
        f"flush chain inet netorch {chains.ACL}; flush chain inet netorch {chains.BORDER}; delete chain inet netorch {chains.ACL}"
    )
    assert nft.apply(diff(by_key(*ALL), nft.dump())) == []
    assert diff(by_key(*ALL), fresh_dump()) == []


def test_strange_things_in_our_table_do_not_hide_the_rest(nft: Nft) -> None:
    load(nft, *ALL)
    somebody_else(
        'add chain inet netorch log-001388 { log prefix "a; } drop" comment "}, {"; }',
        "add quota inet netorch extra { over 5 mbytes; }",
        'add element inet netorch identity-001388.4 { 10.0.0.66 comment "a : b, c }" : 0x1 }',
        "add set inet netorch slow-001388 { type ipv4_addr . mark; flags interval,timeout; }",
        "add element inet netorch slow-001388 { 10.0.0.1-10.0.0.7 . 5-9 timeout 1h }",
    )
    assert nft.apply(diff(by_key(*ALL), nft.dump())) == []
    assert nft.apply(diff(by_key(*ALL), nft.dump())) == []
    assert diff(by_key(*ALL), fresh_dump()) == []


def test_a_changed_skeleton_keeps_what_the_vpcs_have(nft: Nft) -> None:
    load(nft, *ALL)
    newer = msgspec.structs.replace(SKELETON, body=SKELETON.body + "counter extra {\n}\n")
    assert nft.apply([Replace(SKELETON, newer)]) == []
    assert diff(by_key(*ALL, newer), fresh_dump()) == []
    assert nft.events() == []


def refusals(nft: Nft, *ops: Op) -> list[tuple[KernelObject, int]]:
    return [(failure.op.obj, failure.error.errno) for failure in nft.apply(ops)]


def test_the_bad_objects_of_one_vpc_do_not_stop_the_others(nft: Nft) -> None:
    name = "egress-00138a-00000001"
    overlap = ChainSet(
        name=f"{name}.net4",
        spec="type ipv4_addr . inet_proto; flags interval",
        elements=("0.0.0.0/0 . 6", "10.0.0.0/8 . 0-255"),
    )
    lost = NftChain(vni=5002, name=name, rules=("goto nowhere",))
    torn = NftChain(vni=5002, name="egress-00138a-00000002", rules=("accept", "no such words"))
    crossed = NftChain(
        vni=5002, name="egress-00138a-00000003", rules=("accept",), sets=(msgspec.structs.replace(overlap, name="x"),)
    )
    inject = NftChain(vni=5002, name="egress-00138a-00000004", rules=("accept; flush ruleset",))
    quoted = NftMap(vni=5002, name="identity-00138a.4", spec='type mark : mark; comment "x" } flush ruleset')
    pit = chains.element("ingress_policy", "v-00138a0000001", value="goto nowhere")
    bad = (lost, torn, crossed, inject, quoted, pit)
    good = list(ALL[1:])
    for place, obj in enumerate(bad[:-1]):
        good.insert(2 * place + 1, obj)
    load(nft, SKELETON)
    refused = refusals(nft, *map(Create, (*good, pit)))
    assert {obj.key for obj, _ in refused} == {obj.key for obj in bad}
    assert {number for obj, number in refused if obj in (lost, pit)} == {errno.ENOENT}
    assert diff(by_key(*ALL), fresh_dump()) == []


def test_what_is_in_use_is_not_deleted(nft: Nft) -> None:
    load(nft, *ALL)
    assert refusals(nft, Delete(chains.ACL_CHAIN)) == [(chains.ACL_CHAIN, errno.EBUSY)]
    assert refusals(nft, Delete(chains.INGRESS_CHAIN)) == [(chains.INGRESS_CHAIN, errno.EBUSY)]
    assert refusals(nft, Delete(chains.MAPS[0])) == [(chains.MAPS[0], errno.EBUSY)]
    assert diff(by_key(*ALL), nft.dump()) == []


def test_an_element_that_maps_to_something_else_is_in_the_way(nft: Nft) -> None:
    load(nft, *ALL)
    other = msgspec.structs.replace(chains.PEERS[0], value="0x1")
    assert refusals(nft, Create(other)) == [(other, errno.EEXIST)]
    assert nft.apply([Replace(chains.PEERS[0], other)]) == []
    assert diff(by_key(*ALL, other), nft.dump()) == []


def test_a_change_of_very_many_sets_is_carried_out_at_once_or_refused_as_a_whole(nft: Nft) -> None:
    """The kernel's answers about so many sets exceed a socket's buffer; none may be left for the next transaction to read."""
    maps = [NftMap(vni=vni, name=f"identity-{vni:06x}.4", spec="type ipv4_addr : mark") for vni in range(5000, 6000)]
    load(nft, SKELETON, *maps)
    elements = [chains.element(held.name, "10.0.0.1", value="0x5") for held in maps]

    def packed(op: type[Create] | type[Delete]) -> bytes:
        return transaction(
            pack([change for element in elements for change in element_changes(op(element))], lambda _: maps[0].spec)
        )

    nft.commit(packed(Create))
    nft.commit(packed(Delete))
    with pytest.raises(KernelError):
        nft.commit(packed(Delete))
    nft.commit(packed(Create))
    assert set(by_key(*elements)) <= set(fresh_dump())
