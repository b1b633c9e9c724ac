"""Asking whoever sits at the terminal, wherever the output goes."""

from __future__ import annotations

import sys

import click

from netorch.errors import NetorchError


def confirm(question: str, *, from_stdin: bool = False) -> None:
    """Ask before something is lost, at a terminal only; raise Abort for a no.

    The question stands on stderr, as standard output may be a pipe. The answer comes from standard input, or from the terminal
    itself where standard input is a file that the command reads.
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
        raise NetorchError(f"nobody can be asked ({error.strerror}); say --yes if it is meant") from error
