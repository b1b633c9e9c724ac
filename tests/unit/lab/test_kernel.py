"""The lab kernel's surroundings: how it is found, its memory, and how a command gets in."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from netorch.errors import LabError
from netorch.lab.kernel import find_kernel, guest_job, memory_directory


def test_the_kernel_is_found_in_the_cache(tmp_path: Path) -> None:
    binary = tmp_path / "netorch" / "kernel" / "linux"
    binary.parent.mkdir(parents=True)
    binary.touch(mode=0o755)
    assert find_kernel({"XDG_CACHE_HOME": str(tmp_path)}) == binary


def test_without_a_kernel_the_user_is_told_how_to_build_it(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="scripts/kernel"):
        find_kernel({"HOME": str(tmp_path)})
    with pytest.raises(LabError, match=r"^NETORCH_LAB_KERNEL: .*/absent is not an executable file"):
        find_kernel({"NETORCH_LAB_KERNEL": str(tmp_path / "absent")})


def test_memory_goes_where_there_is_room(tmp_path: Path) -> None:
    assert memory_directory(1, ["/proc/nowhere", str(tmp_path)]) == tmp_path


def test_too_little_room_is_told_before_the_guest_dies_of_it(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"no place for 1000000000 MB.*MB free.*set TMPDIR"):
        memory_directory(1_000_000_000, [str(tmp_path)])


def test_arguments_and_environment_arrive_unchanged(tmp_path: Path) -> None:
    words = ["printf", "%s|", "a b", "it's", "$HOME", "", "ü\n"]
    job = guest_job(words, tmp_path, {"PATH": "/nowhere", "QUOTED": "x'y\"z $0"})
    assert subprocess.run(["sh", "-c", job], capture_output=True, text=True, check=True).stdout == "a b|it's|$HOME||ü\n|"
    job = guest_job(["sh", "-c", 'pwd; printf %s "$QUOTED"'], tmp_path, {"QUOTED": "x'y\"z $0"})
    done = subprocess.run(["sh", "-c", job], capture_output=True, text=True, check=True)
    assert done.stdout == f"{tmp_path}\nx'y\"z $0"


def test_places_of_the_host_are_not_told_to_the_guest(tmp_path: Path) -> None:
    job = guest_job(["env"], tmp_path, {"TMPDIR": "/host-only", "XDG_RUNTIME_DIR": "/host-only", "BASH_FUNC_x%%": "() { :; }"})
    assert "host-only" not in job
    assert "BASH_FUNC" not in job
