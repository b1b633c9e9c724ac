"""The common part of stores that only read another one."""

from __future__ import annotations

from typing import NoReturn


class Leaseless:
    """Refuses leases and compaction."""

    def grant(self, ttl_s: int) -> int:
        """Refuse."""
        self._refuse()

    def keep_alive(self, lease: int) -> int:
        """Refuse."""
        self._refuse()

    def revoke(self, lease: int) -> None:
        """Refuse."""
        self._refuse()

    def compact(self, revision: int) -> None:
        """Refuse."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        """Raise StoreError with the reason."""
        raise NotImplementedError
