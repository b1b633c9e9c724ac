"""The parts of a plan: the changes for people to read, and the transactions that make them."""

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

MASS: Final = 10  # the least number of which a plan may not end more than half without permission


class Action(Enum):
    """The effect on a resource."""

    ADD = "add"
    CHANGE = "change"
    MOVE = "move"
    REPLACE = "replace"  # deleted and recreated: the name stays; the id, addresses and flows change
    DELETE = "delete"


class Difference(msgspec.Struct, frozen=True):
    """One attribute before and after; empty if there is no such side."""

    field: str
    before: str
    after: str
    member: bool = False  # a member of the field was added or removed; the others stay


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """The change of one resource."""

    action: Action
    kind: str  # noun of the command line, with dashes: host, vpc, security-group
    name: str
    owner: str = ""
    vpc: str = ""  # the VPC's name
    resource_id: str = ""  # of the existing resource
    differences: tuple[Difference, ...] = ()
    breaks: str = ""  # what stops working, as a text
    ends: int = 0  # number of instances that end with it
    routes: int = 0  # number of routes that end or change
    hosts: tuple[str, ...] = ()  # on which the kernel state changes
    peer: str = ""  # another affected VPC: owner/name, or its id if the caller may not see it

    @property
    def path(self) -> str:
        """Return e.g. `acme/web/db-1`: owner, VPC and name, without empty parts."""
        return "/".join(part for part in (self.owner, self.vpc, self.name) if part)


class Stuck(msgspec.Struct, frozen=True, kw_only=True):
    """A declared VPC that cannot be planned; it stays unchanged, and the rest of the file is applied."""

    path: str  # owner/name
    error: NetorchError


class Left(msgspec.Struct, frozen=True, kw_only=True):
    """Something that the file does not own and leaves alone."""

    kind: str  # vpc, elastic-ip, or instance: at the top level of another file
    path: str
    source: str  # path or name of the file that made it; empty: a command did
    lost: bool  # that file no longer exists
    declared: bool  # this file declares it unchanged


class MadeKeys(msgspec.Struct, frozen=True, kw_only=True):
    """The pre-shared keys generated for a new VPN connection, by tunnel (1, 2)."""

    path: str
    tunnels: dict[int, Secret]


class CloudPlan(msgspec.Struct, kw_only=True):
    """The effect of applying a cloud to the store at `revision`."""

    revision: int
    changes: tuple[Change, ...]
    steps: tuple[Writes, ...]  # in order; each leads from one consistent state to another
    joined: tuple[str, ...] = ()  # new edges of pairs, which get seats of older gateways after the steps
    own: dict[str, int] = {}  # number of resources that the file names or owns, by counted kind
    source: str = ""  # the file's mark of ownership; empty: it owns nothing
    made_keys: dict[str, MadeKeys] = {}  # of new VPN connections, by id
    notes: tuple[str, ...] = ()  # notes on the outcome, for people
    stuck: tuple[Stuck, ...] = ()
    left: tuple[Left, ...] = ()

    @property
    def hosts(self) -> tuple[str, ...]:
        """Return the hosts on which anything changes."""
        return tuple(sorted({host for change in self.changes for host in change.hosts}))

    def counts(self) -> dict[Action, int]:
        """Return the number of changes of each action."""
        counted = Counter(change.action for change in self.changes)
        return {action: counted[action] for action in Action}

    def mass_deletion(self) -> str:
        """Return why `apply` refuses the plan without permission, as a text; nothing if it does not.

        A recreated resource counts as ended: it loses its connections, id and MAC. Resources of others do not count, because in
        a large cloud they would hide the end of all that a file made.
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
                return f"the plan deletes {ended[kind]} of {total} {noun}; if you want that, add --allow-mass-delete"
        return ""


def change_of_owned(
    action: Action,
    kind: str,
    record: CustomerGateway | DhcpOptionsSet | ElasticIp | PrivateZone,
    changed: tuple[Difference, ...],
    breaks: str = "",
) -> Change:
    """Return the change of an owner's resource that belongs to no VPC."""
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
    """Return the summaries of two different values that are too long or too secret to show, made distinct if equal."""
    return before, after if before != after or not after else f"{after}, others"


def member_differences(field: str, before: Iterable[str], after: Iterable[str]) -> list[Difference]:
    """Return the removed, then the added members of a field, each as a text."""
    old, new = dict.fromkeys(before), dict.fromkeys(after)
    gone = [Difference(field, text, "", member=True) for text in old if text not in new]
    return gone + [Difference(field, "", text, member=True) for text in new if text not in old]


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"  # as in the file
    if isinstance(value, dict):
        return " ".join(f"{key}={value[key]}" for key in sorted(value))
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return "" if value is None else str(value)
