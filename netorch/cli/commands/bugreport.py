"""`netorch bugreport`."""

from __future__ import annotations

import time
from pathlib import Path

import click

from netorch.cli.context import Session, host_option, pass_session
from netorch.cli.settings import SETTINGS, machine


@click.command()
@host_option
@click.option("-o", "--output", "target", type=click.Path(path_type=Path), help="The file.  [default: netorch-HOST-TIME.tar.gz]")
@pass_session
def command(session: Session, host: str, target: Path | None) -> None:
    """Write a file for fault analysis: this host's kernel, agent, log and records, without secrets.

    Run it as root on the host. missing.txt in the file lists what could not be collected. Read the file before you send it: it
    has the names, addresses and rules of the VPCs that the host carries. Of other VPCs it has what `netorch status` and the last
    lines of `netorch history` show.

    The file leaves out keys of tunnels and sessions, user data of instances, and every other secret.
    """
    from netorch.diagnose.bugreport.collect import pieces, write
    from netorch.errors import NetorchError

    session.operator_only("a report")
    folder = f"netorch-{host}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
    path = target or Path(f"{folder}.tar.gz")
    settings = {name: machine().find(name).value for name in SETTINGS} | {"store": session.store_url}
    try:
        missing = write(path, folder, pieces(host, settings, lambda: session.store))
    except OSError as error:
        raise NetorchError(f"{path}: {error.strerror}; give another path: --output") from error
    click.echo(
        f"{path}: written, readable only by its owner"
        + (f"; {len(missing)} parts are missing, see missing.txt" if missing else "")
    )
