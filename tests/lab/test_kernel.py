"""Commands inside the lab kernel, started from this machine."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from netorch.errors import LabError
from netorch.lab.kernel import find_kernel, main, run_in_kernel

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _kernel() -> None:
    try:
        find_kernel()
    except LabError as error:
        pytest.skip(str(error))


def test_output_and_status_come_out_and_nothing_stays(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    inside, outside = tmp_path / "shared", tmp_path / "other"
    inside.mkdir()
    outside.mkdir()
    script = f"echo out; echo err >&2; touch {inside}/kept; mkdir -p {outside}; touch {outside}/lost /etc/lost; exit 7"
    assert run_in_kernel(["sh", "-c", script], share=[inside], timeout_s=60) == 7
    assert capfd.readouterr() == ("out\n", "err\n")
    assert [file.name for file in inside.iterdir()] == ["kept"]
    assert not list(outside.iterdir())
    assert not Path("/etc/lost").exists()


def test_the_kernel_has_what_the_data_plane_needs(capfd: pytest.CaptureFixture[str]) -> None:
    code = "from netorch.lab.features import *; print([f.name for f in missing(probe_features())])"
    assert run_in_kernel([sys.executable, "-c", code], timeout_s=60) == 0
    assert capfd.readouterr().out == "[]\n"


def test_a_command_that_takes_too_long_is_ended() -> None:
    with pytest.raises(LabError, match=r"sleep 1000 was still running after 2\.0 s"):
        run_in_kernel(["sleep", "1000"], timeout_s=2.0)


def test_a_command_that_falls_silent_is_ended_with_a_status_of_its_own(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--silence", "3", "--", "sh", "-c", "for i in 1 2 3 4; do echo $i; sleep 1; done; exec sleep 1000"]) == 75
    printed = capfd.readouterr()
    assert printed.out == "1\n2\n3\n4\n"
    assert "printed nothing for 3.0 s" in printed.err
    assert re.search(r"its processes: \d+ [A-Za-z]", printed.err)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_guest_dies_with_whoever_started_it(number: signal.Signals, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "netorch.lab.kernel", "--share", str(tmp_path)]
    command += ["--", "sh", "-c", f"touch {tmp_path}/up; exec sleep 1000"]
    starter = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _until(lambda: (tmp_path / "up").exists())
        guests = _guests(starter.pid)
        assert guests
        os.kill(starter.pid, number)
        starter.wait(30)
    finally:
        starter.kill()  # has no effect after its end
        starter.wait()
    _until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in guests))


def _guests(pid: int) -> list[int]:
    """Return the processes below `pid`; a process that ends meanwhile has none."""
    try:
        found = [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []
    return found + [process for child in found for process in _guests(child)]


def _until(condition: object, timeout_s: float = 30.0) -> None:
    assert callable(condition)
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_checkout_below_tmp_is_seen_from_inside(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    for package in ("netorch", "policy", "edges"):
        shutil.copytree(Path(__file__).parents[2] / package, checkout / package)
    code = "import netorch, sys; print(netorch.__file__)"
    command = [sys.executable, "-m", "netorch.lab.kernel", "--timeout", "60", "--", sys.executable, "-c", code]
    env = {**os.environ, "PYTHONPATH": str(checkout)}
    done = subprocess.run(command, cwd="/usr/share", env=env, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == (f"{checkout}/netorch/__init__.py\n", "")
