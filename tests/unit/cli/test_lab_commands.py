"""`netorch lab` without a lab."""

from __future__ import annotations

from pathlib import Path

import pytest

from netorch.cli.commands.lab import next_steps
from tests.unit.cli.conftest import Run


def test_the_file_beside_the_topology_is_the_next_to_apply(tmp_path: Path) -> None:
    topology = tmp_path / "q.clab.yml"
    assert next_steps("q", topology, carries=True) == "netorch lab shell q, or netorch --lab q apply -f vpc.yaml"
    (tmp_path / "vpc.yaml").touch()
    assert next_steps("q", topology, carries=True).endswith(f"apply -f {tmp_path}/vpc.yaml")
    assert next_steps("q", topology, carries=False) == "netorch lab shell q"


def test_an_agent_is_started_by_systemd_on_a_machine_and_by_the_lab_in_a_lab(quick: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    quick("host", "create", "hv1", "--underlay", "192.0.2.11")
    assert "; start it on hv1: systemctl start netorch-agent\n" in quick("status", code=2).stdout
    for name, value in (("NETORCH_FROM_LAB", "quickstart"), ("NETORCH_LAB_DIR", "/run/netorch/lab/quickstart")):
        with monkeypatch.context() as lab:
            lab.setenv(name, value)
            assert "; start it: netorch lab restart-agent quickstart hv1\n" in quick("status", code=2).stdout
    quick("host", "list")  # later tests are in no lab


def test_a_command_for_one_host_names_the_lab_and_the_host_in_a_lab(quick: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    quick("host", "create", "hv1", "--underlay", "192.0.2.11")
    with monkeypatch.context() as lab:
        lab.setenv("NETORCH_LAB_DIR", "/run/netorch/lab/quickstart")
        said = quick("drift", "--host", "hv1", code=1).stderr
        assert "; run netorch lab exec --node hv1 quickstart -- netorch drift\n" in said
        said = quick("map", "cache", "hv9", code=1).stderr
        assert ", and run netorch lab exec --node HOST quickstart -- netorch map cache hv9\n" in said
    quick("host", "list")  # later tests are in no lab
