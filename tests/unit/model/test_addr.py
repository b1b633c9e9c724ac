from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netorch.model.addr import AddressError, Prefix, canonical_ip, first_overlaps, parse_ip, parse_prefix

networks = st.one_of(
    st.builds(lambda a, n: ipaddress.ip_network((a, n), strict=False), st.integers(0, 2**32 - 1), st.integers(0, 32)),
    st.builds(lambda a, n: ipaddress.ip_network((a, n), strict=False), st.integers(2**32, 2**128 - 1), st.integers(0, 128)),
)


@given(networks)
def test_prefixes_agree_with_the_standard_library(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> None:
    prefix = parse_prefix(str(network))
    assert (prefix.version, prefix.network, prefix.last) == (network.version, int(network[0]), int(network[-1]))
    assert parse_prefix(str(prefix)) == prefix


@given(networks, networks)
def test_contains_and_overlaps_agree_with_the_standard_library(
    a: ipaddress.IPv4Network | ipaddress.IPv6Network, b: ipaddress.IPv4Network | ipaddress.IPv6Network
) -> None:
    x, y = parse_prefix(str(a)), parse_prefix(str(b))
    assert x.contains(y) == (a.version == b.version and b.subnet_of(a))  # type: ignore[arg-type]  # same version
    assert x.overlaps(y) == (a.version == b.version and a.overlaps(b))


@given(
    st.lists(
        st.builds(lambda a, n: parse_prefix(f"10.0.{a}.0/{n}", strict=False), st.integers(0, 255), st.integers(16, 28)),
        max_size=12,
    )
)
def test_first_overlaps_names_every_prefix_that_overlaps_an_earlier_one(prefixes: list[Prefix]) -> None:
    found = list(first_overlaps((prefix, index) for index, prefix in enumerate(prefixes)))
    assert all(prefixes[a].contains(prefixes[b]) for a, b in found)
    overlapping = {i for i, x in enumerate(prefixes) for j, y in enumerate(prefixes) if i != j and x.overlaps(y)}
    assert {index for pair in found for index in pair} == overlapping


@pytest.mark.parametrize(
    "text", ["", "10.0.0.0", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/016", "10.0.0.0/+8", "::/129", "/8", "10.0.0.0/٨", "a/8"]
)
def test_what_is_no_prefix_is_refused(text: str) -> None:
    with pytest.raises(AddressError):
        parse_prefix(text)


@given(st.text() | st.sampled_from(["10.0.0.0/" + "9" * 5000, "1.2.3.4\0", "::\ud800"]))
def test_no_text_raises_anything_but_address_error(text: str) -> None:
    for parse in (parse_ip, parse_prefix):
        try:
            parse(text)
        except AddressError as error:
            assert str(error)  # noqa: PT017 - it is also right when nothing is raised


def test_host_bits_are_an_error_or_cut_off() -> None:
    with pytest.raises(AddressError, match=r"100\.68\.0\.0/18"):
        parse_prefix("100.68.0.18/18")
    assert str(parse_prefix("100.68.0.18/18", strict=False)) == "100.68.0.0/18"


def test_equal_addresses_have_one_text() -> None:
    assert canonical_ip("FD00:0:0::0004") == "fd00::4"
