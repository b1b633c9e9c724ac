"""`netorch prefix-list`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import msgspec

from netorch.cli.context import Session, action, complete, tag_option
from netorch.cli.nouns import Actions, Noun, add_common
from netorch.cli.output import Columns, output_option

if TYPE_CHECKING:
    from netorch.control.actions.prefix_lists import PrefixListInfo

COLUMNS = Columns(("name", "vpc", "version", "max_entries", "entries", "groups", "route_tables"), ("tags", "id"))


@click.group()
def command() -> None:
    """Prefix lists: named sets of CIDRs for rules and routes."""


def row(info: PrefixListInfo) -> dict[str, Any]:
    """Return a prefix list as it is shown."""
    return {
        **msgspec.structs.asdict(info.prefix_list),
        "vpc": f"{info.vpc.owner}/{info.vpc.name}",
        "entries": [entry.cidr for entry in info.prefix_list.entries],
        "groups": list(info.groups),
        "route_tables": list(info.route_tables),
    }


def _actions() -> Actions:
    from netorch.control.actions.prefix_lists import delete_prefix_list, describe_prefix_list, describe_prefix_lists

    return Actions(describe_prefix_lists, describe_prefix_list, delete_prefix_list)


NOUN = Noun("pl", "prefix list", COLUMNS, row, _actions)
add_common(command, NOUN, "Delete a prefix list that no rule or route refers to.")


@command.command()
@click.argument("name")
@click.argument("cidrs", nargs=-1, required=True)
@click.option("--vpc", required=True, shell_complete=complete("vpc"))
@click.option("--max-entries", type=int, help="Its size in rule quotas. Default: the number of its CIDRs.")
@tag_option
@output_option
@action
def create(
    session: Session, name: str, cidrs: tuple[str, ...], vpc: str, max_entries: int | None, tags: dict[str, str], output: str
) -> None:
    """Create a prefix list of one IP version."""
    from netorch.control.actions.prefix_lists import create_prefix_list

    vpc_id = session.id_of("vpc", vpc)
    made = create_prefix_list(session.store, session.caller, vpc_id, name=name, cidrs=cidrs, max_entries=max_entries, tags=tags)
    NOUN.show(session, made.id, output)


@command.command("set")
@click.argument("prefix_list", shell_complete=complete("pl"))
@click.argument("cidrs", nargs=-1)
@click.option("--max-entries", type=int, help="Default: unchanged.")
@output_option
@action
def set_(session: Session, prefix_list: str, cidrs: tuple[str, ...], max_entries: int | None, output: str) -> None:
    """Set the CIDRs of a prefix list, or its size.

    Options that you leave out stay as they are. Rules and routes that refer to the list follow.
    """
    from netorch.control.actions.prefix_lists import modify_prefix_list

    list_id = session.id_of("pl", prefix_list)
    modify_prefix_list(session.store, session.caller, list_id, cidrs=cidrs or None, max_entries=max_entries)
    NOUN.show(session, list_id, output)
