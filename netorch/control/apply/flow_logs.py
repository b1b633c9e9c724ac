"""Plan the flow logs of one VPC as declared, after all the resources that they may record.

Only the tags of a flow log can change. A flow log with other differences is recreated, with a new id and new files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from netorch.control.actions.flow_logs import fits_beside, log_fields
from netorch.control.apply.builder import PlanBuilder, carriers
from netorch.control.apply.changes import Action, Change, differences
from netorch.control.base.named import add_name, drop_name
from netorch.control.base.writes import ABSENT, guard_structure
from netorch.model import flow_log
from netorch.model.cloud import FlowLogDecl, VpcDecl
from netorch.model.eni import NetworkInterface, primary_eni_id
from netorch.model.flow_log import FlowLog
from netorch.model.vpc import Subnet
from netorch.records import keys
from netorch.records.errors import duplicate_name
from netorch.records.read import Stored
from netorch.records.vpc import VpcRecords


class FlowLogPlanner:
    """Plans one VPC's flow logs."""

    def __init__(self, builder: PlanBuilder, decl: VpcDecl, records: VpcRecords) -> None:
        self._builder = builder
        self._decl = decl
        self._records = records
        self._stored = {stored.record.name: stored for stored in records.of(FlowLog).values()}
        self._places = {records.vpc.record.id: "the VPC"} | {
            subnet_id: f"subnet {stored.record.name}" for subnet_id, stored in records.of(Subnet).items()
        }

    def plan(self, subnets: Mapping[str, Subnet], interfaces: Mapping[str, str]) -> None:
        """Add all flow logs; `subnets` and the `interfaces` of instances are by name, after the plan.

        Flow logs of interfaces that a file cannot name are left alone.

        Raises:
          ApiError: InvalidParameterValue for the name of such a flow log, FlowLogsLimitExceeded.
        """
        self._places |= {subnet.id: f"subnet {name}" for name, subnet in subnets.items()}
        self._places |= {eni_id: f"instance {name}" for name, eni_id in interfaces.items()}
        declared = list(self._declared(subnets, interfaces))
        names = {decl.name for _, decl in declared}
        beside = {name: stored.record for name, stored in self._stored.items() if self._is_of_another(stored.record)}
        for name, stored in sorted(self._stored.items()):
            if name not in names and name not in beside:
                key = keys.resource(stored.record.id)
                writes = self._builder.step()
                writes.delete(key, stored.mod_revision)
                drop_name(writes, self._records.vpc.record, stored.record)
                self._note(Action.DELETE, stored.record, None)
        quotas = self._builder.quotas_of(self._decl.owner)
        for resource, decl in declared:
            if decl.name in beside:
                raise duplicate_name("fl", decl.name, "the VPC")
            wanted = self._wanted(resource, decl)
            fits_beside(wanted, beside.values(), quotas)
            beside[wanted.name] = wanted
            self._put(self._stored.get(decl.name), wanted)

    def _declared(self, subnets: Mapping[str, Subnet], interfaces: Mapping[str, str]) -> Iterator[tuple[str, FlowLogDecl]]:
        """Yield the declared flow logs with the ids of their resources."""
        for decl in self._decl.flow_logs:
            yield self._records.vpc.record.id, decl
        for subnet in self._decl.subnets:
            for decl in subnet.flow_logs:
                yield subnets[subnet.name].id, decl
        for instance in self._decl.instances:
            for decl in instance.flow_logs:
                yield interfaces[instance.name], decl

    def _is_of_another(self, log: FlowLog) -> bool:
        """Return whether a flow log records an interface that a file cannot name: any but the primary one of an instance."""
        eni = self._records.of(NetworkInterface).get(log.resource)
        return eni is not None and (not eni.record.instance or eni.record.id != primary_eni_id(eni.record.instance))

    def _wanted(self, resource: str, decl: FlowLogDecl) -> FlowLog:
        """Return a flow log as declared: with the stored one's id if only the tags differ."""
        wanted = FlowLog(
            id="",
            vni=self._records.vni,
            name=decl.name,
            resource=resource,
            traffic=decl.traffic.traffic,
            interval_s=decl.interval,
            format=log_fields(f"flow log {decl.name!r}", decl.format),
            tags=decl.tags,
        )
        stored = self._stored.get(decl.name)
        if stored is not None and msgspec.structs.replace(stored.record, id="", tags=decl.tags) == wanted:
            return msgspec.structs.replace(wanted, id=stored.record.id)
        return msgspec.structs.replace(wanted, id=self._builder.caller.new_id("fl", wanted.vni))

    def _put(self, stored: Stored[FlowLog] | None, wanted: FlowLog) -> None:
        if stored is not None and stored.record == wanted:
            return
        vpc = self._records.vpc
        writes = self._builder.step()
        guard_structure(writes, vpc)
        stays = stored is not None and stored.record.id == wanted.id
        if stored is not None and not stays:
            writes.delete(keys.resource(stored.record.id), stored.mod_revision)
            drop_name(writes, vpc.record, stored.record)
        writes.change(keys.resource(wanted.id), stored.mod_revision if stored is not None and stays else ABSENT, wanted)
        if not stays:
            add_name(writes, vpc.record, wanted)
        action = Action.ADD if stored is None else Action.CHANGE if stays else Action.REPLACE
        self._note(action, stored.record if stored is not None else None, wanted)

    def _note(self, action: Action, before: FlowLog | None, after: FlowLog | None) -> None:
        log = after or before
        assert log is not None
        sides = (self._words(before), self._words(after))
        fields = sides[0] if after is not None else ("of",)  # for a deletion, the resource is enough
        change = Change(
            action=action,
            kind="flow-log",
            owner=self._decl.owner,
            vpc=self._decl.name,
            name=log.name,
            resource_id=before.id if before is not None else "",
            differences=differences(**{field: (sides[0][field], sides[1][field]) for field in fields}),
            breaks="it gets a new id and new files" if action is Action.REPLACE else "",
            hosts=carriers(self._records),
        )
        self._builder.changes.append(change)

    def _words(self, log: FlowLog | None) -> dict[str, object]:
        """Return the attributes of a flow log for people, empty ones for None."""
        if log is None:
            return dict.fromkeys(("of", "traffic", "interval", "format", "tags"), "")
        return {
            "of": self._places.get(log.resource, log.resource),
            "traffic": log.traffic.value.lower(),
            "interval": f"{log.interval_s} s",
            "format": flow_log.format_text(log.format) if log.format != flow_log.DEFAULT_FORMAT else "",
            "tags": log.tags or "",
        }
