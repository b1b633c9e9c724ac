"""A public address that a VPC released no longer leads to it, even if the VPC cannot be compiled or read."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import pytest

from netorch.compiler.base import VpcPart, VpcView
from netorch.errors import CompileError
from netorch.model.eni import Placement
from netorch.model.vpc import Vpc
from netorch.records import keys
from netorch.records.codec import encode
from netorch.state.base import OUTSIDE, KernelObject
from netorch.state.l3 import Address, Route
from tests.unit.edges.pair import POOL, Pair
from tests.views import OneOff

FIRST, SECOND, A, B = "198.51.100.5", "198.51.100.6", "10.0.0.4", "10.0.0.5"
RANGE6, POOL6 = "2001:db8:5::/56", "2001:db8::/32"
NEWER = b'{"schema": 99}'


def _refusing(view: VpcView) -> Iterable[KernelObject]:
    if "refuse" in view.vpc.tags:
        raise CompileError("no luck")
    if "disagree" in view.vpc.tags:
        yield Address(vni=view.vni, ifname=view.vrf, address="10.0.0.1/32")


def _disagreeing(view: VpcView) -> Iterable[KernelObject]:
    if "disagree" in view.vpc.tags:
        yield Other(vni=view.vni, ifname=view.vrf, address="10.0.0.1/32")


class Other(Address, frozen=True, kw_only=True):
    """A different object with the key of an address."""

    more: int = 1


MOODY = OneOff(
    "moody",
    VpcPart(id="moody.one", compile=_refusing, inputs=frozenset({Vpc})),
    VpcPart(id="moody.two", compile=_disagreeing, inputs=frozenset({Vpc})),
)


def led(pair: Pair, vpc: Vpc) -> set[str]:
    """Return the destinations of the first edge's routes to a VPC in the namespace `outside`."""
    objects = pair.world.kernels["e1"].objects.values()
    return {obj.dst for obj in objects if isinstance(obj, Route) and obj.netns == OUTSIDE and obj.vni == vpc.vni}


@pytest.fixture
def vpc(pair: Pair) -> Vpc:
    """A VPC with two public addresses."""
    pair.world.compilers = [*pair.world.compilers, MOODY]
    for edge in ("e1", "e2"):
        pair.world.start(edge)
    vpc, _ = pair.vpc("a")
    pair.associate(vpc, FIRST, A)
    pair.associate(vpc, SECOND, B)
    pair.world.settle(3)
    assert led(pair, vpc) == {f"{FIRST}/32", f"{SECOND}/32"}
    return vpc


def spoil(pair: Pair, vpc: Vpc, how: str) -> None:
    """Make a VPC that no agent can compile or read."""
    if how in ("refuse", "disagree"):
        pair.world.put(keys.vpc(vpc.vni), encode(msgspec.structs.replace(vpc, tags={how: "yes"})))
    else:
        pair.world.put(f"vpc/{vpc.vni:06x}/sg/sg-00138800000000001", b"{" if how == "damaged" else NEWER)


@pytest.mark.parametrize("how", ["refuse", "disagree", "damaged", "newer"])
@pytest.mark.parametrize("restarted", [False, True])
def test_the_next_holder_of_an_address_is_the_only_one(pair: Pair, vpc: Vpc, how: str, restarted: bool) -> None:
    """The first VPC has the lower VNI, so its route would win."""
    other, _ = pair.vpc("b")
    spoil(pair, vpc, how)
    if not restarted:
        pair.world.settle(3)
    pair.dissociate(vpc, FIRST)
    if restarted:
        pair.world.start("e1")
    pair.associate(other, FIRST, A)
    pair.world.settle(3)
    assert vpc.vni in pair.world.agents["e1"].reconciler.problems
    assert led(pair, vpc) == {f"{SECOND}/32"}, "the rest stays"
    assert led(pair, other) == {f"{FIRST}/32"}


def test_what_it_got_back_is_there_again_once_it_can_be_compiled(pair: Pair, vpc: Vpc) -> None:
    spoil(pair, vpc, "refuse")
    pair.dissociate(vpc, FIRST)
    pair.world.settle(3)
    pair.associate(vpc, FIRST, A)
    pair.world.settle(3)
    pair.world.put(keys.vpc(vpc.vni), encode(vpc))
    pair.world.settle(3)
    assert led(pair, vpc) == {f"{FIRST}/32", f"{SECOND}/32"}
    pair.world.assert_settled()


def test_nothing_goes_while_the_store_is_away(pair: Pair, vpc: Vpc) -> None:
    spoil(pair, vpc, "damaged")
    pair.world.settle(3)
    pair.world.wires["e1"].cut = True
    pair.dissociate(vpc, FIRST)
    pair.world.settle(3)
    assert led(pair, vpc) == {f"{FIRST}/32", f"{SECOND}/32"}
    pair.world.wires["e1"].cut = False
    pair.world.settle(40)
    assert led(pair, vpc) == {f"{SECOND}/32"}


@pytest.mark.parametrize("how", ["damaged", "newer"])
def test_a_range_goes_likewise_and_stays_while_nobody_can_read_whose_it_is(pair: Pair, how: str) -> None:
    vpc, _ = pair.vpc("a", ipv6=RANGE6)
    pair.put_pool(POOL, POOL6)
    with_range = msgspec.structs.replace(vpc, ipv6_pools={RANGE6: "west"})
    pair.world.put(keys.vpc(vpc.vni), encode(with_range))
    pair.world.settle(3)
    assert led(pair, vpc) == {RANGE6}
    pair.world.put(keys.vpc(vpc.vni), b"{" if how == "damaged" else NEWER)
    pair.world.settle(3)
    assert led(pair, vpc) == {RANGE6}
    spoil(pair, vpc, "damaged")
    pair.world.put(keys.vpc(vpc.vni), encode(msgspec.structs.replace(vpc, ipv6_cidrs=())))
    pair.world.settle(3)
    assert led(pair, vpc) == set()


def test_a_newer_placement_keeps_no_address_either(pair: Pair, vpc: Vpc) -> None:
    pair.world.put(keys.placement("e1", f"vpn-{vpc.vni:06x}00000000001"), encode(Placement(id="vpn")))
    pair.dissociate(vpc, FIRST)
    pair.world.settle(3)
    assert led(pair, vpc) == {f"{SECOND}/32"}
