"""`netorch history`."""

from __future__ import annotations

import datetime

import click

from netorch.cli.context import Session, complete, pass_session
from netorch.cli.output import Columns, list_output_option, show_rows

COLUMNS = Columns(("revision", "time", "by", "command"), ("changed",))


@click.command()
@click.argument("vpc", required=False, shell_complete=complete("vpc"))
@click.option("-n", "--last", type=click.IntRange(min=1), default=50, show_default=True, help="Show at most this many changes.")
@list_output_option
@pass_session
def command(session: Session, vpc: str | None, last: int, output: str) -> None:
    """Show who changed what and when, in a VPC (name or id, also a deleted one) or in the whole cloud, latest change first.

    The store keeps at least its last 100,000 revisions. BY is the user and machine of a command, or the agent that made the
    change by itself. In the wide list, + is a record that was created, ~ one that was changed, - one that was deleted.
    """
    from netorch.control.history.read import read_history
    from netorch.model.ids import is_id, vni_of

    session.operator_only("the history")
    vni = None if vpc is None else vni_of(vpc if is_id(vpc, "vpc") else session.id_of("vpc", vpc))
    rows = [
        {
            "revision": change.revision,
            "time": datetime.datetime.fromtimestamp(change.at, datetime.UTC).isoformat(timespec="seconds") if change.at else "",
            "by": change.by,
            "command": change.command,
            "changed": change.changed,
        }
        for change in read_history(session.store, vni, last)
    ]
    show_rows(rows, COLUMNS, output)
