"""The commands that are the same for every kind of resource: list, show, tag, untag, set-tags and delete.

Like the whole command line, they import on demand: their arguments are functions that import what they call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from netorch.cli.context import Session, action, complete, parse_tags, pass_session, vpc_option
from netorch.cli.output import (
    MACHINE,
    Columns,
    cell,
    list_output_option,
    output_option,
    show_record,
    show_records,
    show_rows,
)

if TYPE_CHECKING:
    from netorch.model.vpc import Subnet
    from netorch.records.caller import Caller
    from netorch.store.base import Store

Delete = Callable[["Store", "Caller", str], None]


class Actions(NamedTuple):
    """The functions that list, describe and delete the resources of a kind."""

    every: Callable[..., list[Any]]  # (store, caller, id of the VPC), or (store, caller) for resources without a VPC
    one: Callable[[Store, Caller, str], Any]
    delete: Delete


class Rules(NamedTuple):
    """The table for the rules of a group or an ACL, or for routes. A list of groups only has their number."""

    columns: tuple[str, ...]
    rows: Callable[[Any], list[dict[str, Any]]]
    counted: tuple[str, ...] = ("ingress", "egress")
    hidden: tuple[str, ...] = ("ingress", "egress", "terminations")  # fields that the table of one group or ACL omits
    called: str = "rules"


class Noun(NamedTuple):
    """A kind of resource, as the command line shows it."""

    kind: str  # the prefix of its ids
    name: str
    columns: Columns
    row: Callable[[Any], dict[str, Any]]
    actions: Callable[[], Actions]
    tables: tuple[Rules, ...] = ()
    filters: Mapping[str, Sequence[str]] = {}  # of `list`: see `add_list`
    operators: tuple[str, ...] = ()  # fields that customers do not see
    within_vpcs: bool = True  # else they have no VPC

    def show(self, session: Session, resource_id: str, output: str) -> None:
        """Print one resource. Raises ApiError."""
        self.show_several(session, [resource_id], output)

    def show_several(self, session: Session, resource_ids: Sequence[str], output: str) -> None:
        """Print resources: one as a record, several as a list of records. Raises ApiError."""
        infos = [self.actions().one(session.store, session.caller, resource_id) for resource_id in resource_ids]
        rows = [self._seen(session, info) for info in infos]
        if not self.tables or output != "table":
            show_records(rows, output)
            return
        hidden = {name for table in self.tables for name in table.hidden}
        for index, (info, row) in enumerate(zip(infos, rows, strict=True)):
            if index:
                click.echo()
            show_record({name: value for name, value in row.items() if name not in hidden}, output)
            for table in self.tables:
                click.echo()
                show_rows(table.rows(info), table.columns, output)

    def _seen(self, session: Session, info: Any) -> dict[str, Any]:  # noqa: ANN401 - whatever the actions return
        """Return a resource as the caller sees it."""
        row = self.row(info)
        return row if session.caller.operator else {name: value for name, value in row.items() if name not in self.operators}

    def rows(self, session: Session, vpc: str | None, output: str) -> list[dict[str, Any]]:
        """Return the rows of the named VPC, or of all that the caller sees. Raises ApiError."""
        every = self.actions().every
        infos = session.of_vpcs(vpc, every) if self.within_vpcs else every(session.store, session.caller)
        rows = [self._seen(session, info) for info in infos]
        if output not in MACHINE:
            counted = {name for table in self.tables for name in table.counted}
            rows = [{name: len(value) if name in counted else value for name, value in row.items()} for row in rows]
        return rows


def each_once(rows: Sequence[dict[str, Any]], is_preferred: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
    """Return the rows of objects that two VPCs share, each once: the preferred VPC's row, if there is one."""
    once = {row["id"]: row for row in sorted(rows, key=is_preferred)}
    return [row for row in rows if once[row["id"]] is row]


def resource_argument(kind: str, name: str) -> Callable[[Any], Any]:
    """Return the argument, `resource`, that names a resource by id or name."""
    return click.argument("resource", metavar=_metavar(name), shell_complete=complete(kind))


def resources_argument(kind: str, name: str, *behind: str) -> Callable[[Any], Any]:
    """Return the argument, `resources`, for one resource or more by id or name; `behind` are kinds that may follow."""
    metavar = f"{_metavar(name)}..."
    return click.argument("resources", metavar=metavar, nargs=-1, required=True, shell_complete=complete(kind, *behind))


def _metavar(name: str) -> str:
    return name.upper().replace(" ", "_")


def add_common(group: click.Group, noun: Noun, delete_help: str, *, verb: str = "delete") -> None:
    """Add `list`, `show`, `tag`, `untag`, `set-tags` and the delete command."""
    add_list(group, f"List {noun.name}s.", noun.columns, noun.rows, noun.filters, within_vpcs=noun.within_vpcs)
    add_show(group, noun.kind, noun.name, f"Show {noun.name}s.", noun.show_several)
    add_tagging(group, noun.kind, noun.name)
    add_delete(group, noun.kind, noun.name, delete_help, lambda: noun.actions().delete, verb)


def add_list(
    group: click.Group,
    help_text: str,
    columns: Columns,
    load: Callable[[Session, str | None, str], list[dict[str, Any]]],
    filters: Mapping[str, Sequence[str]] = {},
    *,
    within_vpcs: bool = True,
    tagged: bool = True,
) -> None:
    """Add `list`, with an option for tags, and one for each filter field, with its possible values.

    A field without values has the name of a resource of that kind.
    """

    def list_(
        session: Session,
        output: str,
        conditions: tuple[str, ...],
        having: tuple[str, ...] = (),
        vpc: str | None = None,
        **wanted: str | None,
    ) -> None:
        rows = load(session, vpc, output)
        kept = [row for row in _matching(rows, conditions, columns) if _is_wanted(row, having, wanted)]
        if output not in MACHINE:
            kept = session.named(kept, session.view(vpc) if within_vpcs else session.beside(kept))
        show_rows(kept, columns, output)

    options: list[Callable[[Any], Any]] = [
        pass_session,
        list_output_option,
        *(_filter(field, values) for field, values in filters.items()),
        *([vpc_option] if within_vpcs else []),
        *([tag_filter] if tagged else []),
        condition_option,
    ]
    decorated: Any = list_
    for option in options:
        decorated = option(decorated)
    group.command("list", help=help_text)(decorated)


tag_filter = click.option("--tag", "having", multiple=True, metavar="KEY[=VALUE]", help="Only with this tag; repeatable.")


condition_option = click.option(
    "--filter",
    "conditions",
    multiple=True,
    metavar="NAME=VALUE,...",
    help="EC2's filters: a field or tag:KEY, with values that may contain * and ?; repeatable, all must match.",
)


def _matching(rows: list[dict[str, Any]], conditions: Sequence[str], columns: Columns) -> list[dict[str, Any]]:
    """Return the rows that match all conditions. Raises ApiError."""
    if not conditions:
        return rows
    from netorch.control.views.filters import matching, parse

    fields = {*columns.usual, *columns.wide, *(field for row in rows for field in row)} - {"tags"}
    return matching(rows, [parse(text, fields) for text in conditions])


_FILTER_HELP: Final = {"host": "Only on this host.", "live": "Only hosts whose agent is running (yes) or not (no)."}


def _filter(field: str, values: Sequence[str]) -> Callable[[Any], Any]:
    help_text = _FILTER_HELP.get(field, f"Only with this {field}.")
    if values:
        return click.option(f"--{field}", type=click.Choice(list(values)), help=help_text)
    return click.option(f"--{field}", metavar="NAME", help=help_text, shell_complete=complete(field))


def _is_wanted(row: dict[str, Any], having: Sequence[str], wanted: dict[str, str | None]) -> bool:
    """Return whether a row has all the wanted tags and values."""
    tags = row.get("tags") or {}
    for text in having:
        key, equals, value = text.partition("=")
        if key not in tags or (equals and tags[key] != value):
            return False
    return all(value is None or cell(row.get(field)) == value for field, value in wanted.items())


def add_show(
    group: click.Group, kind: str, name: str, help_text: str, show_several: Callable[[Session, Sequence[str], str], None]
) -> None:
    """Add `show`."""

    @group.command("show", help=help_text)
    @resources_argument(kind, name)
    @output_option
    @pass_session
    def show(session: Session, resources: tuple[str, ...], output: str) -> None:
        show_several(session, session.ids_of(kind, resources), output)


def add_tagging(group: click.Group, kind: str, name: str) -> None:
    """Add `tag`, `untag` and `set-tags`."""
    _add_tag_command(group, kind, name, "tag", f"Tag {_plural(name)}.\n\nOther tags stay; an existing tag gets the new value.")
    _add_tag_command(
        group,
        kind,
        name,
        "set-tags",
        f"Set the tags of {_plural(name)}.\n\nThese tags replace all others. Without any, all tags are removed.",
    )

    @group.command("untag", help=f"Remove tags from one {name}.\n\nKEY=VALUE removes a tag only if it has that value.")
    @resource_argument(kind, name)
    @click.argument("tags", metavar="KEY[=VALUE]...", nargs=-1, required=True)
    @action
    def untag(session: Session, resource: str, tags: tuple[str, ...]) -> None:
        from netorch.control.actions.tags import remove_tags

        split = [text.partition("=") for text in tags]
        (resource_id,) = session.ids_of(kind, [resource])
        remove_tags(session.store, session.caller, kind, resource_id, {key: value if eq else None for key, eq, value in split})
        click.echo(f"untagged {resource_id}")


def _plural(name: str) -> str:
    return f"{name}es" if name.endswith("s") else f"{name}s"


def _add_tag_command(group: click.Group, kind: str, name: str, verb: str, help_text: str) -> None:
    metavar = f"{_metavar(name)}... {'KEY=VALUE...' if verb == 'tag' else '[KEY=VALUE]...'}"

    @group.command(verb, help=help_text)
    @click.argument("words", metavar=metavar, nargs=-1, required=True, shell_complete=complete(kind))
    @action
    @click.pass_context
    def command(context: click.Context, session: Session, words: tuple[str, ...]) -> None:
        from netorch.control.actions.tags import add_tags, set_tags

        tags = parse_tags(context, context.command.params[0], tuple(word for word in words if "=" in word))
        named = [word for word in words if "=" not in word]  # names cannot contain `=`
        if not named or (verb == "tag" and not tags):
            raise click.UsageError(f"name the {name} and its tags", context)
        for resource_id in session.ids_of(kind, named):
            (add_tags if verb == "tag" else set_tags)(session.store, session.caller, kind, resource_id, tags)
            click.echo(f"tagged {resource_id}" if verb == "tag" else f"{resource_id} has {cell(tags) if tags else 'no tags'}")


def add_associate(
    group: click.Group,
    noun: Noun,
    verb: str,
    help_text: str,
    load: Callable[[], Callable[[Store, Caller, str, str], Subnet]],
    shown: Callable[[Subnet], str],
) -> None:
    """Add the command that assigns a resource to subnets; `shown` is the text about a subnet's new resource."""

    @group.command(verb, help=help_text)
    @resource_argument(noun.kind, noun.name)
    @click.argument("subnets", nargs=-1, required=True, shell_complete=complete("subnet"))
    @action
    def associate(session: Session, resource: str, subnets: tuple[str, ...]) -> None:
        wanted = {subnet_id: session.id_beside(noun.kind, resource, subnet_id) for subnet_id in session.ids_of("subnet", subnets)}
        for subnet_id, resource_id in wanted.items():
            click.echo(shown(load()(session.store, session.caller, subnet_id, resource_id)))


def add_rule_list(group: click.Group, noun: Noun, rules: Rules) -> None:
    """Add `list` to the commands for the rules, or routes, of a kind of resource."""

    @group.command("list", help=f"List the {rules.called} of a {noun.name}.")
    @resource_argument(noun.kind, noun.name)
    @output_option
    @pass_session
    def list_(session: Session, resource: str, output: str) -> None:
        info = noun.actions().one(session.store, session.caller, session.id_of(noun.kind, resource))
        show_rows(rules.rows(info), rules.columns, output)


def add_delete(
    group: click.Group, kind: str, name: str, help_text: str, load: Callable[[], Delete], verb: str = "delete"
) -> None:
    """Add the delete command, under the verb of its kind."""

    @group.command(verb, help=help_text)
    @resources_argument(kind, name)
    @action
    def delete(session: Session, resources: tuple[str, ...]) -> None:
        for resource_id in session.ids_of(kind, resources):
            load()(session.store, session.caller, resource_id)
            click.echo(f"{verb}d {resource_id}")
