"""`netorch store`: records that cannot be read, how they are repaired, and copies of all of them."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from netorch.cli.called import as_called
from netorch.cli.context import Session, action, pass_session
from netorch.cli.output import output_option, show_rows

COLUMNS = ("key", "revision", "found")
_REPAIR = """
to repair one, with a revision N before the one shown:
  netorch store get KEY --revision N    prints what stood there then
  netorch store put KEY --revision N    puts it back; --file FILE does so from a backup
  netorch store delete KEY              is enough where nothing refers to it: a status, a quota, a cursor, a flow log"""


@click.group()
@pass_session
def command(session: Session) -> None:
    """Find unreadable and missing records and repair them; copy the store.

    A VPC or host with such a record is left alone by all other commands until it is repaired: put back what stood there before,

    \b
    netorch store get KEY --revision REVISION
    netorch store put KEY --revision REVISION

    with a revision before that of the damage, or what a backup holds.
    """
    session.operator_only("the store")


@command.command()
@output_option
@pass_session
@click.pass_context
def check(context: click.Context, session: Session, output: str) -> None:
    """List the records that cannot be read or are missing, and since which revision (0: unknown, too long ago).

    Exit codes: 0 there are none, 2 there are some.
    """
    from netorch.control.actions.repair import damaged

    found = damaged(session.store).items()
    rows = [{"key": key, "revision": revision, "found": error.what} for key, (revision, error) in found]
    if rows or output != "table":
        show_rows(rows, COLUMNS, output)
        if output == "table":
            click.echo(as_called(_REPAIR))
    else:
        click.echo("every record is there and can be read")
    context.exit(2 if rows else 0)


@command.command()
@click.argument("key")
@click.option("--revision", type=int, default=0, help="The value at this revision instead of now.")
@pass_session
def get(session: Session, key: str, revision: int) -> None:
    """Print the value of a key, unchanged."""
    from netorch.control.actions.repair import as_it_was

    value = as_it_was(session.store, key, revision)
    click.echo(value.decode(errors="backslashreplace") if sys.stdout.isatty() else value)


@command.command()
@click.argument("key")
@click.option("--revision", type=int, help="Restore the value of this revision.")
@click.option("-f", "--file", "path", type=click.Path(path_type=Path), help="Restore the value in this file.")
@action
@click.pass_context
def put(context: click.Context, session: Session, key: str, revision: int | None, path: Path | None) -> None:
    """Put a record back where one cannot be read."""
    from netorch.control.actions.repair import as_it_was, put_back
    from netorch.spec.load import read_file

    if (revision is None) == (path is None):
        raise click.UsageError("choose --revision or --file", context)
    put_back(session.store, key, read_file(str(path)) if path is not None else as_it_was(session.store, key, revision or 0))
    click.echo(f"put {key} back")


@command.command()
@click.argument("key")
@action
def delete(session: Session, key: str) -> None:
    """Delete a record that cannot be read, if nothing refers to it."""
    from netorch.control.actions.repair import discard

    discard(session.store, key)
    click.echo(f"deleted {key}")


@command.command()
@click.argument("source")
@click.argument("target")
def copy(source: str, target: str) -> None:
    """Copy the store SOURCE to TARGET, where there is none: a move, a backup, or the way back from one.

    The cloud may go on meanwhile: the copy is of one revision. Agents that followed SOURCE refuse the copy, because it is another
    store: stop each, remove its snapshot file, and start it again with the new `--store`. Instances' traffic goes on. A copy that
    was interrupted cannot be opened; begin it again.

    \b
    netorch store copy /var/lib/netorch/netorch.db etcd://10.0.0.1:2379,10.0.0.2:2379,10.0.0.3:2379/netorch
    netorch store copy etcd://10.0.0.1:2379/netorch /backup/netorch-monday.db
    """
    from contextlib import closing

    from netorch.store import open_to_read, open_unfinished
    from netorch.store.copy import copy_store

    with closing(open_to_read(source)) as opened, closing(open_unfinished(target, source.partition("?")[0])) as unfinished:
        done = copy_store(opened, unfinished)
    click.echo(f"copied {done.records} records of revision {done.revision}; every one was read back")
