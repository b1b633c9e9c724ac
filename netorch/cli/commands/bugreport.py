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
    """Write a file for who looks for a fault: this host's kernel, agent, log and records, without secrets.

    Run it as root on the host. What cannot be had is listed in the file's missing.txt. Look into the file before you send it: it
    has the names, addresses and rules of the VPCs that the host carries, and of others what `netorch status` and the last lines
    of `netorch history` say.

    Left out are keys of tunnels and sessions, user data of instances, and what else is called a secret.
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
        f"{path}: written, for its owner only" + (f"; {len(missing)} pieces are missing, see missing.txt" if missing else "")
    )
