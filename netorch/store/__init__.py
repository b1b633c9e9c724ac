"""The store of all records: one protocol with etcd's semantics, and its back ends."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from netorch.errors import NoStore, StoreError
from netorch.store.access import Access
from netorch.store.base import Store
from netorch.store.copy import Unfinished
from netorch.store.memory import MemoryStore
from netorch.store.sqlite.readonly import StoreCopy, may_only_be_read
from netorch.store.sqlite.schema import check_exists
from netorch.store.sqlite.store import SqliteStore
from netorch.store.sqlite.unfinished import UnfinishedFile
from netorch.store.sqlite.wakeup import LOCK_TIMEOUT_S
from netorch.store.unmade import UnmadeStore

_SQLITE = "sqlite://"
_ETCD = "etcd://"


def open_store(url: str, *, create: bool = False, patience_s: float = LOCK_TIMEOUT_S) -> Store:
    """Return the store at `url`: `sqlite:///var/lib/netorch/store.db`, a plain path, `etcd://HOST:PORT,.../NAME`, or `memory:`.

    `memory:` is a new, empty store in this process. `create` makes a store where there never was one. `patience_s`
    limits the waits for another process's lock and for the members of a cluster.

    Raises:
      StoreError: the URL names no back end.
      StoreUnavailable: there is no store, or the back end cannot be used.
    """
    if url.startswith(_ETCD):
        return _etcd(url, create, patience_s)
    path = _path(url)
    return MemoryStore() if path is None else SqliteStore(path, create=create, patience_s=patience_s)


def open_to_read(url: str) -> Store:
    """Return the store at `url`. If this user may only read it, writes are refused. Raises as `open_store`."""
    path = None if url.startswith(_ETCD) else _path(url)
    if path is not None and may_only_be_read(path):
        return StoreCopy(path)
    return open_store(url)


def open_to_create(url: str) -> Store:
    """Return the store at `url`. If there never was one, the first write creates it. Raises as `open_store`."""
    if url.startswith(_ETCD):
        return _etcd_to_create(url)
    path = _path(url)
    if path is None or path.exists():
        return open_to_read(url)
    check_exists(path, create=True)
    return cast(Store, UnmadeStore(lambda: open_store(url, create=True)))


def certificate_of(url: str) -> Path | None:
    """Return the file of the certificate that opens the store at `url`; None if none does. Raises StoreError."""
    if not url.startswith(_ETCD):
        return None
    from netorch.store.etcd.address import parse_address

    return parse_address(url).cert


def open_access(url: str) -> Access | None:
    """Return the users and roles of the store at `url`, or None if it has none: SQLite, or an etcd without certificates.

    Raises:
      StoreError: the URL names no back end.
    """
    if not url.startswith(_ETCD):
        return None
    from netorch.store.etcd.access import EtcdAccess
    from netorch.store.etcd.address import parse_address
    from netorch.store.etcd.client import Client

    address = parse_address(url)
    return EtcdAccess(Client(address, LOCK_TIMEOUT_S)) if address.cert is not None else None


def open_unfinished(url: str, source: str) -> Unfinished:
    """Return a new store at `url` that cannot be opened before it is finished; `source` describes its source for people.

    Raises:
      StoreError: the URL names no back end.
      StoreUnavailable: there is a store already, or the back end cannot be used.
    """
    if url.startswith(_ETCD):
        from netorch.store.etcd.address import parse_address
        from netorch.store.etcd.unfinished import UnfinishedCluster

        return UnfinishedCluster(parse_address(url), source)
    path = _path(url)
    if path is None:
        raise StoreError("store: memory: lives only in one process; give a path or etcd://HOST:PORT,.../NAME")
    return UnfinishedFile(path)


def _etcd(url: str, create: bool, patience_s: float) -> Store:
    from netorch.store.etcd.address import parse_address
    from netorch.store.etcd.store import EtcdStore  # the import of grpc takes a tenth of a second

    return EtcdStore(parse_address(url), create=create, patience_s=patience_s)


def _etcd_to_create(url: str) -> Store:
    try:
        return open_store(url)
    except NoStore:
        return cast(Store, UnmadeStore(lambda: open_store(url, create=True)))


def _path(url: str) -> Path | None:
    if url == "memory:":
        return None
    path = url.removeprefix(_SQLITE)
    if not path or "://" in path or path.startswith("sqlite:") or (url != path and not path.startswith("/")):
        raise StoreError(
            f"store: {url!r} is not a store address; give sqlite:///<path>, a path, etcd://HOST:PORT,.../NAME, or memory:"
        )
    return Path(path).absolute()
