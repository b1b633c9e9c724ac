"""Operations on a kernel, and what it answers."""

from __future__ import annotations

import msgspec

from netorch.errors import KernelError
from netorch.state.base import KernelObject


class Create(msgspec.Struct, frozen=True):
    """Bring an object into being."""

    obj: KernelObject


class Replace(msgspec.Struct, frozen=True):
    """Change an object with `in_place` without a moment of absence."""

    old: KernelObject
    obj: KernelObject


class Delete(msgspec.Struct, frozen=True):
    """Remove an object; that it is gone already is no error."""

    obj: KernelObject


Op = Create | Replace | Delete


class Failure(msgspec.Struct, frozen=True):
    """An operation that the kernel refused. The others of the batch were carried out."""

    op: Op
    error: KernelError
