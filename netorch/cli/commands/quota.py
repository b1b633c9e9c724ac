"""`netorch quota`."""

from __future__ import annotations

import click
import msgspec

from netorch.cli.context import Session, action, pass_session
from netorch.cli.output import output_option, show_record


@click.group()
@pass_session
def command(session: Session) -> None:
    """Quotas: an owner's limits. The defaults are EC2's where these suit a lab."""
    session.operator_only("quotas")


@command.command()
@click.argument("owner")
@output_option
@pass_session
def show(session: Session, owner: str, output: str) -> None:
    """Show an owner's limits."""
    from netorch.control.base.quotas import quotas_of

    show_record(msgspec.structs.asdict(quotas_of(session.store, owner)), output)


@command.command("set")
@click.argument("owner")
@click.argument("limits", nargs=-1, required=True, metavar="LIMIT=NUMBER...")
@output_option
@action
@click.pass_context
def set_(context: click.Context, session: Session, owner: str, limits: tuple[str, ...], output: str) -> None:
    """Change an owner's limits, e.g. vpcs=20.

    Resources above a lowered limit stay.
    """
    from netorch.control.base.quotas import set_quotas

    wanted = {}
    for text in limits:
        name, _, number = text.partition("=")
        if not number.isascii() or not number.isdigit() or len(number) > 9:
            raise click.BadParameter(f"{text!r} is not LIMIT=NUMBER", context)
        wanted[name] = int(number)
    session.creates = True
    show_record(msgspec.structs.asdict(set_quotas(session.store, owner, wanted)), output)
