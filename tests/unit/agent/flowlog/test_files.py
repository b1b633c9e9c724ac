from __future__ import annotations

import os
from pathlib import Path

import pytest

from netorch.agent.flowlog.files import OLD_FILES, LogFiles, log_directory, read_lines
from netorch.agent.flowlog.ledger import Finished
from netorch.errors import NetorchError
from netorch.model.flow_log import FlowLog

LOG = FlowLog(id="fl-1", vni=5000, name="1", resource="vpc-1")


def finished(*lines: str) -> Finished:
    return Finished(log=LOG, owner="acme", vpc="vpc-1", lines=lines)


def lines(root: Path, host: str | None = None) -> list[str]:
    return list(read_lines(log_directory(root, "acme", "vpc-1", "fl-1"), host))


def test_lines_are_read_as_they_were_written_host_by_host(tmp_path: Path) -> None:
    for host in ("hv2", "hv1"):
        assert LogFiles(tmp_path, host).append(finished(f"{host} a", f"{host} b"))
    assert lines(tmp_path) == ["hv1 a", "hv1 b", "hv2 a", "hv2 b"]
    assert lines(tmp_path, "hv2") == ["hv2 a", "hv2 b"]


@pytest.mark.parametrize("host", ["*", "/hv1", "**a", "../fl-1/hv1", ""])
def test_the_name_of_a_host_is_no_pattern_and_no_path(tmp_path: Path, host: str) -> None:
    LogFiles(tmp_path, "hv1").append(finished("a"))
    assert lines(tmp_path, host) == []


def test_only_the_owners_group_may_look(tmp_path: Path) -> None:
    root = tmp_path / "logs"
    LogFiles(root, "hv1").append(finished("a"))
    modes = {path.name: path.stat().st_mode & 0o777 for path in root.rglob("*")}
    assert modes == {"acme": 0o750, "vpc-1": 0o750, "fl-1": 0o750, "hv1.log": 0o640}


def test_old_lines_go_when_there_are_too_many(tmp_path: Path) -> None:
    files = LogFiles(tmp_path, "hv1", file_bytes=10)
    for number in range(20):
        files.append(finished(f"line {number:04}"))
    assert lines(tmp_path) == [f"line {number:04}" for number in range(20 - 1 - OLD_FILES, 20)]


def test_a_disk_that_cannot_be_written_is_told_once_and_survived(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = tmp_path / "logs"
    root.write_text("not a directory")
    files = LogFiles(root, "hv1")
    assert not files.append(finished("a"))
    assert not files.append(finished("b"))
    assert len(caplog.records) == 1
    os.unlink(root)
    assert files.append(finished("c"))
    assert lines(root) == ["c"]


def test_no_symbolic_link_is_written_or_read_through(tmp_path: Path) -> None:
    files, secret = LogFiles(tmp_path, "hv1"), tmp_path / "secret"
    secret.write_text("s\n")
    assert files.append(finished("a"))
    path = log_directory(tmp_path, "acme", "vpc-1", "fl-1") / "hv1.log"
    path.unlink()
    path.symlink_to(secret)
    assert not files.append(finished("b"))
    assert secret.read_text() == "s\n"
    with pytest.raises(NetorchError, match=r"hv1\.log"):
        lines(tmp_path)
