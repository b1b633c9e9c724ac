"""The keys of edges: how agents publish them and open sealed secrets."""

from __future__ import annotations

import base64
from typing import Final

import msgspec
from nacl.public import PrivateKey, SealedBox

from netorch.model.outside.secrets import Secret
from netorch.model.status import Sealed, SealingKey
from netorch.records import keys
from netorch.records.codec import encode
from netorch.records.read import get
from netorch.store.base import Put, Store

_SEED_BYTES: Final = 32


def private_key(edge: str) -> PrivateKey:
    """Return the private key of a test's edge, always the same."""
    return PrivateKey(edge.encode().ljust(_SEED_BYTES, b"."))


def publish_keys(store: Store, *edges: str) -> None:
    """Write the published keys of edges to the store."""
    public = {edge: base64.b64encode(bytes(private_key(edge).public_key)).decode() for edge in edges}
    store.txn((), [Put(keys.edge_key(edge), encode(SealingKey(public=text))) for edge, text in public.items()])


def opened(store: Store, edge: str, resource_id: str) -> dict[int, Secret]:
    """Return the opened secrets of an edge by tunnel."""
    found = get(store, keys.secret(edge, resource_id), Sealed)
    box = SealedBox(private_key(edge))
    boxes = found.record.boxes if found is not None else {}
    return {place: msgspec.json.decode(box.decrypt(base64.b64decode(text)), type=Secret) for place, text in boxes.items()}
