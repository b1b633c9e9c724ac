"""Questions to the user at the terminal, independent of the output's destination."""

from __future__ import annotations

import sys

import click

from netorch.errors import NetorchError


def confirm(question: str, *, from_stdin: bool = False) -> None:
    """Ask for confirmation before a loss, at a terminal only. Raise Abort for a no.

    The question goes to stderr, because standard output may be a pipe. The answer comes from standard input, or from
    the terminal itself if standard input is a file that the command reads.
    """
    if not (sys.stderr.isatty() if from_stdin else sys.stdin is not None and sys.stdin.isatty()):
        return
    click.echo(f"{question} [y/N]: ", nl=False, err=True)
    if _answer(from_stdin).strip().lower() not in ("y", "yes"):
        raise click.Abort


def _answer(from_stdin: bool) -> str:
    if not from_stdin:
        return sys.stdin.readline()
    try:
        with open("/dev/tty") as terminal:
            return terminal.readline()
    except OSError as error:
        raise NetorchError(f"cannot ask for confirmation ({error.strerror}); confirm with --yes") from error
