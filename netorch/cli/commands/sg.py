"""`netorch sg`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import msgspec

from netorch.cli.context import Session, action, complete, tag_option
from netorch.cli.nouns import Actions, Noun, Rules, add_common, add_rule_list
from netorch.cli.output import Columns, output_option, show_record

if TYPE_CHECKING:
    from netorch.control.actions.groups import SecurityGroupInfo
    from netorch.control.actions.permissions import Permission
    from netorch.model.security import Direction

COLUMNS = Columns(("name", "vpc", "ingress", "egress", "interfaces"), ("description", "tags", "id"))
RULE_COLUMNS = ("direction", "protocol", "ports", "peer", "description", "id")


@click.group()
def command() -> None:
    """Security groups: stateful firewalls of the interfaces that are in them."""


def rule_rows(info: SecurityGroupInfo) -> list[dict[str, Any]]:
    """Return a group's rules as they are shown."""
    from netorch.control.actions.permissions import rules_of
    from netorch.model.rule_text import ports_text, protocol_text
    from netorch.model.security import Direction

    return [
        {
            "id": rule.id,
            "direction": direction.value,
            "protocol": protocol_text(rule.protocol),
            "ports": ports_text(rule.protocol, rule.from_port, rule.to_port),
            "peer": info.names.get(rule.peer, rule.peer),
            "peer_id": rule.group or rule.prefix_list,
            "description": rule.description,
        }
        for direction in Direction
        for rule in rules_of(info.group, direction)
    ]


def row(info: SecurityGroupInfo) -> dict[str, Any]:
    """Return a security group as it is shown."""
    rules = rule_rows(info)
    return {
        **msgspec.structs.asdict(info.group),
        "vpc": f"{info.vpc.owner}/{info.vpc.name}",
        "interfaces": list(info.interfaces),
        "ingress": [rule for rule in rules if rule["direction"] == "ingress"],
        "egress": [rule for rule in rules if rule["direction"] == "egress"],
    }


def _actions() -> Actions:
    from netorch.control.actions.groups import delete_security_group, describe_security_group, describe_security_groups

    return Actions(describe_security_groups, describe_security_group, delete_security_group)


RULES = Rules(RULE_COLUMNS, rule_rows, counted=("ingress", "egress", "interfaces"))
NOUN = Noun("sg", "security group", COLUMNS, row, _actions, (RULES,))
add_common(command, NOUN, "Delete a security group that nothing refers to.")


@command.command()
@click.argument("name")
@click.option("--vpc", required=True, shell_complete=complete("vpc"))
@click.option("--description", default="")
@tag_option
@output_option
@action
def create(session: Session, name: str, vpc: str, description: str, tags: dict[str, str], output: str) -> None:
    """Create a security group.

    A new group permits nothing inbound and everything outbound.
    """
    from netorch.control.actions.groups import create_security_group

    vpc_id = session.id_of("vpc", vpc)
    group = create_security_group(session.store, session.caller, vpc_id, name=name, description=description, tags=tags)
    NOUN.show(session, group.id, output)


@command.group()
def rule() -> None:
    """Security group rules. Rules permit; nothing else is permitted."""


add_rule_list(rule, NOUN, RULES)


def _words(direction: str, protocol: str, ports: str, source: str, destination: str, description: str = "") -> Permission:
    """Return the rule that arguments and options say. Raises UsageError for the option that belongs to the other direction."""
    from netorch.control.actions.permissions import Permission

    right, wrong = ("--source", destination) if direction == "ingress" else ("--destination", source)
    peer = source if direction == "ingress" else destination
    if wrong or not peer:
        raise click.UsageError(
            f"a rule for {direction} needs {right}, e.g. {right} 10.0.0.0/8 or {right} sg-web, and nothing else"
        )
    return Permission(protocol=protocol, ports=ports, peer=peer, description=description)


source_option = click.option("--source", default="", metavar="PEER", help="For ingress: a CIDR, sg-NAME, pl-NAME or an id.")
destination_option = click.option(
    "--destination", default="", metavar="PEER", help="For egress: a CIDR, sg-NAME, pl-NAME or an id."
)
direction_argument = click.argument("direction", type=click.Choice(["ingress", "egress"]))


@rule.command("add")
@click.argument("group", shell_complete=complete("sg"))
@direction_argument
@click.argument("protocol")
@click.argument("ports", default="")
@source_option
@destination_option
@click.option("--description", default="")
@output_option
@action
def add_rule(session: Session, /, group: str, direction: str, output: str, **words: str) -> None:
    """Add a rule to a security group.

    PROTOCOL is tcp, udp, icmp, icmpv6, all or a number; PORTS is 443 or 8000-8080; for icmp, TYPE or TYPE/CODE.

    Example: netorch sg rule add web ingress tcp 443 --source sg-lb
    """
    from netorch.control.actions.permissions import authorize

    group_id = session.id_of("sg", group)
    (added,) = authorize(session.store, session.caller, group_id, _direction(direction), [_words(direction, **words)])
    if output == "table":
        click.echo(f"added {added.id}")
        return
    from netorch.control.actions.groups import describe_security_group

    rows = rule_rows(describe_security_group(session.store, session.caller, group_id))
    show_record(next(found for found in rows if found["id"] == added.id), output)


def _direction(text: str) -> Direction:
    from netorch.model.security import Direction

    return Direction(text)


@rule.command("remove")
@click.argument("group", shell_complete=complete("sg"))
@click.argument("words", nargs=-1, required=True, metavar="RULE_ID | DIRECTION PROTOCOL [PORTS]")
@source_option
@destination_option
@click.option("--terminate-established", is_flag=True, help="End connections that no rule permits any more.")
@action
def remove_rule(
    session: Session, group: str, words: tuple[str, ...], source: str, destination: str, terminate_established: bool
) -> None:
    """Remove a rule from a security group.

    Name the rule by its id or by its content.

    Tracked connections that are established continue, unless --terminate-established is given.

    Example: netorch sg rule remove web ingress tcp 443 --source sg-lb
    """
    from netorch.control.actions.permissions import revoke, revoke_by_id

    group_id = session.id_of("sg", group)
    if len(words) == 1 and words[0] not in ("ingress", "egress"):
        revoke_by_id(session.store, session.caller, group_id, words, terminate_established=terminate_established)
    elif 2 <= len(words) <= 3 and words[0] in ("ingress", "egress"):
        request = _words(words[0], words[1], "".join(words[2:]), source, destination)
        direction = _direction(words[0])
        revoke(session.store, session.caller, group_id, direction, [request], terminate_established=terminate_established)
    else:
        raise click.UsageError("name the rule: its id, or its direction, protocol and ports")
    click.echo(f"removed the rule from {group_id}")
