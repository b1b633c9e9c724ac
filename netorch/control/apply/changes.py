"""What a plan is made of: the changes for people to read, and the transactions that make them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from enum import Enum
from typing import Final

import msgspec

from netorch.control.base.writes import Writes
from netorch.errors import NetorchError
from netorch.model.outside.public import ElasticIp
from netorch.model.outside.secrets import Secret
from netorch.model.outside.vpn import CustomerGateway
from netorch.model.services.dhcp_options import DhcpOptionsSet
from netorch.model.services.zones import PrivateZone

MASS: Final = 10  # a plan that ends more than half of at least so many needs to be allowed


class Action(Enum):
    """What happens to a resource."""

    ADD = "add"
    CHANGE = "change"
    MOVE = "move"
    REPLACE = "replace"  # deleted and recreated: the name stays; the id, addresses and flows change
    DELETE = "delete"


class Difference(msgspec.Struct, frozen=True):
    """One attribute before and after; nothing where there is no such side."""

    field: str
    before: str
    after: str
    member: bool = False  # one of the field's many, which comes or goes while the others stay


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What happens to one resource."""

    action: Action
    kind: str  # a noun of the command line with dashes: host, vpc, security-group
    name: str
    owner: str = ""
    vpc: str = ""  # the VPC's name
    resource_id: str = ""  # of the one that exists before
    differences: tuple[Difference, ...] = ()
    breaks: str = ""  # what stops working, for people
    ends: int = 0  # how many instances end with it
    routes: int = 0  # how many routes end with it, or lead elsewhere
    hosts: tuple[str, ...] = ()  # on which the kernel changes
    peer: str = ""  # another VPC that this reaches: owner/name, or its id where it is not the caller's to see

    @property
    def path(self) -> str:
        """Return e.g. `acme/web/db-1`: owner, VPC and name, as far as there are any."""
        return "/".join(part for part in (self.owner, self.vpc, self.name) if part)


class Stuck(msgspec.Struct, frozen=True, kw_only=True):
    """A declared VPC that cannot be made as the file says; it stays as it is, and the rest of the file goes on."""

    path: str  # owner/name
    error: NetorchError


class Left(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is not the file's, and is left alone."""

    kind: str  # vpc, elastic-ip, or instance: one at the top level of another file
    path: str
    source: str  # the file that made it, by path or name; empty: a command did
    lost: bool  # that file is not there any more
    declared: bool  # this file has it too, just as it is


class MadeKeys(msgspec.Struct, frozen=True, kw_only=True):
    """The pre-shared keys that were made for a new VPN connection, by tunnel (1, 2)."""

    path: str
    tunnels: dict[int, Secret]


class CloudPlan(msgspec.Struct, kw_only=True):
    """What applying a cloud would do to the store as it stood at `revision`."""

    revision: int
    changes: tuple[Change, ...]
    steps: tuple[Writes, ...]  # in order; each leads from one consistent state to another
    existing: dict[str, int]  # how many VPCs there are
    joined: tuple[str, ...] = ()  # new edges of pairs, which get seats of older gateways behind the steps
    own: dict[str, int] = {}  # how many there are of those that the file has to do with, of each kind that counts
    source: str = ""  # by what the file knows its own; empty: nothing is its own
    made_keys: dict[str, MadeKeys] = {}  # of new VPN connections, by id
    notes: tuple[str, ...] = ()  # what is worth knowing of the outcome, for people
    stuck: tuple[Stuck, ...] = ()
    left: tuple[Left, ...] = ()

    @property
    def hosts(self) -> tuple[str, ...]:
        """Return the hosts on which something changes."""
        return tuple(sorted({host for change in self.changes for host in change.hosts}))

    def counts(self) -> dict[Action, int]:
        """Return how many changes of each action there are."""
        counted = Counter(change.action for change in self.changes)
        return {action: counted[action] for action in Action}

    def mass_deletion(self) -> str:
        """Return why `apply` refuses the plan unless an option permits it, or nothing: what it ends too much of.

        A recreated one ends as well: its connections, its id, its MAC. Of what others have made nothing is counted, because a
        cloud that is large enough would hide the end of a whole file's.
        """
        gone = (Action.DELETE, Action.REPLACE)
        ended = {
            "vpc": sum(change.kind == "vpc" and change.action in gone for change in self.changes),
            "instance": sum(change.ends for change in self.changes),
            "route": sum(change.routes for change in self.changes),
            "elastic-ip": sum(change.kind == "elastic-ip" and change.action in gone for change in self.changes),
        }
        nouns = {"instance": "instances", "vpc": "VPCs", "route": "routes", "elastic-ip": "elastic IP addresses"}
        for kind, noun in nouns.items():
            total = self.own.get(kind, 0)
            if total >= MASS and ended[kind] * 2 > total:
                return f"the plan ends {ended[kind]} of {total} {noun}; if that is meant, allow it with --allow-mass-delete"
        return ""


def change_of_owned(
    action: Action,
    kind: str,
    record: CustomerGateway | DhcpOptionsSet | ElasticIp | PrivateZone,
    changed: tuple[Difference, ...],
    breaks: str = "",
) -> Change:
    """Return what happens to something that belongs to an owner and to no VPC."""
    return Change(
        action=action,
        kind=kind,
        owner=record.owner,
        name=record.name,
        resource_id="" if action is Action.ADD else record.id,
        differences=changed,
        breaks=breaks,
    )


def differences(**fields: tuple[object, object]) -> tuple[Difference, ...]:
    """Return the attributes whose two sides differ, as texts."""
    return tuple(Difference(name, _text(before), _text(after)) for name, (before, after) in fields.items() if before != after)


def sides(before: str, after: str) -> tuple[str, str]:
    """Return what people read of two different values that are too long, or too secret, to be shown: what each amounts to."""
    return before, after if before != after or not after else f"{after}, others"


def member_differences(field: str, before: Iterable[str], after: Iterable[str]) -> list[Difference]:
    """Return which members of a field go and which come, each as a text."""
    old, new = dict.fromkeys(before), dict.fromkeys(after)
    gone = [Difference(field, text, "", member=True) for text in old if text not in new]
    return gone + [Difference(field, "", text, member=True) for text in new if text not in old]


def _text(value: object) -> str:
    if isinstance(value, dict):
        return " ".join(f"{key}={value[key]}" for key in sorted(value))
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return "" if value is None else str(value)
