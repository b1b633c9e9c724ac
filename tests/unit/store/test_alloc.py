"""Allocation: no holder gets what another holds, and freed values rest for an hour."""

from __future__ import annotations

import pytest

from netorch.errors import StoreError
from netorch.model.ids import VNI_FIRST, VNI_LAST
from netorch.store.alloc import (
    HOLD_DOWN_S,
    NEXT_VNI_KEY,
    Claim,
    find_vnis,
    forget,
    holder_of,
    mac_address,
    mac_key,
    release,
    take,
    vni_key,
)
from netorch.store.base import KeyValue, Put, Range
from netorch.store.memory import MemoryStore

NOW = 1_700_000_000.0


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def commit(store: MemoryStore, *claims: Claim) -> bool:
    return store.txn([claim.compare for claim in claims], [claim.op for claim in claims]).succeeded


def take_vnis(store: MemoryStore, count: int, now: float = NOW) -> list[int]:
    block = find_vnis(store, count, now)
    assert commit(store, block.advance, *(free.take("vpc-a") for free in block.free))
    return [free.vni for free in block.free]


def stored(store: MemoryStore, key: str) -> KeyValue:
    known = store.get(key)
    assert known is not None
    return known


def begin_at(store: MemoryStore, vni: int) -> None:
    store.txn([], [Put(NEXT_VNI_KEY, b"%d" % vni)])


class TestVnis:
    def test_vnis_are_handed_out_in_order(self, store: MemoryStore) -> None:
        assert take_vnis(store, 3) == [VNI_FIRST, VNI_FIRST + 1, VNI_FIRST + 2]
        assert take_vnis(store, 1) == [VNI_FIRST + 3]
        assert holder_of(store.get(vni_key(VNI_FIRST))) == "vpc-a"

    def test_of_two_who_found_the_same_vnis_one_gets_them(self, store: MemoryStore) -> None:
        first, second = find_vnis(store, 2, NOW), find_vnis(store, 2, NOW)
        assert commit(store, first.advance, first.free[0].take("a"))
        assert not commit(store, second.advance, second.free[0].take("b"))
        assert not commit(store, second.free[0].take("b"))
        assert commit(store, first.free[1].take("a"))

    def test_a_vni_that_somebody_chose_by_hand_is_passed_over(self, store: MemoryStore) -> None:
        request = take(vni_key(VNI_FIRST + 1), None, "vpc-b", NOW)
        assert request is not None
        assert commit(store, request)
        assert take_vnis(store, 2) == [VNI_FIRST, VNI_FIRST + 2]

    def test_after_the_last_vni_comes_the_first(self, store: MemoryStore) -> None:
        begin_at(store, VNI_LAST - 1)
        assert take_vnis(store, 3) == [VNI_LAST - 1, VNI_LAST, VNI_FIRST]
        begin_at(store, VNI_LAST)
        assert take_vnis(store, 1) == [VNI_FIRST + 1]

    def test_a_freed_vni_rests_for_an_hour(self, store: MemoryStore) -> None:
        take_vnis(store, 2)
        assert commit(store, release(stored(store, vni_key(VNI_FIRST)), NOW))
        assert holder_of(store.get(vni_key(VNI_FIRST))) == ""
        begin_at(store, VNI_FIRST)
        assert find_vnis(store, 1, NOW + HOLD_DOWN_S - 1).free[0].vni == VNI_FIRST + 2
        assert take_vnis(store, 1, NOW + HOLD_DOWN_S) == [VNI_FIRST]

    def test_a_clock_that_is_set_back_only_lengthens_the_rest(self, store: MemoryStore) -> None:
        take_vnis(store, 1)
        commit(store, release(stored(store, vni_key(VNI_FIRST)), NOW))
        assert take(vni_key(VNI_FIRST), store.get(vni_key(VNI_FIRST)), "vpc-b", NOW - 86400) is None

    def test_freeing_twice_is_a_lost_race(self, store: MemoryStore) -> None:
        take_vnis(store, 1)
        free = release(stored(store, vni_key(VNI_FIRST)), NOW)
        assert commit(store, free)
        assert not commit(store, free)

    @pytest.mark.parametrize("value", [b"", b"[]", b"16777215", b"4096", b"null"])
    def test_a_damaged_hint_costs_only_looking(self, store: MemoryStore, value: bytes) -> None:
        take_vnis(store, 2)
        store.txn([], [Put(NEXT_VNI_KEY, value)])
        assert take_vnis(store, 1) == [VNI_FIRST + 2]

    def test_a_damaged_allocation_is_handed_to_nobody(self, store: MemoryStore) -> None:
        store.txn([], [Put(vni_key(VNI_FIRST), b"garbage")])
        assert take_vnis(store, 1) == [VNI_FIRST + 1]

    def test_when_none_is_left_it_says_how_many(self, monkeypatch: pytest.MonkeyPatch, store: MemoryStore) -> None:
        monkeypatch.setattr("netorch.store.alloc.VNI_LAST", VNI_FIRST + 9)
        take_vnis(store, 7)
        with pytest.raises(StoreError, match="3 of the 4 requested VNIs"):
            find_vnis(store, 4, NOW)

    def test_a_full_store_is_not_searched(self) -> None:
        class Crowded(MemoryStore):
            listings = 0

            def list(self, prefix: str, revision: int = 0) -> Range:
                self.listings += 1
                return super().list(prefix, revision)

        store = Crowded()
        for start in range(VNI_FIRST, VNI_FIRST + 12_800, 100):
            store.txn([], [Put(vni_key(vni), b'{"holder":"x"}') for vni in range(start, start + 100)])
        begin_at(store, VNI_FIRST + 12_800)
        take_vnis(store, 1)
        assert store.listings <= 2
        assert len(find_vnis(store, 2000, NOW).free) == 2000
        assert store.listings <= 2 + 2000 // 256 + 2


class TestAddressesAndNames:
    def test_a_mac_address_is_unicast_and_locally_administered(self) -> None:
        assert mac_address(0) == "06:00:00:00:00:00"
        assert mac_address(0xAB_0102030405) == "06:01:02:03:04:05"
        assert int(mac_address(-1)[:2], 16) & 0b11 == 0b10

    def test_a_mac_address_has_one_holder_and_is_free_at_once(self, store: MemoryStore) -> None:
        key = mac_key(mac_address(7))
        mine = take(key, store.get(key), "eni-a", NOW)
        assert mine is not None
        assert commit(store, mine)
        assert not commit(store, mine)
        assert take(key, store.get(key), "eni-b", NOW) is None
        assert commit(store, forget(stored(store, key)))
        assert take(key, store.get(key), "eni-b", NOW) is not None

    def test_a_name_rests_as_long_as_the_caller_says(self, store: MemoryStore) -> None:
        key = "name/acme/vpc/prod"
        mine = take(key, None, "vpc-a", NOW)
        assert mine is not None
        assert commit(store, mine)
        assert commit(store, release(stored(store, key), NOW))
        assert take(key, store.get(key), "vpc-b", NOW) is None
        again = take(key, store.get(key), "vpc-b", NOW, hold_down_s=0)
        assert again is not None
        assert commit(store, again)
        assert holder_of(store.get(key)) == "vpc-b"
