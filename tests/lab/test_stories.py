"""Every story of scripts/demo: its commands run in a lab of this machine, and all its expectations hold."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from netorch.errors import LabError
from netorch.lab.kernel import find_kernel
from scripts import story

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
STORIES = sorted(path.stem for path in story.STORIES.glob("*.yaml"))
LONG = ("cluster", "datacenter", "internet", "services")


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.long) if name in LONG else name for name in STORIES])
def test_all_that_a_story_expects_holds(name: str, tmp_path: Path) -> None:
    try:
        find_kernel()
    except LabError as error:
        pytest.skip(str(error))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "XDG_STATE_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "scripts/story.py", name], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not list((tmp_path / "netorch" / "lab").iterdir())
