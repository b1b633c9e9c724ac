"""The description of one kind of resource, an entry of the table of kinds (netorch.records.kinds)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum
from typing import Generic, TypeVar

import msgspec

from netorch.records.valid import refers
from netorch.records.valid.refers import Reference

T = TypeVar("T")


class Scope(Enum):
    """The location of a resource's key."""

    VPC = "vpc"  # vpc/<vni>/<prefix>/<id>; the VPC itself: vpc/<vni>/vpc
    OWNER = "owner"  # <root>/<owner>/<id>: outside VPCs, so its id has the VNI 0
    OPERATOR = "operator"  # the operator's; its name is its id


def _never(_record: object) -> bool:
    return False


class Kind(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """One kind of resource."""

    type: type[T]
    prefix: str  # prefix of ids and keys
    noun: str  # its name in sentences
    command: str  # its CLI command
    not_found: str  # EC2's error codes, also below
    limit: str = ""  # for an exceeded quota
    duplicate: str = "InvalidParameterValue"  # for a duplicate name; EC2 has few unique names, so the default is general
    check: Callable[[str, T], None]  # checks a stored record at its key; raises valid.needs.Invalid
    scope: Scope = Scope.VPC
    root: str = ""  # Scope.OWNER: the first part of its keys
    at: Callable[[str], str] | None = None  # Scope.OPERATOR: name -> key
    isolates: bool = True  # true: an unreadable record isolates its VPC, so hosts do not change the VPC; false: it is ignored
    unique_names: bool = True  # names are unique in the VPC
    given: str = ""  # the name of the one that every VPC is made with; the index of names leaves it out
    prefixed: bool = False  # rules write its name after the prefix of its ids: sg-web
    borrows: Reference | None = (
        None  # (type, field): a record without a name uses the name of the record with the id in that field
    )
    placed: bool = False  # hosts carry it: host/<host>/placement/<id>
    refers: Callable[[T], Iterator[Reference]] = refers.nothing  # references to records that must exist
    shared_with: Callable[[T], int] | None = None  # VNI of the other VPC with a record of the same id
    goes_along: Callable[[T], bool] = _never  # true: deleted with its VPC; false: prevents the VPC's deletion
