"""Names that a shell completes, on this host and inside a lab."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.conftest import Run


def test_names_are_completed_with_and_without_their_vpc(run: Run, tmp_path: Path) -> None:
    run("apply", "--yes", "--no-wait")

    def completed(*words: str) -> list[str]:
        environment = {
            "NETORCH_STORE": str(tmp_path / "db"),
            "_NETORCH_COMPLETE": "bash_complete",
            "COMP_WORDS": " ".join(("netorch", *words)),
            "COMP_CWORD": str(len(words)),
            "PATH": "/usr/bin:/bin",
        }
        done = subprocess.run([sys.executable, "-m", "netorch"], env=environment, capture_output=True, text=True, check=True)
        return [line.partition(",")[2] for line in done.stdout.splitlines()]

    assert completed("vp") == ["vpc", "vpn"]
    assert completed("instance", "show", "acme/w") == ["acme/web-1", "acme/web-2"]
    assert completed("instance", "show", "web-") == ["web-1", "web-2"]
    assert completed("instance", "move", "web-1", "hv") == ["hv1", "hv2"]
    assert completed("--owner", "globex", "instance", "show", "") == ["globex/web-1"]
    assert completed("plan", "-o", "j") == ["json"]
    route = ("route-table", "route", "add", "acme/main", "10.0.0.0/8")
    assert completed(*route, "") == ["blackhole", "eni", "vgw", "via"]
    assert completed(*route, "via", "e") == ["eni"]
    assert completed(*route, "via", "eni", "web-") == ["web-1", "web-2"]


def test_names_inside_a_lab_are_completed_by_asking_there(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from netorch.cli.context import names_of

    run("apply", "--yes", "--no-wait")

    def inside(command: Sequence[str], **_options: object) -> subprocess.CompletedProcess[str]:
        at = command.index("--lab")
        assert command[at + 1] == "q"
        return run(*command[3:at], *command[at + 2 :])

    monkeypatch.setattr("subprocess.run", _once(inside))
    assert names_of("i", {"lab": "q", "owner": "globex"}) == ["globex/web-1"]


def _once(replacement: Callable[..., subprocess.CompletedProcess[str]]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a replacement of `subprocess.run` for one call; commands inside that call are run for real."""
    real, calls = subprocess.run, []

    def call(*arguments: Any, **options: Any) -> subprocess.CompletedProcess[str]:  # noqa: ANN401
        calls.append(arguments)
        done: subprocess.CompletedProcess[str] = (replacement if len(calls) == 1 else real)(*arguments, **options)
        return done

    return call
