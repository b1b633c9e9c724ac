"""A secret is sealed for one edge, which alone can open it, and is shown nowhere."""

from __future__ import annotations

import base64
import re

import msgspec
import pytest
from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, SealedBox

from netorch.control.base.private.sealing import edge_key, make_psk, seal_writes, sealed_places
from netorch.control.base.writes import Writes
from netorch.errors import ApiError
from netorch.model.outside.secrets import Secret, seal
from netorch.model.outside.vpn_rules import psk
from netorch.model.status import Sealed, SealingKey
from netorch.records import keys
from netorch.records.codec import encode
from netorch.records.read import get
from netorch.store.base import Put
from netorch.store.memory import MemoryStore


def key_of(private: PrivateKey) -> SealingKey:
    return SealingKey(public=base64.b64encode(bytes(private.public_key)).decode())


def opened(private: PrivateKey, text: str) -> Secret:
    return msgspec.json.decode(SealedBox(private).decrypt(base64.b64decode(text)), type=Secret)


def test_only_the_edge_opens_what_is_sealed_for_it() -> None:
    mine, other = PrivateKey.generate(), PrivateKey.generate()
    first, second = (seal(key_of(mine).public, Secret(psk="canary.1234")) for _ in range(2))
    assert first != second  # a reader of the store cannot see that a key was set to its old value
    assert opened(mine, first).psk == "canary.1234"
    with pytest.raises(CryptoError):
        opened(other, first)


def test_a_secret_does_not_show_itself() -> None:
    secret = Secret(psk="canary.1234", key="canary.1234")
    assert "canary" not in f"{secret} {secret!r} {[secret]}"


def test_a_made_key_is_one_of_ec2s() -> None:
    made = [make_psk() for _ in range(500)]
    assert len(set(made)) == len(made)
    assert all(psk(one) is None and re.fullmatch(r"[A-Za-z1-9._][A-Za-z0-9._]{31}", one) for one in made)


def test_an_edge_without_a_key_gets_no_secret() -> None:
    with pytest.raises(
        ApiError, match=r"IncorrectState: host e1: its agent has not published its key .* start it on e1: systemctl"
    ):
        edge_key(MemoryStore(), "e1")


def test_tunnels_at_one_edge_keep_their_secrets_apart() -> None:
    store, private = MemoryStore(), PrivateKey.generate()
    store.txn((), [Put(keys.edge_key("e1"), encode(key_of(private)))])
    for place in (1, 2):
        writes = Writes()
        seal_writes(writes, store, "e1", "vpn-00138800000000001", {place: Secret(psk=f"canary.{place}")})
        assert writes.commit(store)
    known = get(store, keys.secret("e1", "vpn-00138800000000001"), Sealed)
    assert known is not None
    assert {place: opened(private, text).psk for place, text in known.record.boxes.items()} == {1: "canary.1", 2: "canary.2"}
    assert sealed_places(store, "e1", "vpn-00138800000000001") == {1, 2}
    assert sealed_places(store, "e2", "vpn-00138800000000001") == set()
