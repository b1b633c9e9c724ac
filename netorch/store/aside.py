"""A store that a thread opens, for callers that must not wait: a cluster that is away takes seconds to say nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future

from netorch.errors import StoreError, StoreUnavailable
from netorch.store.base import Store


class OpenedAside:
    """Opens a store with `open_store`. A call waits `wait_s` seconds at most; a later one gets what has come of it since then."""

    def __init__(self, open_store: Callable[[], Store], wait_s: float) -> None:
        self._open_store = open_store
        self._wait_s = wait_s
        self._opening: Future[Store] | None = None
        self._said: StoreError | None = None  # why the last attempt failed

    def __call__(self) -> Store:
        """Return the store.

        Raises:
          StoreUnavailable: it has not been opened yet; ask again.
          StoreError: as `open_store`.
        """
        if self._opening is None or (self._opening.done() and self._opening.exception() is not None):
            self._opening = self._begin()
        try:
            store = self._opening.result(self._wait_s)
        except TimeoutError:
            raise self._said or StoreUnavailable("store: no answer yet; check that it can be reached") from None
        except StoreError as error:
            self._said = error
            raise
        self._opening = self._said = None
        return store

    def _begin(self) -> Future[Store]:
        opening: Future[Store] = Future()
        threading.Thread(target=self._open, args=(opening,), name="open store", daemon=True).start()
        return opening

    def _open(self, opening: Future[Store]) -> None:
        try:
            opening.set_result(self._open_store())
        except Exception as error:  # the caller's thread raises it
            opening.set_exception(error)
