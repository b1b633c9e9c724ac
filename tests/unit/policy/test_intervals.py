"""Boxes: no two share a packet, and together they contain exactly the packets of the rules."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations, pairwise

from hypothesis import given
from hypothesis import strategies as st

from netorch.model.addr import Prefix, parse_ip, parse_prefix
from policy.intervals import Lookup, Stretch, identity_lookups, lookups, ordered, union
from policy.services import EVERYTHING, NOTHING, Services, services
from tests.unit.policy.test_services import rules, sets

PREFIXES = tuple(
    parse_prefix(text)
    for text in (
        "0.0.0.0/0",
        "10.0.0.0/8",
        "10.0.0.0/9",
        "10.1.0.0/16",
        "10.1.2.0/24",
        "10.1.2.3/32",
        "128.0.0.0/1",
        "255.0.0.0/8",
    )
)
prefixes = st.sampled_from(PREFIXES)
BORDERS = sorted({point for p in PREFIXES for point in (p.network - 1, p.network, p.last, p.last + 1) if 0 <= point < 1 << 32})
entries = st.tuples(prefixes, rules.map(lambda rule: services(*rule)), st.booleans())


def at(stretches: list[Stretch], address: int) -> Services:
    """Return the services that the stretches containing an address permit."""
    found = NOTHING
    for stretch in stretches:
        if stretch.first <= address <= stretch.last:
            found = found | stretch.services
    return found


@given(st.dictionaries(prefixes, sets, max_size=6))
def test_a_union_permits_with_an_address_what_any_prefix_around_it_permits(permitted: dict[Prefix, Services]) -> None:
    stretches = union(permitted)
    for address in BORDERS:
        wanted = NOTHING
        for prefix, found in permitted.items():
            if prefix.holds(4, address):
                wanted = wanted | found
        assert at(stretches, address) == wanted


@given(st.dictionaries(prefixes, sets, max_size=6))
def test_no_two_intervals_of_a_union_overlap(permitted: dict[Prefix, Services]) -> None:
    assert_disjoint(union(permitted))


@given(st.lists(entries, max_size=6))
def test_the_first_entry_that_matches_decides(listed: list[tuple[Prefix, Services, bool]]) -> None:
    stretches = ordered(4, listed)
    for address in BORDERS:
        allowed = undecided = EVERYTHING
        allowed = NOTHING
        for prefix, found, allow in listed:
            if prefix.holds(4, address):
                allowed = allowed | (found & undecided) if allow else allowed
                undecided = undecided - found
        assert at(stretches, address) == allowed
    assert_disjoint(stretches)


def assert_disjoint(stretches: list[Stretch]) -> None:
    for a, b in combinations(stretches, 2):
        if a.first <= b.last and b.first <= a.last:
            assert not a.services & b.services


@given(st.lists(entries, max_size=6))
def test_neighbours_that_agree_are_one(listed: list[tuple[Prefix, Services, bool]]) -> None:
    stretches = ordered(4, listed)
    for a, b in pairwise(stretches):
        assert a.last < b.first
        assert a.last + 1 < b.first or a.services != b.services


def test_addresses_are_spelled_as_nft_lists_them() -> None:
    def text(first: str, last: str) -> str:
        version, low = parse_ip(first)
        return Stretch(version, low, parse_ip(last)[1], EVERYTHING).text

    assert text("10.0.0.1", "10.0.0.1") == "10.0.0.1"
    assert text("10.0.0.0", "10.0.255.255") == "10.0.0.0/16"
    assert text("10.0.0.1", "10.0.0.2") == "10.0.0.1-10.0.0.2"
    assert text("0.0.0.0", "255.255.255.255") == "0.0.0.0/0"
    assert text("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff") == "::/0"


def sets_in(found: Iterable[Lookup]) -> dict[str, tuple[str, ...]]:
    """Return the elements of the look-ups' sets by name."""
    return {lookup.set.name: lookup.set.elements for lookup in found if lookup.set is not None}


def rules_of(found: Iterable[Lookup]) -> list[str]:
    return [rule for lookup in found for rule in lookup.rules("accept")]


def test_a_few_intervals_are_a_rule_each() -> None:
    permitted = {parse_prefix("10.0.0.0/8"): services(6, 80, 443) | services(1, 8, -1) | services(47, -1, -1)}
    found = list(lookups("c", 4, "ip saddr", union(permitted)))
    assert rules_of(found) == [
        "ip saddr 10.0.0.0/8 th dport 80-443 meta l4proto 6 accept",
        "ip saddr 10.0.0.0/8 meta l4proto 47 accept",
        "ip saddr 10.0.0.0/8 icmp type 8 icmp code 0-255 accept",
    ]
    assert sets_in(found) == {}


def test_each_kind_of_service_has_a_set_of_its_own() -> None:
    kinds = services(6, 80, 443) | services(1, 8, -1) | services(47, -1, -1)
    found = list(lookups("c", 4, "ip saddr", union({parse_prefix(f"10.{net}.0.0/16"): kinds for net in range(5)})))
    assert sets_in(found) == {
        "c.port4": tuple(f"10.{net}.0.0/16 . 80-443 . 6" for net in range(5)),
        "c.net4": tuple(f"10.{net}.0.0/16 . 47" for net in range(5)),
        "c.icmp4": tuple(f"10.{net}.0.0/16 . 8 . 0-255" for net in range(5)),
    }
    assert rules_of(found)[0] == "ip saddr . th dport . meta l4proto @c.port4 accept"


def test_a_peer_with_many_ports_is_looked_up_by_the_port_first() -> None:
    permitted = {parse_prefix("10.0.0.0/8"): services(6, 22, 22)}
    crowd = services(6, 1, 1)
    for port in range(3, 21, 2):
        crowd = crowd | services(6, port, port)
    permitted[parse_prefix("192.0.2.0/24")] = crowd
    found = list(lookups("c", 4, "ip saddr", union(permitted)))
    assert rules_of(found)[0] == "ip saddr 10.0.0.0/8 th dport 22 meta l4proto 6 accept"
    assert set(sets_in(found)["c.many4"]) == {f"{port} . 6 . 192.0.2.0/24" for port in range(1, 21, 2)}
    assert rules_of(identity_lookups("c", {7: crowd})) == ["th dport . meta l4proto . meta mark @c.peer_many accept"]


def test_what_is_permitted_to_a_class_serves_both_ip_versions() -> None:
    permitted = {7: services(6, 22, 22) | services(1, 8, 0) | services(58, 128, 0), 9: EVERYTHING}
    assert sets_in(identity_lookups("c", permitted)) == {
        "c.peer_port": ("0x7 . 22 . 6",),
        "c.peer_net": ("0x9 . 0-255",),
        "c.peer_icmp4": ("0x7 . 8 . 0",),
        "c.peer_icmp6": ("0x7 . 128 . 0",),
    }


def test_icmp_of_one_ip_version_is_no_permission_in_the_other() -> None:
    permitted = {parse_prefix("2001:db8::/32"): services(1, 8, -1)}
    assert list(lookups("c", 6, "ip6 saddr", union(permitted))) == []
