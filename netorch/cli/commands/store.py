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
to repair a record, with a revision N before the one shown:
  netorch store get KEY --revision N    prints the value at that revision
  netorch store put KEY --revision N    restores it; --file FILE restores it from a backup
  netorch store delete KEY              is enough if nothing refers to it: a status, a quota, a cursor, a flow log, a placement"""


@click.group()
@pass_session
def command(session: Session) -> None:
    """Find unreadable and missing records and repair them; copy the store.

    All other commands leave a VPC or host with such a record alone until it is repaired. Restore the former value,

    \b
    netorch store get KEY --revision REVISION
    netorch store put KEY --revision REVISION

    with a revision before that of the damage, or restore the record from a backup.
    """
    session.operator_only("the store")


@command.command()
@output_option
@pass_session
@click.pass_context
def check(context: click.Context, session: Session, output: str) -> None:
    """List the records that are unreadable or missing, and since which revision (0: unknown, too long ago).

    Exit codes: 0 none found, 2 some found.
    """
    from netorch.control.actions.repair import damaged

    found = damaged(session.store).items()
    rows = [{"key": key, "revision": revision, "found": error.what} for key, (revision, error) in found]
    if rows or output != "table":
        show_rows(rows, COLUMNS, output)
        if output == "table":
            click.echo(as_called(_REPAIR))
    else:
        click.echo("all records are present and readable")
    context.exit(2 if rows else 0)


@command.command()
@click.argument("key")
@click.option("--revision", type=int, default=0, help="Print the value at this revision instead of the current one.")
@pass_session
def get(session: Session, key: str, revision: int) -> None:
    """Print the value of a key, with the id and VNI that a stored value may leave out."""
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
    """Replace an unreadable or missing record.

    A value from a file needs its id, as `netorch store get` prints it, so that it is not written at another record's key.
    """
    from netorch.control.actions.repair import as_it_was, put_back
    from netorch.spec.load import read_file

    if (revision is None) == (path is None):
        raise click.UsageError("give either --revision or --file", context)
    put_back(session.store, key, read_file(str(path)) if path is not None else as_it_was(session.store, key, revision or 0))
    click.echo(f"restored {key}")


@command.command()
@click.argument("key")
@action
def delete(session: Session, key: str) -> None:
    """Delete an unreadable record that nothing refers to, or a placement of something that is not there."""
    from netorch.control.actions.repair import discard

    discard(session.store, key)
    click.echo(f"deleted {key}")


@command.command()
@click.argument("source")
@click.argument("target")
def copy(source: str, target: str) -> None:
    """Copy the store SOURCE to a new store TARGET: to move a cloud, to back it up, or to restore a backup.

    The cloud can be in use: the copy is of one revision. Agents that followed SOURCE refuse the copy, because it is another
    store: stop each agent, remove its snapshot file, and start it again with the new `--store`. Instances' traffic goes on. An
    interrupted copy cannot be opened; run the command again.

    \b
    netorch store copy /var/lib/netorch/netorch.db "etcd://10.0.0.1,10.0.0.2/netorch?ca=ca.pem&cert=own.pem&key=own.pem"
    netorch store copy "etcd://10.0.0.1/netorch?ca=ca.pem&cert=own.pem&key=own.pem" /backup/netorch-monday.db
    """
    from contextlib import closing

    from netorch.store import open_to_read, open_unfinished
    from netorch.store.copy import copy_store

    with closing(open_to_read(source)) as opened, closing(open_unfinished(target, source.partition("?")[0])) as unfinished:
        done = copy_store(opened, unfinished)
    click.echo(f"copied {done.records} records of revision {done.revision} and read each back")
