"""The common part of `plan`, `apply`, `diff` and `reach --diff`: read a file, plan, show a plan."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from netorch.cli.called import as_called
from netorch.cli.context import Session
from netorch.errors import NetorchError

if TYPE_CHECKING:
    from netorch.control.apply.changes import Change, CloudPlan, Difference
    from netorch.model.cloud import Cloud

_SHOWN: Final = 5  # notes of one kind
_DELETE: Final = {"vpc": "destroy", "instance": "instance terminate", "elastic-ip": "address release"}

SIGNS = {"add": "+", "change": "~", "move": ">", "replace": "-+", "delete": "-"}
COLOURS = {"add": "green", "change": "yellow", "move": "cyan", "replace": "magenta", "delete": "red"}

file_option = click.option(
    "-f",
    "--file",
    "path",
    type=click.Path(path_type=Path),
    default=Path("vpc.yaml"),
    show_default=True,
    help="The declared cloud; - is standard input.",
)


def read_cloud(session: Session, path: Path) -> Cloud:
    """Return the cloud that a file declares, for the existing hosts. Raises SpecError."""
    from netorch.control.actions.hosts import KnownHosts
    from netorch.spec import load_cloud

    session.creates = True  # the cloud may not exist yet; only `apply` writes
    return load_cloud(path, hosts=KnownHosts(session.store))


def make_plan(session: Session, path: Path, cloud: Cloud | None = None) -> CloudPlan:
    """Return the plan to make the cloud as a file declares it. `cloud` is the parsed file. Raises SpecError, ApiError."""
    from netorch.control.apply.cloud import plan_cloud

    session.creates = True
    declared = read_cloud(session, path) if cloud is None else cloud
    return plan_cloud(
        session.store,
        session.caller,
        declared,
        source=source_path(path),
        is_there=os.path.exists,
        place_of=places_of(path, declared),
        read_file=files_beside(path),
    )


def places_of(path: Path, cloud: Cloud) -> Callable[[str, str, str], str]:
    """Return a function that shows where a file names the host of an instance: (owner, VPC, instance) -> place."""
    from netorch.model.cloud import DEFAULT_VPC_NAME
    from netorch.model.vpc import DEFAULT_OWNER
    from netorch.spec.load import places_in

    shown = places_in(str(path))

    def place_of(owner: str, vpc: str, instance: str) -> str:
        found = [(f"$.vpcs[{i}]", decl.instances) for i, decl in enumerate(cloud.vpcs) if (decl.owner, decl.name) == (owner, vpc)]
        found += [("$", cloud.instances)] if (owner, vpc) == (DEFAULT_OWNER, DEFAULT_VPC_NAME) else []
        fields = (f"{at}.instances[{j}].host" for at, decls in found for j, decl in enumerate(decls) if decl.name == instance)
        field = next(fields, "")
        return shown(field) if field else ""

    return place_of


def files_beside(path: Path) -> Callable[[str], bytes]:
    """Return a function that reads the files named in a file. Relative names start in its directory."""
    from netorch.spec.load import read_file

    return lambda name: read_file(str(path.parent / name))


def save_plan(session: Session, plan: CloudPlan, path: Path, cloud: Cloud, out: Path) -> None:
    """Write a plan to a file that only its owner can read: it has the whole desired cloud. Raises NetorchError."""
    from netorch.control.apply.saved import save
    from netorch.spec.export import to_yaml

    data = save(session.store, session.caller, plan, source=source_path(path), cloud=to_yaml(cloud))
    try:
        with open(out, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(data)
    except OSError as error:
        raise NetorchError(f"{out}: the plan cannot be written: {error.strerror}; give another file") from error


def load_plan(session: Session, file: Path) -> CloudPlan:
    """Return a saved plan, if the cloud has not changed since. Raises SpecError, ApiError."""
    from netorch.control.actions.hosts import KnownHosts
    from netorch.control.apply.saved import load, plan_again
    from netorch.spec import load_cloud
    from netorch.spec.load import read_file

    session.creates = True
    saved = load(str(file), read_file(str(file)))
    cloud = load_cloud(str(file), saved.cloud, hosts=KnownHosts(session.store))
    return plan_again(session.store, session.caller, saved, cloud, os.path.exists, files_beside(Path(saved.source)))


def source_path(path: Path) -> str:
    """Return the identity of a file without a name: its path, or "" for a pipe, whose path is not stable."""
    return str(path.resolve()) if path.is_file() else ""


_KIND_WIDTH: Final = 14  # of most kinds of resources


def show_plan(plan: CloudPlan, *, whole: bool = True) -> None:
    """Print each change and its scope; with `whole` also the omitted objects, and whether `apply` will refuse the plan."""
    width = max((len(change.kind) for change in plan.changes), default=0)
    for change in plan.changes:
        click.echo("  " + _change_text(change, max(width, _KIND_WIDTH)))
    if plan.hosts:
        click.echo(f"\nhosts touched: {' '.join(plan.hosts)}")
    own = {"/".join(part for part in (c.owner, c.vpc or c.name) if part) for c in plan.changes if c.vpc or c.kind == "vpc"}
    vpcs = sorted(own | {c.peer for c in plan.changes if c.peer})
    if vpcs:
        click.echo(f"blast radius: {len(vpcs)} VPCs: {_short(vpcs)}" if len(vpcs) > 3 else _only(vpcs))
    for note in (*plan.notes, *(_left_notes(plan) if whole else ())):
        click.echo(f"note: {as_called(note)}")
    for stuck in plan.stuck:
        click.echo(click.style(f"stuck: VPC {stuck.path} stays unchanged:  {as_called(str(stuck.error))}", fg="red"))
    if whole and plan.mass_deletion():
        click.echo(click.style(f"apply will refuse this: {plan.mass_deletion()}", fg="red"))
    click.echo(summary(plan))


def _left_notes(plan: CloudPlan) -> Iterator[str]:
    """Yield notes about objects that the file does not own and that stay unchanged."""
    if not plan.source:
        yield "netorch cannot recognise this file later; unless it has a `name:`, it never deletes anything"
    lost = [left for left in plan.left if left.lost and not left.declared]
    for left in lost[:_SHOWN]:
        delete = f"netorch {_DELETE[left.kind]} {left.path}"
        why = f"was created by {left.source}, which no longer exists"
        yield f"{left.kind} {left.path} {why}; add it to this file, or delete it: {delete}"
    if len(lost) > _SHOWN:
        yield f"{len(lost) - _SHOWN} more were created by files that no longer exist"
    for left in [left for left in plan.left if left.declared][:_SHOWN]:
        yield f"{left.kind} {left.path} belongs to {left.source}; this file declares the same, and does not own it"
    others = sum(left.kind == "vpc" and not left.lost and not left.declared for left in plan.left)
    if others:
        yield f"left alone: {others} VPC{'s' if others > 1 else ''} of other files and of commands"


def summary(plan: CloudPlan) -> str:
    """Return one line with the numbers of changes."""
    if not plan.changes:
        return "No changes: the cloud matches the file."
    counted = {action.value: count for action, count in plan.counts().items() if count}
    return "Plan: " + ", ".join(f"{count} to {action}" for action, count in counted.items()) + "."


def plan_value(plan: CloudPlan) -> dict[str, Any]:
    """Return a plan for json and yaml."""
    import msgspec

    changes = [{**msgspec.to_builtins(change), "action": change.action.value, "path": change.path} for change in plan.changes]
    counts = {action.value: count for action, count in plan.counts().items()}
    return {
        "revision": plan.revision,
        "changes": changes,
        "hosts": list(plan.hosts),
        "counts": counts,
        "notes": list(plan.notes),
        "refused": plan.mass_deletion(),
        "stuck": [{"vpc": stuck.path, "error": str(stuck.error)} for stuck in plan.stuck],
        "left": msgspec.to_builtins(plan.left),
    }


def stuck_error(plan: CloudPlan) -> NetorchError:
    """Return the error for a plan that does not cover the whole file."""
    return NetorchError("\n".join(f"VPC {stuck.path} stays unchanged:  {stuck.error}" for stuck in plan.stuck))


def _only(vpcs: list[str]) -> str:
    return f"blast radius: {' '.join(vpcs)} only"


def _short(names: list[str]) -> str:
    return " ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _change_text(change: Change, width: int) -> str:
    action = change.action.value
    details = [_difference(item, action) for item in change.differences if item.before != item.after and not item.member]
    if change.breaks:
        details.append(f"({change.breaks})")
    sign = click.style(f"{SIGNS[action]:<2}", fg=COLOURS[action])
    line = f"{sign} {change.kind:<{width}} {change.path:<28} {'  '.join(details)}".rstrip()
    return "\n".join([line, *(_member(item) for item in change.differences if item.member)])


def _difference(item: Difference, action: str) -> str:
    if action == "delete":  # the sign already shows the deletion
        return f"{item.field} {item.before}"
    if item.before and item.after:
        return f"{item.field} {item.before} -> {item.after}"
    return f"{item.field} {item.after}" if item.after else f"{item.field} {item.before} -> none"


def _member(item: Difference) -> str:
    sign, colour = ("+", COLOURS["add"]) if item.after else ("-", COLOURS["delete"])
    return f"       {item.field} {click.style(sign, fg=colour)} {item.after or item.before}"
