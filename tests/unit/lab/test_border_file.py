"""The lab's border router: bird parses its file."""

from __future__ import annotations

import subprocess

from tests.integration.edges.border import FILE


def test_bird_parses_the_border_router_s_file() -> None:
    done = subprocess.run(["bird", "-p", "-c", str(FILE)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
