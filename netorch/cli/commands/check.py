"""`netorch check`: expectations against packets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from netorch.cli.context import Session, pass_session
from netorch.cli.output import output_option, show_value

if TYPE_CHECKING:
    from netorch.lab.services import Outcome


@click.command()
@click.option(
    "-f",
    "--file",
    "path",
    type=click.Path(path_type=Path),
    default=Path("expect.yaml"),
    show_default=True,
    help="Who reaches whom.",
)
@click.option("--timeout", type=float, default=5.0, show_default=True, metavar="SECONDS")
@output_option
@pass_session
@click.pass_context
def command(context: click.Context, session: Session, path: Path, timeout: float, output: str) -> None:
    """Ping from every instance to every other, try services, and compare the results with a file of expectations.

    Run it where all instances can be reached, e.g. in a lab. Exit codes: 0 everything is as expected, 2 something is not.
    """
    from netorch.lab.expect import check, load_expectations

    session.operator_only("check")
    verdicts, outcomes = check(load_expectations(path), session.inventory(), timeout)
    wrong = [verdict for verdict in verdicts if not verdict.ok]
    failed = [outcome for outcome in outcomes if not outcome.ok]
    if output != "table":
        rows: list[dict[str, object]] = [
            {
                "source": v.echo.source,
                "destination": v.echo.destination,
                "address": v.echo.address,
                "expected": v.echo.expected,
                "observed": v.observed,
                "heard_by": list(v.heard_by),
            }
            for v in verdicts
        ]
        rows += [_flow_row(outcome) for outcome in outcomes]
        show_value(rows, output)
    else:
        _show_matrix([(v.echo.source, v.echo.destination, v.echo.address, v.echo.expected, v.observed) for v in verdicts])
        for verdict in wrong:
            where = f"{verdict.echo.source} -> {verdict.echo.destination} {verdict.echo.address}"
            click.echo(click.style(f"not as expected: {where}: {verdict.text}", fg="red"))
        click.echo(
            f"{len(verdicts) - len(wrong)} of {len(verdicts)} echoes as expected (+ reached, . did not, ! not as expected)"
        )
        for outcome in outcomes:
            _show_flow(outcome)
        if outcomes:
            click.echo(f"{len(outcomes) - len(failed)} of {len(outcomes)} flows as expected")
    context.exit(2 if wrong or failed else 0)


def _flow_row(outcome: Outcome) -> dict[str, object]:
    flow = outcome.flow
    return {
        "source": flow.source,
        "destination": flow.destination,
        "address": outcome.address,
        "service": flow.service,
        "expected": flow.state.value == "open",
        "observed": outcome.observed,
    }


def _show_flow(outcome: Outcome) -> None:
    flow = outcome.flow
    said = "open" if outcome.observed else "closed"
    whom = " ".join(filter(None, (flow.destination, outcome.address)))
    text = f"{flow.source} -> {whom} {flow.service}: {said}"
    click.echo(text if outcome.ok else click.style(f"not as expected: {text}", fg="red"))


def _show_matrix(cells: list[tuple[str, str, str, bool, bool]]) -> None:
    """Print sources as rows, destinations as columns; a cell has a sign for each address that was tried."""
    sources = list(dict.fromkeys(source for source, *_ in cells))
    strangers = list(dict.fromkeys(address for _, target, address, *_ in cells if not target))
    signs: dict[tuple[str, str], str] = {}
    for source, target, address, expected, observed in cells:
        sign = "!" if expected != observed else "+" if observed else "."
        column = target or address
        signs[source, column] = signs.get((source, column), "") + sign
    columns = sources + strangers
    width = max(len(name) for name in columns)
    click.echo(f"{'from / to':<{width + 4}}  " + " ".join(f"{number:>3}" for number in range(1, len(columns) + 1)))
    for number, source in enumerate(columns, 1):
        row = " ".join(f"{signs.get((source, column), ''):>3}" for column in columns) if source in sources else ""
        click.echo(f"{number:>2}  {source:<{width}}  {row}".rstrip())
