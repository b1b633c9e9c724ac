"""`netorch nacl`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import msgspec

from netorch.cli.context import Session, action, complete, tag_option
from netorch.cli.nouns import Actions, Noun, Rules, add_associate, add_common, add_rule_list
from netorch.cli.output import Columns, output_option

if TYPE_CHECKING:
    from collections.abc import Callable

    from netorch.control.actions.acls import NetworkAclInfo
    from netorch.model.vpc import Subnet
    from netorch.records.caller import Caller
    from netorch.store.base import Store

COLUMNS = Columns(("name", "vpc", "ingress", "egress", "subnets"), ("tags", "id"))
direction_argument = click.argument("direction", type=click.Choice(["ingress", "egress"]))
ENTRY_COLUMNS = ("direction", "number", "action", "protocol", "ports", "cidr")


@click.group()
def command() -> None:
    """Network ACLs: stateless filters at the borders of subnets."""


def row(info: NetworkAclInfo) -> dict[str, Any]:
    """Return a network ACL as it is shown."""
    from netorch.model.security import Direction

    return {
        **msgspec.structs.asdict(info.acl),
        "vpc": f"{info.vpc.owner}/{info.vpc.name}",
        "subnets": list(info.subnets),
        **{
            direction.value: [entry for entry in _entry_rows(info) if entry["direction"] == direction.value]
            for direction in Direction
        },
    }


def _entry_rows(info: NetworkAclInfo) -> list[dict[str, Any]]:
    from netorch.control.actions.acls import entries_of
    from netorch.model.rule_text import ports_text, protocol_text
    from netorch.model.security import Direction

    return [
        {
            "direction": direction.value,
            "number": entry.number,
            "action": "allow" if entry.allow else "deny",
            "protocol": protocol_text(entry.protocol),
            "ports": ports_text(entry.protocol, entry.from_port, entry.to_port),
            "cidr": entry.cidr,
        }
        for direction in Direction
        for entry in entries_of(info.acl, direction)
    ]


def _actions() -> Actions:
    from netorch.control.actions.acls import delete_network_acl, describe_network_acl, describe_network_acls

    return Actions(describe_network_acls, describe_network_acl, delete_network_acl)


RULES = Rules(ENTRY_COLUMNS, _entry_rows, called="entries")
NOUN = Noun("acl", "network ACL", COLUMNS, row, _actions, (RULES,))
add_common(command, NOUN, "Delete a network ACL that no subnet uses.")


@command.command()
@click.argument("name")
@click.option("--vpc", required=True, shell_complete=complete("vpc"))
@tag_option
@output_option
@action
def create(session: Session, name: str, vpc: str, tags: dict[str, str], output: str) -> None:
    """Create a network ACL.

    It denies everything until it has entries.
    """
    from netorch.control.actions.acls import create_network_acl

    acl = create_network_acl(session.store, session.caller, session.id_of("vpc", vpc), name=name, tags=tags)
    NOUN.show(session, acl.id, output)


def _associate() -> Callable[[Store, Caller, str, str], Subnet]:
    from netorch.control.actions.subnets import associate_network_acl

    return associate_network_acl


def _used(subnet: Subnet) -> str:
    return f"subnet {subnet.name} ({subnet.id}) uses {subnet.acl or 'the default ACL'}"


add_associate(command, NOUN, "associate", "Associate a network ACL with subnets.", _associate, _used)


@command.group()
def rule() -> None:
    """The entries of network ACLs. The matching entry with the lowest number decides."""


add_rule_list(rule, NOUN, RULES)


def _entry_command(name: str) -> Callable[[Callable[..., None]], click.Command]:
    """Return what makes a function a command that takes an entry of an ACL."""

    def decorate(function: Callable[..., None]) -> click.Command:
        for decorator in (
            action,
            output_option,
            click.option("--cidr", required=True, help="The source for ingress, the destination for egress."),
            click.argument("ports", default=""),
            click.argument("protocol"),
            click.argument("action", type=click.Choice(["allow", "deny"])),
            click.argument("number", type=int),
            direction_argument,
            click.argument("acl", shell_complete=complete("acl")),
        ):
            function = decorator(function)
        return rule.command(name)(function)

    return decorate


@_entry_command("add")
def add(session: Session, acl: str, direction: str, action: str, output: str, **words: Any) -> None:  # noqa: ANN401
    """Add an entry to a network ACL.

    Example: netorch nacl rule add edge ingress 100 deny tcp 22 --cidr 10.0.0.0/8
    """
    from netorch.control.actions.acls import EntryRequest, create_network_acl_entry
    from netorch.model.security import Direction

    entry = EntryRequest(allow=action == "allow", **words)
    changed = create_network_acl_entry(session.store, session.caller, session.id_of("acl", acl), Direction(direction), entry)
    NOUN.show(session, changed.id, output)


@_entry_command("replace")
def replace(session: Session, acl: str, direction: str, action: str, output: str, **words: Any) -> None:  # noqa: ANN401
    """Replace the entry with a number."""
    from netorch.control.actions.acls import EntryRequest, replace_network_acl_entry
    from netorch.model.security import Direction

    entry = EntryRequest(allow=action == "allow", **words)
    changed = replace_network_acl_entry(session.store, session.caller, session.id_of("acl", acl), Direction(direction), entry)
    NOUN.show(session, changed.id, output)


@rule.command("remove")
@click.argument("acl", shell_complete=complete("acl"))
@direction_argument
@click.argument("number", type=int)
@action
def remove(session: Session, acl: str, direction: str, number: int) -> None:
    """Remove an entry from a network ACL."""
    from netorch.control.actions.acls import delete_network_acl_entry
    from netorch.model.security import Direction

    acl_id = session.id_of("acl", acl)
    delete_network_acl_entry(session.store, session.caller, acl_id, Direction(direction), number)
    click.echo(f"removed {direction} entry {number} from {acl_id}")
