"""Which flow logs an agent keeps up to date, and at what cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec
import pytest

from netorch.agent.flowlog.files import LogFiles
from netorch.agent.flowlog.ledger import Target
from netorch.agent.flowlog.logger import FlowLogger
from netorch.agent.flowlog.targets import targets_of
from netorch.agent.tasks import flow_logs
from netorch.control.actions.flow_logs import create_flow_log, delete_flow_log
from netorch.control.actions.instances import terminate_instance
from netorch.model.flow_log import FlowLog
from netorch.records import keys
from netorch.records.codec import encode
from tests.unit.agent.flowlog.test_logger import Sources
from tests.unit.edges.internet import Internet


class Recorder(FlowLogger):
    """A logger that keeps what it was last told."""

    targets: tuple[Target, ...] = ()
    zones: Mapping[int, int] = {}

    def configure(self, targets: Iterable[Target], zones: Mapping[int, int]) -> None:
        self.targets, self.zones = tuple(targets), zones


class Logging:
    """The agent of hv1, which carries an instance of each of two VPCs."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.internet = Internet(path)
        self.world = self.internet.pair.world
        self.agent = self.world.agents["hv1"]
        self.logger = Recorder(Sources(), LogFiles(path, "hv1"))
        self.asked: list[int] = []
        namespaces: set[str] = set()
        self.agent.tasks.append(flow_logs.FlowLogs(self.logger, self.agent.records, self.agent.reconciler, namespaces))
        monkeypatch.setattr(flow_logs, "targets_of", lambda records, vni, *rest: self._targets(vni))

    def _targets(self, vni: int) -> tuple[Target, ...]:
        self.asked.append(vni)
        return targets_of(self.agent.records, vni, self.agent.reconciler.phases)

    def log(self, number: int) -> FlowLog:
        return create_flow_log(self.world.store, self.world.operator, self.internet.vpc_of(number), name="all")

    def settle(self) -> None:
        """Settle; what the logger knows must be what a new agent would tell it."""
        self.world.settle(3)
        records = self.agent.records
        found = [each for vni in sorted(records.logged) for each in targets_of(records, vni, self.agent.reconciler.phases)]
        assert list(self.logger.targets) == found
        assert self.logger.zones == {each.log.vni: self.agent.reconciler.zone_of(each.log.vni) for each in found}

    def rename(self, number: int, name: str) -> None:
        """Change a record of the instance's interface."""
        eni = self.internet.eni(number)
        self.world.put(keys.resource(eni.id), encode(msgspec.structs.replace(eni, name=name)))


def test_a_change_in_a_logged_vpc_looks_at_no_other_ones_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logging = Logging(tmp_path, monkeypatch)
    first, second = logging.log(0), logging.log(1)
    logging.settle()
    assert {target.log.id for target in logging.logger.targets} == {first.id, second.id}
    logging.asked.clear()
    logging.rename(0, "another")
    logging.settle()
    assert set(logging.asked) == {first.vni}


def test_a_log_ends_when_it_or_its_vpc_leaves_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logging = Logging(tmp_path, monkeypatch)
    first, second = logging.log(0), logging.log(1)
    logging.settle()
    delete_flow_log(logging.world.store, logging.world.operator, first.id)
    logging.settle()
    assert [target.log.id for target in logging.logger.targets] == [second.id]
    terminate_instance(logging.world.store, logging.world.operator, logging.internet.eni(1).instance)
    logging.settle()
    assert logging.logger.targets == ()
