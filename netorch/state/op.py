"""Operations on a kernel, and its answers."""

from __future__ import annotations

import textwrap
from typing import Final

import msgspec

from netorch.errors import KernelError
from netorch.state.base import KernelObject, located

_WIDTH: Final = 200  # characters of an object in an error: a chain may have thousands


class Create(msgspec.Struct, frozen=True, gc=False):
    """Create an object."""

    obj: KernelObject


class Replace(msgspec.Struct, frozen=True, gc=False):
    """Change an object with `in_place` without an interruption."""

    old: KernelObject
    obj: KernelObject


class Reload(msgspec.Struct, frozen=True, gc=False):
    """Change an nftables table and everything in it at once: no packet meets an old chain in the new table.

    From then on the table has exactly these contents, besides those that its text declares.
    """

    old: KernelObject
    obj: KernelObject
    contents: tuple[KernelObject, ...]  # in the order of their creation


class Delete(msgspec.Struct, frozen=True, gc=False):
    """Delete an object. A missing object is no error."""

    obj: KernelObject


Op = Create | Replace | Reload | Delete


class Failure(msgspec.Struct, frozen=True, gc=False):
    """An operation that the kernel refused. The other operations of the batch were executed."""

    op: Op
    error: KernelError


def describe(op: Op) -> str:
    """Return an operation for an error, e.g. `create route 10.0.0.5/32 via 192.0.2.12 dev vx5000`."""
    return f"{type(op).__name__.lower()} {shortened(op.obj)}"


def shortened(obj: KernelObject) -> str:
    """Return an object's text for an error."""
    return textwrap.shorten(located(obj), _WIDTH, placeholder=" ...")
