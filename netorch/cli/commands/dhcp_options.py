"""`netorch dhcp-options`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import msgspec

from netorch.cli.context import Session, action, complete, tag_option
from netorch.cli.nouns import Actions, Noun, add_common
from netorch.cli.output import Columns, output_option

if TYPE_CHECKING:
    from netorch.control.actions.services.dhcp_options import DhcpOptionsInfo

COLUMNS = Columns(
    ("name", "owner", "domain_name", "domain_name_servers", "ntp_servers"),
    ("netbios_name_servers", "netbios_node_type", "vpcs", "tags", "id"),
)


@click.group()
def command() -> None:
    """DHCP options sets: what instances get by DHCP besides their addresses. A set cannot be changed."""


def row(info: DhcpOptionsInfo) -> dict[str, Any]:
    """Return a set as it is shown."""
    found = msgspec.structs.asdict(info.found)
    options = msgspec.structs.asdict(found.pop("options"))
    return {**found, **options, "vpcs": list(info.vpcs)}


def _actions() -> Actions:
    from netorch.control.actions.services.dhcp_options import (
        delete_dhcp_options,
        describe_dhcp_options,
        describe_dhcp_options_set,
    )

    return Actions(describe_dhcp_options, describe_dhcp_options_set, delete_dhcp_options)


NOUN = Noun("dopt", "DHCP options set", COLUMNS, row, _actions, within_vpcs=False)
add_common(command, NOUN, "Delete DHCP options sets that no VPC is associated with.")


def _words(_context: click.Context, _parameter: click.Parameter, value: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in value.split(",")) if value else ()


@command.command()
@click.argument("name")
@click.option("--domain-name", default="", help="The domain that completes names without dots.")
@click.option(
    "--domain-name-servers",
    default="",
    callback=_words,
    metavar="IP,...",
    help="DNS servers, or 'provided': the VPC's own resolver.",
)
@click.option("--ntp-servers", default="", callback=_words, metavar="IP,...", help="Time servers.")
@click.option("--netbios-name-servers", default="", callback=_words, metavar="IP,...", help="NetBIOS name servers.")
@click.option("--netbios-node-type", type=int, default=0, help="NetBIOS node type: 1, 2, 4 or 8. Default: none.")
@tag_option
@output_option
@action
def create(
    session: Session,
    name: str,
    domain_name: str,
    domain_name_servers: tuple[str, ...],
    ntp_servers: tuple[str, ...],
    netbios_name_servers: tuple[str, ...],
    netbios_node_type: int,
    tags: dict[str, str],
    output: str,
) -> None:
    """Create a DHCP options set.

    Instances do not get the options that you leave out. At most four servers each. EC2's AmazonProvidedDNS also means 'provided'.
    """
    from netorch.control.actions.services.dhcp_options import create_dhcp_options
    from netorch.model.services.dhcp_options import DhcpOptions

    options = DhcpOptions(
        domain_name=domain_name,
        domain_name_servers=domain_name_servers,
        ntp_servers=ntp_servers,
        netbios_name_servers=netbios_name_servers,
        netbios_node_type=netbios_node_type,
    )
    made = create_dhcp_options(session.store, session.caller, name=name, options=options, tags=tags)
    NOUN.show(session, made.id, output)


@command.command()
@click.argument("options", shell_complete=complete("dopt"))
@click.argument("vpc", shell_complete=complete("vpc"))
@action
def associate(session: Session, options: str, vpc: str) -> None:
    """Associate a VPC with a DHCP options set of its owner, or with 'default'.

    Instances get the new options when they renew their leases.
    """
    from netorch.control.actions.services.dhcp_options import associate_dhcp_options
    from netorch.model.services.dhcp_options import DEFAULT_SET

    set_id = "" if options == DEFAULT_SET else session.id_of("dopt", options)
    associate_dhcp_options(session.store, session.caller, set_id, session.id_of("vpc", vpc))
    click.echo(f"{vpc} is associated with {options}")
