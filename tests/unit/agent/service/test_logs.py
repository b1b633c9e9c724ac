"""Logs as JSON: one object per line, for every record."""

from __future__ import annotations

import json
import logging
import subprocess
import sys

from netorch.agent.service.logs import JsonLines


def test_a_record_is_one_line_of_json() -> None:
    record = logging.LogRecord(
        "netorch.agent", logging.WARNING, __file__, 1, 'two\nlines "quoted" name=%s', ("\x1b[31mhv1",), None
    )
    record.created, record.msecs = 1767225600.25, 250.0
    line = JsonLines().format(record)
    assert "\n" not in line
    assert "\x1b" not in line
    assert json.loads(line) == {
        "time": "2026-01-01T00:00:00.250Z",
        "level": "WARNING",
        "logger": "netorch.agent",
        "message": 'two\nlines "quoted" name=\x1b[31mhv1',
    }


def test_a_process_logs_as_it_was_asked_to() -> None:
    for log_format, first in (("json", '{"time": "'), ("text", "2")):
        program = f"import logging; from netorch.agent.service.logs import log_as; log_as({log_format!r}, verbose=False); "
        program += (
            "logging.info('said'); logging.debug('not said')\ntry: 1 / 0\nexcept ZeroDivisionError: logging.exception('failed')"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert done.stderr.startswith(first)
        assert "not said" not in done.stderr
        if log_format == "json":
            lines = [json.loads(line) for line in done.stderr.splitlines()]
            assert [line["message"] for line in lines] == ["said", "failed"]
            assert "ZeroDivisionError" in lines[1]["exception"]
