"""The `netorch` command. Commands are imported when they are called, so that `--help` and completion answer at once."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from typing import Final

import click
from click.core import ParameterSource

from netorch import __version__

# name -> (module in netorch.cli, one line of help); the module holds a click command called `command`.
COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "plan": ("plan", "Show what applying a file would change."),
    "apply": ("apply", "Make the cloud what a file says."),
    "destroy": ("destroy", "Delete VPCs with everything in them, or all that a file made."),
    "diff": ("diff", "Show how the cloud differs from a file, as text."),
    "export": ("export", "Write the cloud as a file that `apply` takes."),
    "schema": ("schema", "Print the JSON Schema of vpc.yaml, for editors."),
    "vpc": ("vpc", "Create, list, show and delete VPCs."),
    "subnet": ("subnet", "Create, list, show and delete subnets."),
    "route-table": ("route_table", "Create, list, show and delete route tables."),
    "sg": ("sg", "Create, list, show and delete security groups and their rules."),
    "nacl": ("nacl", "Create, list, show and delete network ACLs and their entries."),
    "prefix-list": ("prefix_list", "Create, list, show, change and delete prefix lists."),
    "eni": ("eni", "Create, list, show and delete network interfaces."),
    "instance": ("instance", "Run, move, list, show and terminate instances."),
    "host": ("host", "Create, list, show and delete hosts."),
    "map": ("map", "Look into the mapping service: (VNI, address) -> host."),
    "flow-log": ("flow_log", "Create, list, show, delete and read flow logs."),
    "flows": ("flows", "Watch flows begin and packets be refused, with the reason."),
    "status": ("status", "Show hosts, agents, dropped packets and what is wrong."),
    "drift": ("drift", "Show how this host's kernel differs from what it should hold."),
    "ping": ("ping", "Ping from one instance to another, layer by layer."),
    "trace": ("trace", "Follow a packet: through model and kernels, and for real."),
    "reach": ("reach", "Show who reaches whom, and what a file would open or close."),
    "check": ("check", "Hold packets to a file of expectations: who reaches whom."),
    "doctor": ("doctor", "Say what this machine lacks, and what to do."),
    "store": ("store", "Find records that cannot be read, and mend them."),
    "agent": ("agent", "Run this host's agent."),
    "lab": ("lab", "Run a containerlab topology on this machine."),
    "completion": ("completion", "Print the shell completion script."),
}

WRONG_USAGE: Final = 64  # EX_USAGE of sysexits.h; click's own is 2, which here means that a command has found a difference

# What is never carried out inside a lab: it is about labs, or about the command line itself.
OUTSIDE: Final = frozenset({"lab", "schema", "completion"})


REST: Final = "netorch.rest"  # of the command line behind the command's name


class LazyGroup(click.Group):
    """A group whose commands are imported when they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        command: click.Command = importlib.import_module(f"netorch.cli.{entry[0]}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_text) for name, (_, help_text) in COMMANDS.items()])

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep what follows the command's name, as it was written: it may be carried out inside a lab."""
        rest = super().parse_args(ctx, args)
        ctx.meta[REST] = list(rest)
        return rest

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS:
            from difflib import get_close_matches

            close = get_close_matches(args[0], COMMANDS, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise click.UsageError(f"No such command {args[0]!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)


def _check_owner(context: click.Context, parameter: click.Parameter, owner: str | None) -> str | None:
    """Return the owner; an empty one, of a variable that is not set, must not make its user the operator."""
    if owner is not None:
        from netorch.model import rules

        if flaw := rules.name(owner):
            raise click.BadParameter(f"{flaw.what}; {flaw.fix}", context, parameter)
    return owner


def _complete_lab(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    from netorch.cli.lab import complete_name

    return complete_name(context, parameter, incomplete)


@click.group(cls=LazyGroup, context_settings={"auto_envvar_prefix": "NETORCH", "help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="netorch")
@click.option("--store", metavar="URL", help="The store: a path or sqlite:///PATH.  [default: /var/lib/netorch/netorch.db]")
@click.option(
    "--owner", metavar="NAME", callback=_check_owner, help="Act as this customer; lists show everybody's when left out."
)
@click.option("--lab", metavar="NAME", shell_complete=_complete_lab, help="Carry the command out inside a running lab.")
@click.pass_context
def cli(ctx: click.Context, store: str | None, owner: str | None, lab: str | None) -> None:
    """VPCs on plain Linux hosts.

    Each option above has an environment variable, too: NETORCH_STORE, NETORCH_OWNER, NETORCH_LAB.

    Exit codes: 0 done; 2 done, and a difference or a problem was found; 1 failed or refused; 64 wrong usage; 65 a wrong or
    missing file; 130 interrupted.
    """
    from netorch.cli.context import Session

    if os.environ.get("NO_COLOR"):
        ctx.color = False  # click itself does not look: https://no-color.org
    if lab and ctx.invoked_subcommand not in OUTSIDE:
        given = ctx.get_parameter_source("store") is ParameterSource.COMMANDLINE  # a lab's store is its own
        ctx.exit(_inside(lab, store if given else None, owner, [ctx.invoked_subcommand or "", *ctx.meta[REST]]))
    ctx.obj = Session(store=store, owner=owner)
    ctx.call_on_close(ctx.obj.close)


def _inside(lab: str, store: str | None, owner: str | None, command: list[str]) -> int:
    """Carry a command out in a lab's control context; return its exit code."""
    from netorch.lab import exec_in

    options = [*(["--store", store] if store else []), *(["--owner", owner] if owner else [])]
    code: int = exec_in(lab, None, ["netorch", *options, *command])
    return code


def main() -> None:
    """Run the command line; every error that is ours becomes one clear text and its documented exit code."""
    from netorch.cli.screen import guard_streams
    from netorch.errors import NetorchError

    guard_streams()
    try:
        result = cli.main(
            prog_name="netorch", standalone_mode=False
        )  # the code that a command has left with, else what it returned
        sys.exit(result if isinstance(result, int) else 0)
    except click.ClickException as error:
        error.show()
        sys.exit(WRONG_USAGE if isinstance(error, click.UsageError) else 1)
    except click.Abort as error:  # click's own, for a question that was answered with no as well as for Ctrl-C
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C would interrupt the farewell to the first
        interrupted = isinstance(error.__context__, KeyboardInterrupt)
        click.echo("interrupted" if interrupted else "aborted; nothing was changed", err=True)
        sys.exit(130 if interrupted else 1)
    except KeyboardInterrupt:
        sys.exit(130)
    except NetorchError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader of our output has gone; that is its right. Python must not complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
