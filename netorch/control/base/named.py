"""The keys by which resources are found by their names, `named/<kind>/<name>/<owner>/<id>`; a name never changes.

Whoever makes a record adds its key, and whoever deletes it takes the key away, in the same transaction.
"""

from __future__ import annotations

from typing import Any

from netorch.control.base.writes import Writes
from netorch.model.vpc import Vpc
from netorch.records.names import key_of


def add_name(writes: Writes, vpc: Vpc, record: Any) -> None:  # noqa: ANN401 - a VPC, or anything that a VPC has
    """Let a new resource be found by its name, if it has one."""
    if key := key_of(vpc.owner, record):
        writes.put(key, True)


def drop_name(writes: Writes, vpc: Vpc, record: Any) -> None:  # noqa: ANN401 - as above
    """Let a resource that ends be found no more."""
    if key := key_of(vpc.owner, record):
        writes.drop(key)
