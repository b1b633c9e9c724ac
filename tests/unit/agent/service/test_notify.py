"""The agent's messages to systemd, received by a real socket."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from netorch.agent.service.notify import ServiceManager


@pytest.mark.parametrize("is_abstract", [False, True])
def test_systemd_hears_each_state(tmp_path: Path, is_abstract: bool) -> None:
    name = f"netorch-test-{os.getpid()}" if is_abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{name}" if is_abstract else name)
        environ = {"NOTIFY_SOCKET": f"@{name}" if is_abstract else name, "WATCHDOG_USEC": "120000000", "PATH": "/bin"}
        service = ServiceManager(environ)
        assert environ == {"PATH": "/bin"}, "what the agent starts must not speak for it"
        assert service.every_s == 60, "twice as often as the manager needs it"
        service.ready()
        service.alive()
        service.stopping()
        assert [manager.recv(100) for _ in range(3)] == [b"READY=1", b"WATCHDOG=1", b"STOPPING=1"]


def test_nobody_listens_where_the_agent_was_started_by_hand(tmp_path: Path) -> None:
    for environ in ({}, {"NOTIFY_SOCKET": str(tmp_path / "gone")}):
        ServiceManager(environ).ready()
    assert ServiceManager({}).every_s == float("inf")


def test_a_watchdog_of_another_process_is_not_ours() -> None:
    assert ServiceManager({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}).every_s == float("inf")
