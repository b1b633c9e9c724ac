"""Each folder in containerlab/ whose lab has its own store: vpc.yaml is applied, and real packets are compared with expect.yaml.

Instances with a file NAME.sh of their name run it before, e.g. to set up an appliance.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import pytest

from netorch.control.apply.cloud import apply_cloud, plan_cloud
from netorch.control.views.describe import describe_instances
from netorch.drivers import netns
from netorch.drivers.bird.driver import RUN as BIRD_RUN
from netorch.drivers.charon.driver import RUN as CHARON_RUN
from netorch.drivers.netns import RUN_NETNS
from netorch.errors import KernelError, LabError
from netorch.lab import hosts, nodes
from netorch.lab.containerlab.file import load_topology
from netorch.lab.expect import check, find_parties, load_expectations, matrix, observe
from netorch.records.caller import Caller
from netorch.records.inventory import read_inventory
from netorch.spec import load_cloud
from netorch.store import open_store
from tests.rig.world import wait_for

pytestmark = [pytest.mark.root, pytest.mark.slow]

TOPOLOGIES = sorted((Path(__file__).parents[2] / "containerlab").glob("*/*.clab.yml"))
# In a lab with a console only that node reaches the store. Its story checks its expect.yaml: test_stories.py.
FOLDERS = [file.parent for file in TOPOLOGIES if load_topology(file).console is None]
LONG = ("datacenter", "internet", "services")
PARAMS = [pytest.param(folder, marks=pytest.mark.long) if folder.name in LONG else folder for folder in FOLDERS]


def namespaces() -> set[str]:
    return {path.name for path in RUN_NETNS.iterdir()} if RUN_NETNS.exists() else set()


@pytest.fixture(scope="module", params=PARAMS, ids=lambda folder: folder.name)
def example(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    folder: Path = request.param
    before = namespaces()
    file = next(folder.glob("*.clab.yml"))
    directory = tmp_path_factory.mktemp(folder.name) / "lab"
    hosts.build(load_topology(file), directory, str(file))
    try:
        yield folder, directory
    finally:
        agents = hosts.read_record(directory).agents
        hosts.destroy(directory)
    assert namespaces() == before
    assert not any(map(nodes.alive, agents.values()))
    assert not directory.exists()
    assert not any((run / host).exists() for run in (BIRD_RUN, CHARON_RUN) for host in agents)


def apply(folder: Path, directory: Path) -> None:
    operator = Caller(operator=True)
    store = open_store(str(nodes.store_path(directory)))
    try:
        apply_cloud(store, plan_cloud(store, operator, load_cloud(folder / "vpc.yaml")))
        instances = [info.instance for info in describe_instances(read_inventory(store), operator)]
    finally:
        store.close()
    await_namespaces(instance.id for instance in instances)
    for instance in instances:
        script = folder / f"{instance.name}.sh"
        if script.exists():
            subprocess.run(["ip", "netns", "exec", instance.id, "sh", str(script)], check=True)


def await_namespaces(names: Iterable[str]) -> None:
    for name in names:
        wait_for(partial(is_there, name), f"the namespace {name}")


def is_there(name: str) -> bool:
    """Return whether a namespace can be entered; its name appears a moment earlier."""
    try:
        os.close(netns.find(name))
    except KernelError:
        return False
    return True


def test_packets_go_where_they_are_expected_and_nowhere_else(example: tuple[Path, Path]) -> None:
    folder, directory = example
    apply(folder, directory)
    expectations = load_expectations(folder / "expect.yaml")
    store = open_store(str(nodes.store_path(directory)))
    try:
        verdicts, outcomes = check(expectations, read_inventory(store), timeout_s=30)
    finally:
        store.close()
    assert [(v.echo, v.text) for v in verdicts if not v.ok] == []
    assert [(o.flow.source, o.flow.whom, o.flow.service, o.observed) for o in outcomes if not o.ok] == []
    assert {v.observed for v in verdicts} | {o.observed for o in outcomes} == {True, False}


def test_an_agent_that_died_is_seen_and_can_be_started_again(example: tuple[Path, Path]) -> None:
    _, directory = example
    record = hosts.read_record(directory)
    host, pid = next(iter(record.agents.items()))
    with pytest.raises(LabError, match="stop that one first"):
        hosts.restart_agent(directory, host)
    os.kill(pid, signal.SIGKILL)
    end = time.monotonic() + 10
    while nodes.alive(pid):
        assert time.monotonic() < end
        time.sleep(0.02)
    assert {row.node: row.agent for row in hosts.rows(record)}[host] == "dead"
    hosts.restart_agent(directory, host)
    assert {row.node: row.agent for row in hosts.rows(hosts.read_record(directory))}[host] == "running"


def test_a_node_whose_name_is_taken_is_refused_and_left_alone(example: tuple[Path, Path], tmp_path: Path) -> None:
    folder, _ = example
    before = namespaces()
    topology = load_topology(next(folder.glob("*.clab.yml")))
    with pytest.raises(LabError, match="exists already"):
        hosts.build(topology, tmp_path / "second", "again")
    assert namespaces() == before


def test_a_reply_from_somebody_else_is_not_taken_for_the_right_one(example: tuple[Path, Path]) -> None:
    """A test of the oracle itself: it must not report instances of different customers as connected."""
    folder, directory = example
    apply(folder, directory)
    islands = load_expectations(folder / "expect.yaml").islands
    if len(islands) < 2:
        pytest.skip("one island only")
    merged = load_expectations("merged", f"islands: {{all: [{', '.join(name for names in islands.values() for name in names)}]}}")
    store = open_store(str(nodes.store_path(directory)))
    try:
        parties = find_parties(merged, read_inventory(store))
    finally:
        store.close()
    island_of = {name: island for island, names in islands.items() for name in names}
    wrong = [v for v in observe(parties, matrix(merged, parties), timeout_s=4) if not v.ok]
    assert wrong
    assert all(island_of[v.echo.source] != island_of[v.echo.destination] for v in wrong)
