"""Runs Python code in other processes, which share only files with the test."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

REPOSITORY = Path(__file__).parents[3]


def start(code: str, *arguments: object, wrapper: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    """Return a Python process that runs `code` with `arguments` in sys.argv."""
    command = [*wrapper, sys.executable, "-W", "error", "-c", textwrap.dedent(code), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def run(code: str, *arguments: object, wrapper: tuple[str, ...] = ()) -> str:
    """Return the output of `code`; fail the test if it fails."""
    process = start(code, *arguments, wrapper=wrapper)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    return output


def is_stopped(process: subprocess.Popen[str], timeout_s: float = 120.0) -> bool:
    """Wait until a process is stopped or has ended; return which. A process that does neither is killed, and the test fails."""
    end = time.monotonic() + timeout_s
    while (found := os.waitid(os.P_PID, process.pid, os.WEXITED | os.WSTOPPED | os.WNOWAIT | os.WNOHANG)) is None:
        if time.monotonic() > end:
            process.kill()
            raise AssertionError(f"process {process.pid} has neither stopped nor ended in {timeout_s} s")
        time.sleep(0.005)
    if found.si_code != os.CLD_STOPPED:
        return False
    os.waitid(os.P_PID, process.pid, os.WSTOPPED)
    return True


def in_user_namespace(preparation: str) -> tuple[str, ...]:
    """Return a wrapper that runs its command as root of a new user and mount namespace, after a shell `preparation`."""
    return ("unshare", "--user", "--map-root-user", "--mount", "sh", "-ec", f'{preparation}\nexec "$0" "$@"')


def user_namespaces_work() -> bool:
    """Return whether this user may create user namespaces with mounts."""
    return subprocess.run([*in_user_namespace("mount -t tmpfs none /mnt"), "true"], capture_output=True).returncode == 0
