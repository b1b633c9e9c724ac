"""The environment of commands in a lab: whose settings, whose state, which store."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from netorch.errors import LabError
from netorch.lab.hosts import Record
from netorch.lab.nodes import environment, make_own_directories
from netorch.lab.topology import Node, NodeRole, Topology

HV1 = Node(name="hv1", role=NodeRole.HYPERVISOR, underlay="192.0.2.11", env={"NETORCH_STORE": "/shared/store.db"})
CONSOLE = Node(name="console", role=NodeRole.CONSOLE, labels={"netorch.role": "console"})
ALONE = Topology(name="alone", nodes=(HV1,))
OPERATED = Topology(name="operated", nodes=(HV1, CONSOLE))
CALLER = {"PATH": "/bin", "NETORCH_STORE": "/the/caller/s.db", "NETORCH_LAB": "other", "NETORCH_OWNER": "acme"}


def test_without_a_console_all_nodes_have_the_lab_s_store(tmp_path: Path) -> None:
    for node in (HV1, None):
        found = environment(ALONE, tmp_path, node, CALLER)
        assert found["NETORCH_STORE"] == str(tmp_path / "store.db")
        assert found["NETORCH_LAB_DIR"] == str(tmp_path)
        assert found["NETORCH_OWNER"] == "acme"
        assert "NETORCH_LAB" not in found
    assert environment(ALONE, tmp_path, None, CALLER)["NETORCH_CONFIG"] == os.devnull


def test_with_a_console_the_topology_names_the_stores_and_the_caller_does_not(tmp_path: Path) -> None:
    assert environment(OPERATED, tmp_path, HV1, CALLER)["NETORCH_STORE"] == "/shared/store.db"
    found = environment(OPERATED, tmp_path, CONSOLE, CALLER)
    assert "NETORCH_STORE" not in found
    assert (found["NETORCH_HOST"], found["CLAB_LABEL_NETORCH_ROLE"]) == ("console", "console")


def test_each_node_has_settings_and_state_of_its_own(tmp_path: Path) -> None:
    make_own_directories(OPERATED, tmp_path)
    found = [environment(OPERATED, tmp_path, node, CALLER) for node in OPERATED.nodes]
    settings = {Path(env["NETORCH_CONFIG"]) for env in found}
    assert len(settings) == 2
    for path in settings:  # not the machine's own store
        assert path.read_text() == f'store = "{path.parent}/netorch.db"\n'
    assert len({env["NETORCH_STATE_DIR"] for env in found}) == 2


def test_a_command_that_names_no_node_runs_on_the_console(tmp_path: Path) -> None:
    assert Record(topology=OPERATED, file="").place(None) == CONSOLE
    assert Record(topology=ALONE, file="").place(None) is None
    assert Record(topology=OPERATED, file="").place("hv1") == HV1
    with pytest.raises(LabError, match="there is no node 'hv9'; there are hv1, console"):
        Record(topology=OPERATED, file="").place("hv9")
