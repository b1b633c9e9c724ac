"""What `plan`, `apply` and `diff` have in common: reading a file, planning, showing a plan."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from netorch.cli.context import Session

if TYPE_CHECKING:
    from netorch.control.changes import Change, CloudPlan, Difference

SIGNS = {"add": "+", "change": "~", "move": ">", "replace": "-+", "delete": "-"}
COLOURS = {"add": "green", "change": "yellow", "move": "cyan", "replace": "magenta", "delete": "red"}

file_option = click.option(
    "-f",
    "--file",
    "path",
    type=click.Path(path_type=Path),
    default=Path("vpc.yaml"),
    show_default=True,
    help="The declared cloud.",
)


def make_plan(session: Session, path: Path) -> CloudPlan:
    """Return what would make the cloud as the file says. Raises SpecError, ApiError."""
    from netorch.control.cloud import plan_cloud
    from netorch.spec import load_cloud

    return plan_cloud(session.store, session.caller, load_cloud(path), source=str(path.resolve()))


def show_plan(plan: CloudPlan) -> None:
    """Print each change, and how far the change reaches."""
    for change in plan.changes:
        click.echo("  " + _change_text(change))
    if plan.hosts:
        click.echo(f"\nhosts touched: {' '.join(plan.hosts)}")
    vpcs = sorted({"/".join(part for part in (c.owner, c.vpc or c.name) if part) for c in plan.changes if c.kind != "host"})
    if vpcs:
        click.echo(
            f"blast radius: {len(vpcs)} of {plan.existing['vpc']} existing VPCs: {_short(vpcs)}" if len(vpcs) > 3 else _only(vpcs)
        )
    for note in plan.notes:
        click.echo(f"note: {note}")
    click.echo(summary(plan))


def summary(plan: CloudPlan) -> str:
    """Return one line that counts the changes."""
    if not plan.changes:
        return "No changes: the cloud is as the file says."
    counted = {action.value: count for action, count in plan.counts().items() if count}
    return "Plan: " + ", ".join(f"{count} to {action}" for action, count in counted.items()) + "."


def plan_value(plan: CloudPlan) -> dict[str, Any]:
    """Return a plan as json and yaml show it."""
    import msgspec

    changes = [{**msgspec.to_builtins(change), "action": change.action.value, "path": change.path} for change in plan.changes]
    counts = {action.value: count for action, count in plan.counts().items()}
    return {"revision": plan.revision, "changes": changes, "hosts": list(plan.hosts), "counts": counts, "notes": list(plan.notes)}


def _only(vpcs: list[str]) -> str:
    return f"blast radius: {' '.join(vpcs)} only"


def _short(names: list[str]) -> str:
    return " ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _change_text(change: Change) -> str:
    action = change.action.value
    details = [_difference(item, action) for item in change.differences if item.before != item.after and not item.member]
    if change.breaks:
        details.append(f"({change.breaks})")
    sign = click.style(f"{SIGNS[action]:<2}", fg=COLOURS[action])
    line = f"{sign} {change.kind:<14} {change.path:<28} {'  '.join(details)}".rstrip()
    return "\n".join([line, *(_member(item) for item in change.differences if item.member)])


def _difference(item: Difference, action: str) -> str:
    if action == "delete":  # the sign says that it goes
        return f"{item.field} {item.before}"
    if item.before and item.after:
        return f"{item.field} {item.before} -> {item.after}"
    return f"{item.field} {item.after}" if item.after else f"{item.field} {item.before} -> none"


def _member(item: Difference) -> str:
    sign, colour = ("+", COLOURS["add"]) if item.after else ("-", COLOURS["delete"])
    return f"       {item.field} {click.style(sign, fg=colour)} {item.after or item.before}"
