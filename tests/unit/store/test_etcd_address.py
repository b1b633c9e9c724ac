"""Addresses of a store in etcd."""

from __future__ import annotations

from pathlib import Path

import pytest

from netorch.errors import StoreError
from netorch.store import open_store
from netorch.store.etcd.address import Address, parse_address


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("etcd://localhost", Address(members=("localhost:2379",))),
        ("etcd://127.0.0.2/", Address(members=("127.0.0.2:2379",))),
        ("etcd://localhost:1,127.0.0.1,[::1]:3/b", Address(members=("localhost:1", "127.0.0.1:2379", "[::1]:3"), name="b")),
        (
            "etcd://h:1,10.0.0.1,[fd00::1]:3/prod?ca=/a",
            Address(members=("h:1", "10.0.0.1:2379", "[fd00::1]:3"), name="prod", ca=Path("/a")),
        ),
        ("etcd://h?ca=/a.pem", Address(members=("h:2379",), ca=Path("/a.pem"))),
        (
            "etcd://h/x?ca=/a&cert=/c%20d&key=/k",
            Address(members=("h:2379",), name="x", ca=Path("/a"), cert=Path("/c d"), key=Path("/k")),
        ),
    ],
)
def test_a_url_names_members_a_store_and_files(url: str, address: Address) -> None:
    assert parse_address(url) == address


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("etcd://", "the member '' is not HOST:PORT"),
        ("etcd://h:0", "the member 'h:0'"),
        ("etcd://h:70000", "the member 'h:70000'"),
        ("etcd://user:word@h", "the member 'user:word@h'"),
        ("etcd://h,h:2379", "a member twice"),
        ("etcd://h/a/b", "the name 'a/b'"),
        ("etcd://h/a#b", "the name 'a#b'"),
        ("etcd://h?password=x", "the option 'password'"),
        ("etcd://h?ca=", "an option twice or without a file"),
        ("etcd://h?ca=/a&ca=/b", "an option twice or without a file"),
        ("etcd://h?ca", "'ca' is not a list"),
        ("etcd://h?ca=/a&cert=/c", "a client certificate without its key"),
        ("etcd://h?cert=/c&key=/k", "without the CA of the members"),
        ("etcd://h", "without ca, anybody between"),
        ("etcd://127.0.0.1,10.0.0.1", "without ca, anybody between"),
        ("etcd://127.0.0.1.example.com", "without ca, anybody between"),
    ],
)
def test_what_names_no_store_is_refused_with_its_reason(url: str, text: str) -> None:
    with pytest.raises(StoreError, match=text):
        open_store(url)
