"""The process's log is limited while it runs."""

from __future__ import annotations

import logging
from pathlib import Path

from netorch.services.said import FILE_BYTES, LINE_CHARACTERS, LINES, LINES_S, Said


def record(text: str) -> logging.LogRecord:
    return logging.LogRecord("x", logging.ERROR, "x.py", 1, text, None, None)


def test_a_few_lines_a_second_are_written_and_the_others_counted(tmp_path: Path) -> None:
    clock = [0.0]
    with (tmp_path / "stderr").open("a") as stream:
        said = Said(stream, lambda: clock[0])
        for _ in range(1_000):
            said.handle(record("y" * 100_000))
        clock[0] += 1.0 / LINES_S
        said.handle(record("later"))
    lines = (tmp_path / "stderr").read_text().splitlines()
    assert len(lines) == LINES + 1
    assert max(len(line) for line in lines) <= LINE_CHARACTERS
    assert lines[-1].startswith(f"({1_000 - LINES:.0f} lines were left out) ")
    assert lines[-1].endswith("later")


def test_the_file_is_cut_before_it_is_large(tmp_path: Path) -> None:
    clock = [0.0]
    path = tmp_path / "stderr"
    with path.open("a") as stream:
        said = Said(stream, lambda: clock[0], most=10_000)
        for number in range(1_000):
            clock[0] += 1.0 / LINES_S
            said.handle(record(f"line {number}"))
            assert path.stat().st_size <= 10_000 + LINE_CHARACTERS
        assert path.read_text().endswith("line 999\n")
    assert FILE_BYTES <= 4 << 20
