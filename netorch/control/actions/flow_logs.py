"""Flow logs. A flow log belongs to a VPC, a subnet or an interface, and is deleted with it; the written lines stay."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from netorch.control.base import checks
from netorch.control.base.named import add_name, drop_name
from netorch.control.base.quotas import Quotas, check_room, quotas_of
from netorch.control.base.writes import Writes, attempt, guard_structure
from netorch.errors import ApiError
from netorch.model import flow_log
from netorch.model.eni import NetworkInterface
from netorch.model.flow_log import FlowLog, Traffic
from netorch.model.ids import is_id
from netorch.model.rules import Violation
from netorch.model.vpc import Subnet, Tags, Vpc
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.errors import duplicate_name, invalid
from netorch.records.read import Stored, read, read_all, read_vpc
from netorch.store.base import Store


class FlowLogInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A flow log with its VPC."""

    log: FlowLog
    vpc: Vpc


def create_flow_log(
    store: Store,
    caller: Caller,
    resource: str,
    *,
    name: str,
    traffic: Traffic = Traffic.ALL,
    interval_s: int = flow_log.INTERVAL_LAST_S,
    log_format: str = "",
    tags: Tags | None = None,
) -> FlowLog:
    """Create a flow log of a VPC, subnet or interface and return it; without a format it has EC2's default fields.

    Raises:
      ApiError: the NotFound of the resource's kind, FlowLogAlreadyExists for the same traffic in the same format,
        FlowLogsLimitExceeded, InvalidParameterValue for a bad or taken name, interval or format.
    """

    def decide() -> tuple[Writes, FlowLog]:
        stored = _vpc_of(store, caller, resource)
        vpc = stored.record
        where = f"flow log {name!r}"
        log = FlowLog(
            id=caller.new_id("fl", vpc.vni),
            vni=vpc.vni,
            name=checks.name(where, name),
            resource=resource,
            traffic=traffic,
            interval_s=_interval(where, interval_s),
            format=log_fields(where, log_format),
            tags=checks.tags(where, tags),
        )
        others = [other.record for other in read_all(store, FlowLog, vpc.vni).values()]
        if any(other.name == name for other in others):
            raise duplicate_name("fl", name, "the VPC")
        fits_beside(log, others, quotas_of(store, vpc.owner))
        writes = Writes()
        guard_structure(writes, stored)
        if is_id(resource, "eni"):  # the interface's deletion must detect the new flow log
            _, eni = read(store, caller, NetworkInterface, resource)
            writes.change(keys.resource(resource), eni.mod_revision, eni.record)
        writes.create(keys.resource(log.id), log)
        add_name(writes, vpc, log)
        return writes, log

    return attempt(store, decide)


def _vpc_of(store: Store, caller: Caller, resource: str) -> Stored[Vpc]:
    """Return the VPC of the resource to log. Raises ApiError."""
    if is_id(resource, "subnet"):
        return read(store, caller, Subnet, resource)[0]
    if is_id(resource, "eni"):
        return read(store, caller, NetworkInterface, resource)[0]
    return read_vpc(store, caller, resource)


def _interval(where: str, seconds: int) -> int:
    if violation := flow_log.interval(seconds):
        raise invalid(where, violation.what, violation.fix)
    return seconds


def log_fields(where: str, text: str) -> tuple[str, ...]:
    """Return the fields of a format; without a format EC2's default fields. Raises ApiError: InvalidParameterValue."""
    fields = flow_log.parse_format(text) if text else flow_log.DEFAULT_FORMAT
    if isinstance(fields, Violation):
        raise invalid(where, fields.what, fields.fix)
    return fields


def fits_beside(log: FlowLog, others: Iterable[FlowLog], quotas: Quotas) -> None:
    """Refuse a log that equals another one of the same resource, or exceeds the quota. Raises ApiError."""
    others = [other for other in others if other.resource == log.resource]
    for other in others:
        if (other.traffic, other.format, other.interval_s) == (log.traffic, log.format, log.interval_s):
            text = f"flow log {log.name!r}: {other.name} ({other.id}) already records the same of {log.resource}; use that one"
            raise ApiError("FlowLogAlreadyExists", text)
    check_room(quotas, "FlowLogsLimitExceeded", log.resource, len(others) + 1)


def delete_flow_log(store: Store, caller: Caller, log_id: str) -> None:
    """Delete a flow log; its written lines stay. Raises ApiError: InvalidFlowLogId.NotFound."""

    def decide() -> tuple[Writes, None]:
        vpc, log = read(store, caller, FlowLog, log_id)
        writes = Writes()
        writes.delete(keys.resource(log_id), log.mod_revision)
        drop_name(writes, vpc.record, log.record)
        return writes, None

    attempt(store, decide)


def describe_flow_logs(store: Store, caller: Caller, vpc_id: str) -> list[FlowLogInfo]:
    """Return a VPC's flow logs by name. Raises ApiError: InvalidVpcID.NotFound."""
    vpc = read_vpc(store, caller, vpc_id).record
    logs = sorted((stored.record for stored in read_all(store, FlowLog, vpc.vni).values()), key=lambda log: log.name)
    return [FlowLogInfo(log=log, vpc=vpc) for log in logs]


def describe_flow_log(store: Store, caller: Caller, log_id: str) -> FlowLogInfo:
    """Return one flow log. Raises ApiError: InvalidFlowLogId.NotFound."""
    vpc, log = read(store, caller, FlowLog, log_id)
    return FlowLogInfo(log=log.record, vpc=vpc.record)
