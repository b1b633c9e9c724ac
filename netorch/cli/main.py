"""The `netorch` command. Commands are imported when they are called, so that `--help` and completion are fast."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import click
from click.core import ParameterSource

from netorch import __version__
from netorch.cli import called
from netorch.cli.settings import default_of
from netorch.cli.words import COMMANDS, OUTSIDE, meant, meant_option, verb_first

if TYPE_CHECKING:
    from netorch.errors import NetorchError

WRONG_USAGE: Final = 64  # EX_USAGE of sysexits.h; click's own is 2, which netorch uses for a found difference

REST: Final = "netorch.rest"  # the command line after the command's name
WORDS: Final = "netorch.words"  # the whole command line


class LazyGroup(click.Group):
    """A group that imports its commands on demand."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        command: click.Command = importlib.import_module(f"netorch.cli.commands.{entry[0]}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_text) for name, (_, help_text) in COMMANDS.items()])

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep the words after the command's name unchanged: the command may run inside a lab."""
        _check_text(args, ctx)
        ctx.meta[WORDS] = list(args)
        rest = super().parse_args(ctx, args)
        ctx.meta[REST] = list(rest)
        return rest

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command for the first word, without importing all others to find it."""
        if args and args[0] not in COMMANDS:
            raise click.NoSuchCommand(args[0], ctx=ctx)
        return super().resolve_command(ctx, args)


def _check_text(arguments: list[str], context: click.Context) -> None:
    """Raise UsageError for a word that is not UTF-8. Words after `--` belong to other commands and are not checked."""
    own = arguments[: arguments.index("--")] if "--" in arguments else arguments
    wrong = next((word for word in own if not _is_text(word)), None)
    if wrong is not None:
        raise click.UsageError(f"{wrong!a} is not UTF-8; write names and paths in UTF-8", context)


def _is_text(word: str) -> bool:
    try:
        word.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_owner(context: click.Context, parameter: click.Parameter, owner: str | None) -> str | None:
    """Return the owner. An empty one, e.g. from an unset variable, must not make the user the operator."""
    if owner is not None:
        from netorch.model import rules

        if violation := rules.name(owner):
            raise click.BadParameter(f"{violation.what}; {violation.fix}", context, parameter)
    return owner


def _complete_lab(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    from netorch.cli.commands.lab import complete_name

    return complete_name(context, parameter, incomplete)


@click.group(cls=LazyGroup, context_settings={"auto_envvar_prefix": "NETORCH", "help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="netorch")
@click.option(
    "--store",
    metavar="URL",
    default=default_of("store"),
    help="The store: a path, sqlite:///PATH or 'etcd://HOST:PORT,.../NAME?ca=FILE&cert=FILE&key=FILE'. "
    "The port is 2379 and NAME is netorch if left out. Members on other machines need ca, cert and key.  "
    "[default: /var/lib/netorch/netorch.db]",
)
@click.option("--owner", metavar="NAME", callback=_check_owner, help="Act as this customer. Default: lists show all customers.")
@click.option("--lab", metavar="NAME", shell_complete=_complete_lab, help="Run the command inside a running lab.")
@click.pass_context
def cli(ctx: click.Context, store: str, owner: str | None, lab: str | None) -> None:
    """VPCs on plain Linux hosts.

    Each option also has an environment variable: NETORCH_STORE, NETORCH_OWNER, NETORCH_LAB. /etc/netorch/netorch.toml applies
    where neither is given (`netorch config show`).

    Exit codes: 0 done; 2 done, and a difference or a problem was found; 1 failed or refused; 64 wrong usage; 65 a wrong or
    missing file; 130 interrupted.
    """
    from netorch.cli.context import Session

    if os.environ.get("NO_COLOR"):
        ctx.color = False  # click ignores this variable: https://no-color.org
    if lab and ctx.invoked_subcommand not in OUTSIDE:
        given = ctx.get_parameter_source("store") is ParameterSource.COMMANDLINE  # a lab has its own store
        spelled = ctx.get_parameter_source("lab") is ParameterSource.COMMANDLINE
        with called.from_lab(lab if spelled else ""):
            code = _inside(lab, store if given else None, owner, [ctx.invoked_subcommand or "", *ctx.meta[REST]])
        ctx.exit(code)
    in_words = {
        name: ctx.params[name] for name in ("store", "owner") if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
    called.remember(store=in_words.get("store"), owner=in_words.get("owner"))
    ctx.obj = Session(store=store, owner=owner, words=["netorch", *ctx.meta[WORDS]])
    ctx.call_on_close(ctx.obj.close)


def _inside(lab: str, store: str | None, owner: str | None, command: list[str]) -> int:
    """Run a command in a lab's control context; return its exit code."""
    from netorch.lab import exec_in

    options = [*(["--store", store] if store else []), *(["--owner", owner] if owner else [])]
    code: int = exec_in(lab, None, ["netorch", *options, *command], reads_input=_reads_input(command))
    return code


def _reads_input(command: list[str]) -> bool:
    """Return whether a command reads a file from standard input."""
    pairs = pairwise(command)
    return any(word in ("-f-", "--file=-") for word in command) or any(
        option in ("-f", "--file") and value == "-" for option, value in pairs
    )


def main() -> None:
    """Run the command line. Every error becomes one clear text, or a line of JSON, and its documented exit code."""
    from netorch.cli import stdout
    from netorch.cli.screen import guard_streams
    from netorch.errors import NetorchError

    stdout.prepare()
    guard_streams()
    try:
        # The code that a command exited with, else its return value.
        result = cli.main(prog_name="netorch", standalone_mode=False)
        sys.exit(result if isinstance(result, int) else 0)
    except click.ClickException as error:
        sys.exit(_misused(error))
    except click.Abort as error:  # click raises it for a no to a question as well as for Ctrl-C
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C would interrupt the last message
        interrupted = isinstance(error.__context__, KeyboardInterrupt)
        click.echo("interrupted" if interrupted else "aborted; nothing was changed", err=True)
        sys.exit(130 if interrupted else 1)
    except KeyboardInterrupt:
        sys.exit(130)
    except NetorchError as error:
        sys.exit(_failed(str(error), error.exit_code, error))
    except UnicodeEncodeError as error:  # e.g. a directory or an environment variable
        sys.exit(_failed(f"{error.object!a} is not UTF-8; write names and paths in UTF-8", 1))


def _failed(text: str, exit_code: int, error: NetorchError | None = None) -> int:
    """Print an error on stderr in the requested format; return the exit code."""
    text = called.as_called(text)
    if called.wants_machine_format(sys.argv[1:]):
        from netorch.cli.errors import as_json

        click.echo(as_json(text, exit_code, error), err=True)
    else:
        click.echo(f"error: {text}", err=True)
    return exit_code


def _misused(error: click.ClickException) -> int:
    """Print an error about a wrong command line, with a suggestion; return the exit code."""
    exit_code = WRONG_USAGE if isinstance(error, click.UsageError) else 1
    if isinstance(error, click.NoSuchCommand | click.NoSuchOption) and error.ctx is not None:
        error = click.UsageError(error.message + _hint(error, error.ctx), error.ctx)
    if called.wants_machine_format(sys.argv[1:]):
        return _failed(error.format_message(), exit_code)
    error.show()
    return exit_code


def _hint(error: click.NoSuchCommand | click.NoSuchOption, context: click.Context) -> str:
    """Return a sentence with a suggestion, or "" if no command or option is similar."""
    command, root = context.command, context.find_root()
    if isinstance(error, click.NoSuchCommand):
        if not isinstance(command, click.Group):
            return ""
        inner = "" if context is root else _inner(error.command_name, command, context)
        hint = inner or meant(error.command_name, command.list_commands(context))
        if not hint and context is root:
            return verb_first(error.command_name)
    else:
        hint = meant_option(error.option_name, _options(context))
        if not hint and context is not root:
            hint = meant_option(error.option_name, _options(root))
            return f" Did you mean {hint}? It goes before the command." if hint else ""
    return f" Did you mean {hint}?" if hint else ""


def _inner(word: str, group: click.Group, context: click.Context) -> str:
    """Return the command of a nested group for a word, in quotes: `route add` for `add`; "" if there is none."""
    names = group.list_commands(context)
    inner = {name: found for name in names if isinstance(found := group.get_command(context, name), click.Group)}
    return next((repr(f"{name} {word}") for name, found in inner.items() if word in found.list_commands(context)), "")


def _options(context: click.Context) -> list[str]:
    return [name for parameter in context.command.get_params(context) for name in parameter.opts if name.startswith("-")]
