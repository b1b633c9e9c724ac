"""The commands of gateways of which a VPC has at most one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from netorch.cli.context import Session, action, complete, tag_option
from netorch.cli.nouns import Actions, Noun, add_common
from netorch.cli.output import Columns, output_option

if TYPE_CHECKING:
    from netorch.control.actions.outside.gateways import OnlyGatewayInfo
    from netorch.model.outside.gateway import OnlyGateway

    Create = Callable[..., OnlyGateway]  # (store, caller, id of the VPC, name=, tags=)

_COLUMNS: Final = Columns(("name", "vpc"), ("pair", "edges", "tags", "id"))


def add_gateway_commands(
    group: click.Group,
    kind: str,
    name: str,
    actions: Callable[[], Actions],
    create: Callable[[], Create],
    *,
    create_help: str,
    delete_help: str,
) -> None:
    """Add `create` and the common commands; `actions` and `create` import what they return."""
    noun = Noun(kind, name, _COLUMNS, gateway_row, actions, operators=("pair", "edges"))
    add_common(group, noun, delete_help)

    @group.command("create", help=create_help)
    @click.argument("name")
    @click.option("--vpc", required=True, shell_complete=complete("vpc"))
    @tag_option
    @output_option
    @action
    def create_(session: Session, name: str, vpc: str, tags: dict[str, str], output: str) -> None:
        gateway = create()(session.store, session.caller, session.id_of("vpc", vpc), name=name, tags=tags)
        noun.show(session, gateway.id, output)


def gateway_row(info: OnlyGatewayInfo) -> dict[str, Any]:
    """Return a gateway as a row of output."""
    return {
        **msgspec.structs.asdict(info.gateway),
        "vpc": f"{info.vpc.owner}/{info.vpc.name}",
        "pair": info.pair,
        "edges": list(info.edges),
    }
