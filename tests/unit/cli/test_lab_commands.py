"""`netorch lab` without a lab."""

from __future__ import annotations

from pathlib import Path

from netorch.cli.commands.lab import next_steps


def test_the_file_beside_the_topology_is_the_next_to_apply(tmp_path: Path) -> None:
    topology = tmp_path / "q.clab.yml"
    assert next_steps("q", topology, carries=True) == "netorch lab shell q, or netorch --lab q apply -f vpc.yaml"
    (tmp_path / "vpc.yaml").touch()
    assert next_steps("q", topology, carries=True).endswith(f"apply -f {tmp_path}/vpc.yaml")
    assert next_steps("q", topology, carries=False) == "netorch lab shell q"
