from __future__ import annotations

import pytest

from netorch.model import rules
from netorch.model.addr import Prefix, parse_prefix
from netorch.model.rules import Violation


@pytest.mark.parametrize("text", ["a", "web-1", "Web_2.example", "0", "x" * 255, "vpc-1", "no"])
def test_these_are_names(text: str) -> None:
    assert rules.name(text) is None


@pytest.mark.parametrize(
    "text", ["", ".", "..", "-a", "_a", "a b", "a/b", "a\n", "é", "x" * 256, "vpc-0013880a1b2c3d4e5", "sg-" + "0" * 17]
)
def test_these_are_not(text: str) -> None:
    assert rules.name(text)
    assert rules.host_name(text)


def test_a_hosts_name_fits_into_a_host_name() -> None:
    assert rules.host_name("x" * 63) is None
    assert rules.host_name("x" * 64)


@pytest.mark.parametrize("text", ["10.0.0.0/16", "10.0.0.0/28", "198.19.0.0/16", "100.64.0.0/16", "203.0.113.0/24"])
def test_a_vpc_may_have_any_unicast_cidr_of_16_to_28(text: str) -> None:
    assert isinstance(rules.vpc_cidr(text), Prefix)


@pytest.mark.parametrize(
    "text", ["10.0.0.0/15", "10.0.0.0/29", "127.0.0.0/16", "169.254.0.0/24", "239.0.0.0/16", "255.255.0.0/16", "0.1.0.0/16"]
)
def test_a_vpc_may_not_have_others(text: str) -> None:
    assert isinstance(rules.vpc_cidr(text), Violation)


def test_five_addresses_of_a_subnet_are_reserved() -> None:
    prefix = parse_prefix("10.0.1.0/28")
    base = prefix.network
    assert rules.reserved_addresses(prefix) == (base, base + 1, base + 2, base + 3, base + 15)
    assert {value - base for value in range(base, base + 16) if rules.is_reserved(prefix, value)} == {0, 1, 2, 3, 15}
    assert rules.first_free(prefix) == "10.0.1.4"


def test_a_mac_is_unicast_and_canonical() -> None:
    assert rules.mac("02:00:00:00:00:AB") == "02:00:00:00:00:ab"
    for text in (
        "03:00:00:00:00:00",
        "00:00:00:00:00:00",
        "ff:ff:ff:ff:ff:ff",
        rules.PORT_MAC.upper(),
        "02:00:00:00:00",
        "02:00:00:00:00:0g",
    ):
        assert isinstance(rules.mac(text), Violation)


def test_long_and_strange_values_are_shown_short_and_on_one_line() -> None:
    assert rules.shown("a\nb") == r"'a\nb'"
    assert len(rules.shown("x" * 1000)) <= 62
    assert rules.vni(10**5000) == Violation("so large a number is not a VNI", "choose one from 4097 to 16777214, or leave it out")


@pytest.mark.parametrize("text", ["box", "/proc/4711/ns/net", "/run/netns/box", "cni-0"])
def test_a_namespace_is_a_name_or_an_absolute_path(text: str) -> None:
    assert rules.netns(text) is None


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "a b",
            "a/b",
            "..",
            ".",
            "x" * 256,
            "box/",
            "/box/",
            "//box",
            "/",
            "/run//netns/box",
            "/run/netns/",
            "/run/netns/a/b",
        ),
        *("/run/netns/../x", "/run/./netns/x", "/run/netns/.", "/tmp/..", "/run/netns//box"),
        *("netorch-hv1", "/run/netns/netorch-hv1", "/var/run/netns/netorch-hv1", "/tmp/netorch-hv1"),
        *("i-00138800000000001", "/run/netns/i-00138800000000001"),
        *("/proc/1/ns/net", "/proc/self/ns/net", "/proc/thread-self/ns/net", "/proc/01/ns/net", "/proc/4711/task/4711/ns/net"),
        *("/proc/4711/ns/mnt", "/proc/4711/root/run/netns/box", "/proc/4711/fd/3", "/proc/net"),
    ],
)
def test_a_namespace_is_nothing_else(text: str) -> None:
    assert rules.netns(text)


def test_a_namespace_has_one_spelling() -> None:
    spellings = ("box", "/run/netns/box", "/var/run/netns/box")
    assert {rules.normal_netns(text) for text in spellings} == {"box"}
    assert rules.normal_netns("/proc/4711/ns/net") == "/proc/4711/ns/net"
