"""The access log."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from netorch.services.proxy.journal.line import Line
from netorch.services.proxy.journal.log import GONE_KEPT_S, KEPT_S, AccessLog

LINE = Line(time="2026-01-01T00:00:00.000+00:00", vpc="vpc-1", endpoint="vpce-1", source="10.0.0.5", status=200, reason="x")


def test_a_line_is_there_at_once(tmp_path: Path) -> None:
    AccessLog(tmp_path).write(LINE)
    assert msgspec.json.decode((tmp_path / "vpce-1.log").read_bytes(), type=Line) == LINE


def test_an_endpoint_has_two_files_of_a_size_and_pushes_nobody_else_out(tmp_path: Path) -> None:
    log = AccessLog(tmp_path, most=1_000)
    log.write(msgspec.structs.replace(LINE, endpoint="vpce-2"))
    for _ in range(100):
        log.write(LINE)
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert sizes.keys() == {"vpce-1.log", "vpce-1.log.1", "vpce-2.log"}
    assert all(0 < size < 1_000 + 300 for size in sizes.values())


def test_what_a_client_writes_stays_on_one_line(tmp_path: Path) -> None:
    AccessLog(tmp_path).write(msgspec.structs.replace(LINE, target='/b/k\n{"status":200}\x1b"'))
    (line,) = (tmp_path / "vpce-1.log").read_bytes().splitlines()
    assert b"\x1b" not in line


def test_a_log_that_cannot_be_written_stops_nothing_and_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = AccessLog(tmp_path / "absent")
    log.write(LINE)
    log.write(LINE)
    assert len(caplog.records) == 1
    assert log.counts.of("vpce-1")["requests"] == 2


def test_files_of_those_who_say_nothing_any_more_go(tmp_path: Path) -> None:
    log = AccessLog(tmp_path)
    for endpoint in ("vpce-1", "vpce-2"):
        log.write(msgspec.structs.replace(LINE, endpoint=endpoint))
    os.utime(tmp_path / "vpce-1.log", (0, 0))
    log.tidy(KEPT_S + 1.0, {"vpce-1", "vpce-2"})
    assert [path.name for path in tmp_path.iterdir()] == ["vpce-2.log"]


def test_files_of_endpoints_that_are_gone_go_after_a_day(tmp_path: Path) -> None:
    log = AccessLog(tmp_path)
    for endpoint in ("vpce-1", "vpce-2", "vpce-3"):
        log.write(msgspec.structs.replace(LINE, endpoint=endpoint))
    for endpoint, written in (("vpce-1", 0), ("vpce-2", 0), ("vpce-3", 100)):
        os.utime(tmp_path / f"{endpoint}.log", (written, written))
    log.tidy(GONE_KEPT_S + 50.0, {"vpce-2"})
    assert {path.name for path in tmp_path.iterdir()} == {"vpce-2.log", "vpce-3.log"}


def test_all_files_together_have_a_size_and_second_files_go_first(tmp_path: Path) -> None:
    log = AccessLog(tmp_path, most=1_000, most_of_all=20_000)
    log.write(msgspec.structs.replace(LINE, endpoint="vpce-quiet"))
    os.utime(tmp_path / "vpce-quiet.log", (0, 0))
    for turn in range(600):
        log.write(msgspec.structs.replace(LINE, endpoint=f"vpce-{turn % 15}"))
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 20_000
    assert (tmp_path / "vpce-quiet.log").exists()
    for turn in range(1_000):  # without rotated files, the oldest are deleted
        log.write(msgspec.structs.replace(LINE, endpoint=f"vpce-{turn}"))
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 20_000
    assert (tmp_path / "vpce-999.log").exists()
    assert not (tmp_path / "vpce-quiet.log").exists()


def test_bytes_that_are_no_text_are_question_marks(tmp_path: Path) -> None:
    AccessLog(tmp_path).write(msgspec.structs.replace(LINE, host=b"a\xff".decode(errors="surrogateescape"), target="/\udc80"))
    found = msgspec.json.decode((tmp_path / "vpce-1.log").read_bytes(), type=Line)
    assert (found.host, found.target) == ("a?", "/?")
