"""The records on local disk: a host boots from them while the store is away.

One file, replaced by rename. The first 32 bytes are the SHA-256 of the rest, so a damaged file is detected and ignored.
"""

from __future__ import annotations

import hashlib
import logging
import os
from contextlib import suppress
from pathlib import Path

import msgspec

from netorch.decoding import packed_decoder_of
from netorch.drivers.base import Underlay
from netorch.store.modes import FILE_MODE, give_to_group

log = logging.getLogger(__name__)

_DIGEST_BYTES = 32


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The store's uid, the last revision followed, and every record as (mod_revision, value) by key."""

    uid: str
    revision: int
    records: dict[str, tuple[int, bytes]]
    mark: str = ""  # of the revision; empty in snapshots from before marks existed
    kept: tuple[int, str] = (0, "")  # an earlier revision whose mark the store keeps forever, and that mark
    terminations: tuple[tuple[int, str], ...] = ()  # (VNI, group) whose connections still had to end
    underlay: Underlay | None = None  # for a restore before the network is up


class SnapshotFile:
    """Reads and replaces the snapshot of one host."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.trouble = ""  # why the last `save` failed, or nothing

    def load(self) -> Snapshot | None:
        """Return the last snapshot; None when there is none or it is damaged."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            log.warning("snapshot unreadable path=%s error=%s", self.path, error)
            return None
        digest, body = content[:_DIGEST_BYTES], memoryview(content)[_DIGEST_BYTES:]  # no copy: snapshots have many megabytes
        if hashlib.sha256(body).digest() != digest:
            log.warning("snapshot damaged and ignored path=%s", self.path)
            return None
        try:
            return packed_decoder_of(Snapshot).decode(body)
        except msgspec.MsgspecError as error:
            log.warning("snapshot of another version ignored path=%s error=%s", self.path, error)
            return None

    def save(self, snapshot: Snapshot) -> bool:
        """Replace the file and return True. On a full or read-only disk the old file stays, and `trouble` has the reason."""
        new = self.path.with_suffix(".new")
        try:
            self._write(new, msgspec.msgpack.encode(snapshot))
            os.replace(new, self.path)
        except OSError as error:
            with suppress(OSError):
                new.unlink(missing_ok=True)  # half a file must not take the room that others need
            what = f"the snapshot cannot be written ({error.strerror}), so without the store this host would boot from an old one"
            self._tell(f"agent: {self.path}: {what}; make room, or make the directory writable")
            return False
        self._tell("")
        return True

    def _write(self, new: Path, body: bytes) -> None:
        new.unlink(missing_ok=True)  # left by an agent that was killed, perhaps with wider permissions
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE), "wb") as file:
            give_to_group(new)
            file.write(hashlib.sha256(body).digest())
            file.write(body)
            file.flush()
            os.fsync(file.fileno())

    def _tell(self, trouble: str) -> None:
        if trouble and trouble != self.trouble:
            log.warning("snapshot not written reason=%r", trouble)
        self.trouble = trouble
