"""Where the records live: one protocol with etcd's semantics, and the back ends that keep it."""

from __future__ import annotations

from pathlib import Path

from netorch.errors import StoreError
from netorch.store.base import Store
from netorch.store.memory import MemoryStore
from netorch.store.sqlite import SqliteStore

_SQLITE = "sqlite://"


def open_store(url: str) -> Store:
    """Return the store at `url`: `sqlite:///var/lib/netorch/store.db`, a plain path, or `memory:` for an empty one of our own.

    Raises:
      StoreError: the URL names no back end.
      StoreUnavailable: the back end cannot be used.
    """
    if url == "memory:":
        return MemoryStore()
    path = url.removeprefix(_SQLITE)
    if not path or "://" in path or path.startswith("sqlite:") or (url != path and not path.startswith("/")):
        raise StoreError(f"store: {url!r} names no store; give sqlite:///<absolute path>, a path, or memory:")
    return SqliteStore(Path(path))
