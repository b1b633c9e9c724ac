"""The keys of one store in a cluster, and its revisions.

Records are below `NAME/`. The store's own data is below `NAME#`. An etcd role must permit these two prefixes. One range around
both would also have the stores `NAME-2` and `NAME.2`, because `-` and `.` are between `#` and `/`.

    NAME#meta          the identity of the store; the revision that created it is the store's first
    NAME#mark          the mark of the last transaction; each writes it, so a past revision's is read at that revision
    NAME#kept/<rev>    marks that outlive compaction
    NAME#fence/<id>    transactions whose answer was lost and which must not happen any longer

A cluster has one revision counter for all its contents. A store counts from 1, like every other back end: its revisions are
etcd's minus a constant.
"""

from __future__ import annotations

from typing import Final

import msgspec

from netorch.errors import StoreUnavailable
from netorch.store.base import Event, KeyValue
from netorch.store.etcd import messages
from netorch.store.etcd.messages import Message

PAGE: Final = 1000  # maximum number of keys in one answer
FORMAT: Final = 1


class Meta(msgspec.Struct, frozen=True, omit_defaults=True):
    """The value of `NAME#meta`."""

    uid: str
    format: int = FORMAT
    copying: str = ""  # the source of an incomplete copy; empty: the store is complete


_encode = msgspec.json.Encoder().encode
_meta = msgspec.json.Decoder(Meta)


class Keyspace:
    """Builds keys. With `base`, the cluster's revision when the store was at 0, it also translates revisions."""

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

    def kept_from(self, revision: int) -> tuple[bytes, bytes]:
        """Return the range of marks that outlive compaction, from that of a revision on."""
        return self.kept(revision), end_of(f"{self._name}#kept/".encode())

    def fence(self, mark: str) -> bytes:
        """Return the key that blocks a transaction."""
        return f"{self._name}#fence/{mark}".encode()

    def key(self, key: str) -> bytes:
        """Return a record's key in etcd."""
        return self._root + key.encode()

    def range(self, prefix: str) -> tuple[bytes, bytes]:
        """Return the first key of a prefix, and the first one after it."""
        first = self.key(prefix)
        return first, end_of(first)

    def whole(self) -> tuple[tuple[bytes, bytes], ...]:
        """Return the ranges of the whole store; the last one has its identity."""
        about = f"{self._name}#".encode()
        return self.range(""), (about, end_of(about))

    def own_data(self) -> tuple[tuple[bytes, bytes, bool], ...]:
        """Return the ranges of the store's own data that every writer needs, each with whether it writes there."""
        kept, fences = f"{self._name}#kept/".encode(), self.fence("")
        return (
            (self.meta, b"", False),
            (self.mark, b"", True),
            (kept, end_of(kept), True),
            (fences, end_of(fences), True),
        )

    def text(self, key: bytes) -> str:
        """Return a record's key without the store's prefix; bytes that are not UTF-8 are escaped."""
        return key[self._root_length :].decode(errors="backslashreplace")

    def key_value(self, found: Message) -> KeyValue:
        """Return a key in the store's terms."""
        created, written = found.create_revision - self.base, found.mod_revision - self.base
        return KeyValue(self.text(found.key), found.value, created, written, found.lease)

    def event(self, found: Message) -> Event:
        """Return a change in the store's terms."""
        key, revision = self.text(found.kv.key), found.kv.mod_revision - self.base
        if found.type == messages.DELETED:
            return Event(key, None, revision, 0)
        return Event(key, found.kv.value, revision, found.kv.create_revision - self.base)


def end_of(prefix: bytes) -> bytes:
    """Return the first key after all with a prefix; UTF-8 has no byte 255."""
    return prefix[:-1] + bytes([prefix[-1] + 1])


def encode_meta(meta: Meta) -> bytes:
    """Return the value of `NAME#meta`."""
    return _encode(meta)


def decode_meta(where: str, value: bytes) -> Meta:
    """Return the contents of `NAME#meta`. Raises StoreUnavailable."""
    try:
        meta = _meta.decode(value)
    except msgspec.DecodeError as error:
        raise StoreUnavailable(f"store: {where}: its description is damaged ({error}); restore a backup") from error
    if meta.format > FORMAT:
        raise StoreUnavailable(f"store: {where} has format {meta.format}, and this netorch supports {FORMAT}; upgrade netorch")
    return meta
