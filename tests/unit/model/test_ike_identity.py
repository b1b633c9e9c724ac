"""Identities in IKE: texts that mean exactly one device and have only one spelling."""

from __future__ import annotations

import pytest

from netorch.model.outside.ike_identity import is_identity, is_same

GOOD = [
    "203.0.113.1",
    "192.168.1.1",
    "office.example",
    "cgw1",
    "r-1.office.example",
    "a@office.example",
    "C=DE, O=acme, CN=router 1",
]
MANY = ["*", "*.example", "%any", "CN=*", "0.0.0.0", "255.255.255.255", "::", "0::0", "2001:db8::1", "10.0.0.0/8", "CN=a, O=*"]
RANGES = ["0.0.0.0-255.255.255.255", "10.0.0.0-10.255.255.255", "10.1", "010.0.0.1"]
OTHERWISE = ["ipv4:203.0.113.1", "fqdn:office.example", "keyid:00", "@office.example", "@@a@b", "@#00", "{2}:a", "asn1dn:#30"]
NAMES = [
    "C=DE,O=acme",
    "C=DE/O=acme",
    "cn=a",
    "2.5.4.3=a",
    "CN=a ",
    "CN=a  b",
    "CN=",
    "CN=a+OU=b",
    'CN="a"',
    "a b",
    "",
    " a",
    "a\n",
    "\u0430.example",
]


@pytest.mark.parametrize("text", GOOD)
def test_one_device(text: str) -> None:
    assert is_identity(text)


@pytest.mark.parametrize("text", [*MANY, *RANGES, *OTHERWISE, *NAMES, "a" * 64 + ".example", "a." * 128 + "a"])
def test_many_devices_or_one_that_is_written_in_another_way(text: str) -> None:
    assert not is_identity(text)


def test_case_does_not_tell_devices_apart() -> None:
    assert is_same("Office.Example", "office.example")
    assert not is_same("office.example", "office2.example")
