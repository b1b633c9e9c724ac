"""A lab waits for its agents: the store may fail to answer for a while, an agent may not end."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from netorch.errors import LabError
from netorch.lab import hosts
from netorch.lab.hosts import Record, await_agents
from netorch.lab.nodes import agent_log
from netorch.lab.topology import Node, NodeRole, Topology

HV1 = Node(name="hv1", role=NodeRole.HYPERVISOR, underlay="192.0.2.11")
LAB = Topology(name="one", nodes=(HV1,))
ENDED = 1 << 30  # no process id is so large


class Answers:
    """A store that gives these answers in turn; None is a failure."""

    pause_s = 0.0

    def __init__(self, *answers: set[str] | None) -> None:
        self._answers = list(answers)

    def following(self) -> set[str]:
        answer = self._answers.pop(0)
        if answer is None:
            raise LabError("lab one: no leader")
        return answer

    def close(self) -> None:
        pass


def test_a_store_that_fails_to_answer_is_asked_again(tmp_path: Path) -> None:
    await_agents(Answers(None, set(), None, {"hv1"}), Record(topology=LAB, file="", agents={"hv1": os.getpid()}), tmp_path)


def test_a_store_that_never_answers_ends_the_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "AGENT_START_S", -1.0)
    with pytest.raises(LabError, match="no leader"):
        await_agents(Answers(None), Record(topology=LAB, file="", agents={"hv1": os.getpid()}), tmp_path)


def test_an_agent_that_ended_ends_the_wait_even_while_the_store_does_not_answer(tmp_path: Path) -> None:
    log = agent_log("hv1", tmp_path)
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("no such device\n")
    with pytest.raises(LabError, match="the agent of hv1 ended: no such device"):
        await_agents(Answers(None), Record(topology=LAB, file="", agents={"hv1": ENDED}), tmp_path)
