"""Chains whose sets have the other name, and when they get it."""

from __future__ import annotations

import msgspec
import pytest

from netorch.drivers.nft.commands import as_text, element_changes, of_elements, preparations, steps
from netorch.drivers.nft.swap import is_swapped, present, swapped, swapping
from netorch.state.nft import NftChain
from netorch.state.op import Create, Delete, Op, Replace
from tests import chains

OLD = chains.EGRESS_CHAIN


def with_elements(*elements: str) -> NftChain:
    """Return the chain with these elements in its last set."""
    *others, last = OLD.sets
    return msgspec.structs.replace(OLD, sets=(*others, msgspec.structs.replace(last, elements=elements)))


LAST = OLD.sets[-1].elements
WIDER = with_elements(*LAST, "::1 . 7 . 6")
NARROWER = with_elements(*LAST[1:])
OTHER = with_elements(*LAST[1:], "::1 . 7 . 6")


@pytest.mark.parametrize("chain", [obj for obj in chains.POLICY if isinstance(obj, NftChain)], ids=lambda chain: chain.name)
def test_a_chain_swapped_twice_is_the_same(chain: NftChain) -> None:
    assert swapped(swapped(chain)) == chain
    assert not is_swapped(chain.name, chain.rules)
    assert is_swapped(chain.name, swapped(chain).rules) == bool(chain.sets)


def test_only_what_adds_or_deletes_is_about_elements() -> None:
    assert of_elements(Replace(OLD, WIDER))
    assert of_elements(Replace(OLD, NARROWER))
    assert not of_elements(Replace(OLD, OTHER))


def test_elements_go_to_the_set_that_is_read_now() -> None:
    name = OLD.sets[-1].name
    assert [change.set for change in element_changes(present(Replace(OLD, WIDER), ()))] == [name]
    assert [change.set for change in element_changes(present(Replace(OLD, WIDER), {OLD.name}))] == [f"{name}_"]


@pytest.mark.parametrize("turned", [set(), {OLD.name}], ids=["the first time", "the second time"])
def test_no_transaction_lets_a_chain_read_a_set_that_it_fills(turned: set[str]) -> None:
    op = swapping(Replace(OLD, OTHER), turned)
    assert isinstance(op, Replace)
    assert isinstance(op.old, NftChain)
    assert isinstance(op.obj, NftChain)
    first, second = as_text(preparations([op])), as_text(steps([op]))
    assert "add element" in first
    assert "chain" not in first
    assert "add element" not in second
    assert {word for word in second.split() if word.startswith(f"@{OLD.name}.")} == {f"@{held.name}" for held in op.obj.sets}
    assert all(f"delete set inet netorch {held.name}\n" in second for held in op.old.sets)


@pytest.mark.parametrize("op", [Create(OLD), Delete(OLD)])
def test_what_is_made_again_or_deleted_is_what_is_there(op: Op) -> None:
    assert swapping(op, ()) == op
    assert swapping(op, {OLD.name}).obj == swapped(OLD)
