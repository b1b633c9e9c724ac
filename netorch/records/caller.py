"""The caller of an action, with its clock and its source of randomness: all inputs of an action from outside the store."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

import msgspec

from netorch.model.ids import make_id
from netorch.model.vpc import DEFAULT_OWNER

_RANDOM_BITS = 44  # eleven hex digits, the part of an id after the VNI


def _random() -> int:
    return secrets.randbits(_RANDOM_BITS)


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """The customer who runs an action, or the operator, who sees every owner's resources.

    A resource of another owner seems not to exist, so that no caller can probe for ids.
    """

    owner: str = DEFAULT_OWNER
    operator: bool = False
    now: Callable[[], float] = time.time  # seconds since 1970
    entropy: Callable[[], int] = _random  # at least 44 new random bits per call

    def sees(self, owner: str) -> bool:
        """Return whether a resource of that owner exists for this caller."""
        return self.operator or owner == self.owner

    def new_id(self, kind: str, vni: int) -> str:
        """Return a new id of that kind in a VPC."""
        return make_id(kind, vni, self.entropy())
