"""Limits of the enrolment service."""

from __future__ import annotations

from netorch.control.identities.limits import Attempts, Places, network_of


def test_an_address_that_fails_often_waits_and_others_do_not() -> None:
    now = 100.0
    attempts = Attempts(3, 10.0, lambda: now)
    tried = []
    for _ in range(5):
        tried.append(attempts.may("a"))
        attempts.failed("a")
    assert tried == [True, True, True, False, False]
    assert attempts.may("b")
    now += 20.0
    assert not attempts.may("a")
    now += 10.0
    assert attempts.may("a")


def test_strangers_with_many_addresses_use_little_memory() -> None:
    attempts = Attempts(1, 10.0, lambda: 0.0)
    for number in range(10_000):
        attempts.failed(str(number))
    assert not attempts.may("9999")
    assert attempts.may("0")  # forgotten


def test_connections_are_limited_in_all_and_for_each_address() -> None:
    places = Places(3, 2)
    assert [places.take(address) for address in ("a", "a", "a", "b", "c")] == [True, True, False, True, False]
    places.leave("a")
    assert [places.take("c"), places.take("a")] == [True, False]


def test_all_addresses_of_an_ipv6_network_count_as_one() -> None:
    assert network_of("192.0.2.1") == "192.0.2.1"
    assert network_of("::ffff:192.0.2.1") == "192.0.2.1"
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:2") != network_of("2001:db8:0:1::1")
    assert network_of("fe80::1%eth0") == "fe80::/64"
