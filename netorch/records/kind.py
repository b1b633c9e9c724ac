"""What one kind of resource is, for all that reads the table of kinds (netorch.records.kinds)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum
from typing import Generic, TypeVar

import msgspec

from netorch.records.valid import refers
from netorch.records.valid.refers import Reference

T = TypeVar("T")


class Scope(Enum):
    """Where a resource's key stands."""

    VPC = "vpc"  # vpc/<vni>/<prefix>/<id>; the VPC itself: vpc/<vni>/vpc
    OWNER = "owner"  # <root>/<owner>/<id>: it belongs to no VPC, so its id has the VNI 0
    OPERATOR = "operator"  # the operator's, and without an id: it goes by its name


def _never(_record: object) -> bool:
    return False


class Kind(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """One kind of resource."""

    type: type[T]
    prefix: str  # of its ids and keys
    noun: str  # in sentences
    command: str  # of the command line
    not_found: str  # EC2's code, as those below are
    limit: str = ""  # of one more than the quota allows
    duplicate: str = "InvalidParameterValue"  # of a name that is taken; EC2 has few unique names, so that is the general one
    check: Callable[[str, T], None]  # of a stored record at its key; raises valid.needs.Invalid
    scope: Scope = Scope.VPC
    root: str = ""  # of an owner's: the first part of its keys
    at: Callable[[str], str] | None = None  # of an operator's: its key, by its name
    isolates: bool = True  # a record that cannot be read isolates its VPC: hosts leave that as it is; else it is left out
    unique_names: bool = True  # within its VPC
    prefixed: bool = False  # rules write its name behind the prefix of its ids: sg-web
    borrows: Reference | None = None  # the type whose name one without a name goes by, and the field with the id of that
    placed: bool = False  # hosts are asked to carry it: host/<host>/placement/<id>
    refers: Callable[[T], Iterator[Reference]] = refers.nothing  # to what must exist
    shared_with: Callable[[T], int] | None = None  # the VNI of the other VPC that has a record of it, under the same id
    goes_along: Callable[[T], bool] = _never  # whether it is deleted together with its VPC; else the VPC cannot be deleted
