"""Checks of the flow logs of one VPC."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from netorch.model import flow_log
from netorch.model.check.notes import Notes, Where, path_of
from netorch.model.cloud import FlowLogDecl, InstanceDecl, VpcDecl
from netorch.model.rules import Violation, shown


def check_flow_logs(notes: Notes, vpc: VpcDecl, where: Where, default_instances: Sequence[InstanceDecl]) -> None:
    """Report errors in the flow logs of a VPC, its subnets and instances. `default_instances` are the top-level ones."""
    names: dict[str, Where] = {}
    for logs, here in _places(vpc, where, default_instances):
        said: dict[tuple[object, ...], Where] = {}
        for j, log in enumerate(logs):
            _check(notes, log, (*here, j), names, said)


def _places(vpc: VpcDecl, where: Where, default_instances: Sequence[InstanceDecl]) -> Iterator[tuple[list[FlowLogDecl], Where]]:
    if vpc.flow_logs:
        yield vpc.flow_logs, (*where, "flow_logs")
    for j, subnet in enumerate(vpc.subnets):
        if subnet.flow_logs:
            yield subnet.flow_logs, (*where, "subnets", j, "flow_logs")
    for instances, prefix in ((vpc.instances, where), (default_instances, ())):
        for j, instance in enumerate(instances):
            if instance.flow_logs:
                yield instance.flow_logs, (*prefix, "instances", j, "flow_logs")


def _check(notes: Notes, log: FlowLogDecl, where: Where, names: dict[str, Where], said: dict[tuple[object, ...], Where]) -> None:
    if violation := notes.names[log.name]:
        notes.add(violation, where, ("name",))
    elif (other := names.setdefault(log.name, where)) is not where:
        violation = Violation(f"{shown(log.name)} is also the name of {path_of(other)} in this VPC", "rename one")
        notes.add(violation, where, ("name",))
    fields = flow_log.parse_format(log.format) if log.format else flow_log.DEFAULT_FORMAT
    if isinstance(fields, Violation):
        notes.add(fields, where, ("format",))
    if wrong := flow_log.interval(log.interval):
        notes.add(wrong, where, ("interval",))
    elif (
        not isinstance(fields, Violation) and (other := said.setdefault((log.traffic, log.interval, fields), where)) is not where
    ):
        notes.add(Violation(f"the flow log records the same as {path_of(other)}", "remove one"), where, ("traffic",))
    if log.tags:
        notes.tags(log.tags, where)
