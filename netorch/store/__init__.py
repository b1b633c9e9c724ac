"""Where the records live: one protocol with etcd's semantics, and the back ends that keep it."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from netorch.errors import StoreError
from netorch.store.base import Store
from netorch.store.memory import MemoryStore
from netorch.store.readonly import StoreCopy, may_only_be_read
from netorch.store.schema import check_exists
from netorch.store.sqlite import SqliteStore
from netorch.store.unmade import UnmadeStore
from netorch.store.wakeup import LOCK_TIMEOUT_S

_SQLITE = "sqlite://"


def open_store(url: str, *, create: bool = False, patience_s: float = LOCK_TIMEOUT_S) -> Store:
    """Return the store at `url`: `sqlite:///var/lib/netorch/store.db`, a plain path, or `memory:` for an empty one of our own.

    `create` makes one where there never was one. What waits for a lock of another process gives up after `patience_s`.

    Raises:
      StoreError: the URL names no back end.
      StoreUnavailable: there is no store, or the back end cannot be used.
    """
    path = _path(url)
    return MemoryStore() if path is None else SqliteStore(path, create=create, patience_s=patience_s)


def open_to_read(url: str) -> Store:
    """Return the store at `url`, also where this user may not write: what is written is then refused. Raises as `open_store`."""
    path = _path(url)
    if path is not None and may_only_be_read(path):
        return StoreCopy(path)
    return open_store(url)


def open_to_create(url: str) -> Store:
    """Return the store at `url`; where there never was one, it is made when something is written. Raises as `open_store`."""
    path = _path(url)
    if path is None or path.exists():
        return open_to_read(url)
    check_exists(path, create=True)
    return cast(Store, UnmadeStore(lambda: open_store(url, create=True)))


def _path(url: str) -> Path | None:
    if url == "memory:":
        return None
    path = url.removeprefix(_SQLITE)
    if not path or "://" in path or path.startswith("sqlite:") or (url != path and not path.startswith("/")):
        raise StoreError(f"store: {url!r} names no store; give sqlite:///<absolute path>, a path, or memory:")
    return Path(path).absolute()
