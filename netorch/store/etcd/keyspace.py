"""The keys of one store in a cluster, and its revisions.

Records are below `NAME/`. What the store keeps about itself is below `NAME#`, so one range, from `NAME#` up to `NAME0`, is all
of a store: that is what a role of etcd must permit.

    NAME#meta          which store this is; the revision that created it is the store's first
    NAME#mark          the mark of the last transaction; each writes it, so a past revision's is read at that revision
    NAME#kept/<rev>    marks that outlive compaction
    NAME#fence/<id>    transactions of which the answer was lost and which must not happen any more

A cluster counts revisions for all that is in it. A store counts from 1, as every other back end does: its revisions are etcd's
less a constant.
"""

from __future__ import annotations

from typing import Final

import msgspec

from netorch.errors import StoreUnavailable
from netorch.store.base import Event, KeyValue
from netorch.store.etcd import messages
from netorch.store.etcd.messages import Message

PAGE: Final = 1000  # keys that one answer holds at most
FORMAT: Final = 1


class Meta(msgspec.Struct, frozen=True, omit_defaults=True):
    """The value of `NAME#meta`."""

    uid: str
    format: int = FORMAT
    copying: str = ""  # not empty: a copy that is not complete, and of what


_encode = msgspec.json.Encoder().encode
_meta = msgspec.json.Decoder(Meta)


class Keyspace:
    """Spells keys; with `base`, the cluster's revision when the store was at 0, translates revisions."""

    def __init__(self, name: str, base: int = 0) -> None:
        self.meta = f"{name}#meta".encode()
        self.mark = f"{name}#mark".encode()
        self.base = base
        self._name = name
        self._root = f"{name}/".encode()
        self._root_length = len(self._root)

    def kept(self, revision: int) -> bytes:
        """Return the key of a mark that outlives compaction."""
        return f"{self._name}#kept/{revision:016x}".encode()

    def fence(self, mark: str) -> bytes:
        """Return the key that keeps a transaction from happening."""
        return f"{self._name}#fence/{mark}".encode()

    def key(self, key: str) -> bytes:
        """Return a record's key as etcd has it."""
        return self._root + key.encode()

    def range(self, prefix: str) -> tuple[bytes, bytes]:
        """Return the first key of a prefix, and the first one behind it."""
        first = self.key(prefix)
        return first, end_of(first)

    def whole(self) -> tuple[bytes, bytes]:
        """Return the range of all that belongs to the store."""
        return f"{self._name}#".encode(), end_of(self._root)

    def text(self, key: bytes) -> str:
        """Return a record's key as callers have it; bytes that are not UTF-8 are escaped."""
        return key[self._root_length :].decode(errors="backslashreplace")

    def key_value(self, found: Message) -> KeyValue:
        """Return a key as callers have it."""
        created, written = found.create_revision - self.base, found.mod_revision - self.base
        return KeyValue(self.text(found.key), found.value, created, written, found.lease)

    def event(self, found: Message) -> Event:
        """Return a change as callers have it."""
        key, revision = self.text(found.kv.key), found.kv.mod_revision - self.base
        if found.type == messages.DELETED:
            return Event(key, None, revision, 0)
        return Event(key, found.kv.value, revision, found.kv.create_revision - self.base)


def end_of(prefix: bytes) -> bytes:
    """Return the first key behind all that begin with a prefix; UTF-8 has no byte 255."""
    return prefix[:-1] + bytes([prefix[-1] + 1])


def encode_meta(meta: Meta) -> bytes:
    """Return the value of `NAME#meta`."""
    return _encode(meta)


def decode_meta(where: str, value: bytes) -> Meta:
    """Return what `NAME#meta` says. Raises StoreUnavailable."""
    try:
        meta = _meta.decode(value)
    except msgspec.DecodeError as error:
        raise StoreUnavailable(f"store: {where}: its description is damaged ({error}); put back a backup") from error
    if meta.format > FORMAT:
        raise StoreUnavailable(f"store: {where} has format {meta.format}, this netorch knows {FORMAT}; upgrade netorch here")
    return meta
