"""The commands that are the same for every kind of resource: list, show and delete.

What they call is imported when they run, as everything that the command line does; so they are given functions that import it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from netorch.cli.context import Session, complete, pass_session, vpc_option
from netorch.cli.output import output_option, show_record, show_rows

if TYPE_CHECKING:
    from netorch.control.caller import Caller
    from netorch.store.base import Store

Delete = Callable[["Store", "Caller", str], None]


class Actions(NamedTuple):
    """How resources of a kind are found, by the id of their VPC or by their own, and deleted."""

    every: Callable[[Store, Caller, str], list[Any]]
    one: Callable[[Store, Caller, str], Any]
    delete: Delete


class Rules(NamedTuple):
    """How the rules of a group or an ACL are shown: in a table of their own, where a list of groups or ACLs counts them."""

    columns: tuple[str, ...]
    rows: Callable[[Any], list[dict[str, Any]]]
    counted: tuple[str, ...] = ("ingress", "egress")
    untold: tuple[str, ...] = ("ingress", "egress", "terminations")  # fields that the table of one group or ACL leaves out


class Noun(NamedTuple):
    """A kind of resource as it is shown."""

    kind: str  # of its ids
    name: str
    columns: tuple[str, ...]
    row: Callable[[Any], dict[str, Any]]
    actions: Callable[[], Actions]
    rules: Rules | None = None

    def show(self, session: Session, resource_id: str, output: str) -> None:
        """Print one resource. Raises ApiError."""
        info = self.actions().one(session.store, session.caller, resource_id)
        row = self.row(info)
        if self.rules is None or output != "table":
            show_record(row, output)
            return
        show_record({name: value for name, value in row.items() if name not in self.rules.untold}, output)
        click.echo()
        show_rows(self.rules.rows(info), self.rules.columns, output)

    def list(self, session: Session, vpc: str | None, output: str) -> None:
        """Print those of the VPC that was named, or of every one that the caller sees. Raises ApiError."""
        rows = [self.row(info) for info in session.of_vpcs(vpc, self.actions().every)]
        if self.rules is not None and output == "table":
            counted = self.rules.counted
            rows = [{name: len(value) if name in counted else value for name, value in row.items()} for row in rows]
        show_rows(rows, self.columns, output)


def of_vpc(session: Session, vpc: str | None, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of resources of the VPC that was named, all when none was. Raises ApiError."""
    if vpc is None:
        return rows
    vni = session.find("vpc", vpc)[1].vni
    return [row for row in rows if row["vni"] == vni]


def resource_argument(kind: str, name: str) -> Callable[[Any], Any]:
    """Return the argument, `resource`, that names a resource by id or name."""
    return click.argument("resource", metavar=name.upper().replace(" ", "_"), shell_complete=complete(kind))


def add_common(group: click.Group, noun: Noun, delete_help: str) -> None:
    """Add `list`, `show` and `delete`."""

    @group.command("list", help=f"List {noun.name}s.")
    @vpc_option
    @output_option
    @pass_session
    def list_(session: Session, vpc: str | None, output: str) -> None:
        noun.list(session, vpc, output)

    @group.command("show", help=f"Show a {noun.name}.")
    @resource_argument(noun.kind, noun.name)
    @output_option
    @pass_session
    def show(session: Session, resource: str, output: str) -> None:
        noun.show(session, session.id_of(noun.kind, resource), output)

    add_delete(group, noun.kind, noun.name, delete_help, lambda: noun.actions().delete)


def add_rule_list(group: click.Group, noun: Noun, rules: Rules) -> None:
    """Add `list` to the commands about the rules of a kind of resource."""

    @group.command("list", help=f"List the rules of a {noun.name}.")
    @resource_argument(noun.kind, noun.name)
    @output_option
    @pass_session
    def list_(session: Session, resource: str, output: str) -> None:
        info = noun.actions().one(session.store, session.caller, session.id_of(noun.kind, resource))
        show_rows(rules.rows(info), rules.columns, output)


def add_delete(group: click.Group, kind: str, name: str, help_text: str, load: Callable[[], Delete]) -> None:
    """Add `delete`."""

    @group.command("delete", help=help_text)
    @resource_argument(kind, name)
    @pass_session
    def delete(session: Session, resource: str) -> None:
        resource_id = session.id_of(kind, resource)
        load()(session.store, session.caller, resource_id)
        click.echo(f"deleted {resource_id}")
