"""What every command has at hand: the store, opened when first used, and who is asking."""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from netorch.control.caller import Caller
    from netorch.control.read import Inventory
    from netorch.store.base import Store

DEFAULT_STORE = "/var/lib/netorch/netorch.db"


class Session:
    """One invocation of the command line."""

    def __init__(self, store: str | None, owner: str | None) -> None:
        self.store_url = store or os.environ.get("NETORCH_STORE") or DEFAULT_STORE
        self.owner = owner
        self._store: Store | None = None

    @property
    def store(self) -> Store:
        """Return the open store. Raises StoreUnavailable."""
        if self._store is None:
            from netorch.store import open_store

            if self.store_url == DEFAULT_STORE:
                Path(self.store_url).parent.mkdir(parents=True, exist_ok=True)
            self._store = open_store(self.store_url)
        return self._store

    @property
    def caller(self) -> Caller:
        """Return who acts: the owner that was named, or the default one."""
        from netorch.control.caller import Caller
        from netorch.model.cloud import DEFAULT_OWNER

        return Caller(owner=self.owner or DEFAULT_OWNER, now=time.time, entropy=lambda: secrets.randbits(64))

    def inventory(self) -> Inventory:
        """Return a snapshot of the cloud, of one owner or of all."""
        from netorch.control.read import read_inventory

        return read_inventory(self.store, owner=self.owner)

    def close(self) -> None:
        """Close the store if it was opened."""
        if self._store is not None:
            self._store.close()
            self._store = None


pass_session = click.make_pass_decorator(Session)
