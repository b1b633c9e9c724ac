"""Secrets that only one edge can open: pre-shared keys, private keys, BGP keys. The store holds them in no other form.

They are sealed (netorch.model.outside.secrets) to the public key that the edge's agent publishes. No error and no change of a
plan contains any part of them.
"""

from __future__ import annotations

import secrets
import string
from typing import Final

from netorch.control.base.writes import ABSENT, Writes
from netorch.errors import ApiError
from netorch.model.outside.secrets import Secret, seal
from netorch.model.status import Sealed, SealingKey
from netorch.records import keys
from netorch.records.errors import start_agent
from netorch.records.read import Stored, get
from netorch.store.base import Store

PSK_LENGTH: Final = 32  # characters of a PSK that netorch generates, as EC2
_PSK_ALPHABET: Final = string.ascii_letters + string.digits + "._"  # EC2's


def make_psk() -> str:
    """Return a new pre-shared key in EC2's form: the first character is not 0."""
    first = secrets.choice(_PSK_ALPHABET.replace("0", ""))
    return first + "".join(secrets.choice(_PSK_ALPHABET) for _ in range(PSK_LENGTH - 1))


def edge_key(store: Store, edge: str) -> Stored[SealingKey]:
    """Return the public key of an edge. Raises ApiError: IncorrectState if the edge has published none."""
    found = get(store, keys.edge_key(edge), SealingKey)
    if found is None:
        what = f"host {edge}: its agent has not published its key yet, so nothing can be sealed for it"
        raise ApiError("IncorrectState", f"{what}; {start_agent(edge)}")
    return found


def seal_writes(writes: Writes, store: Store, edge: str, resource_id: str, secret: dict[int, Secret]) -> None:
    """Add secrets of a connection or virtual interface for an edge, by tunnel (1, 2; 0: the virtual interface's own).

    Other secrets of the connection on that edge stay. Raises ApiError: IncorrectState as `edge_key`.
    """
    key = edge_key(store, edge)
    known = get(store, keys.secret(edge, resource_id), Sealed)
    boxes = dict(known.record.boxes) if known is not None else {}
    boxes |= {place: seal(key.record.public, one) for place, one in secret.items()}
    writes.expect(keys.edge_key(edge), key.mod_revision)
    revision = known.mod_revision if known is not None else ABSENT
    writes.change(keys.secret(edge, resource_id), revision, Sealed(boxes=boxes))


def sealed_places(store: Store, edge: str, resource_id: str) -> frozenset[int]:
    """Return the tunnels of a connection for which an edge has a secret."""
    known = get(store, keys.secret(edge, resource_id), Sealed)
    return frozenset(known.record.boxes) if known is not None else frozenset()
