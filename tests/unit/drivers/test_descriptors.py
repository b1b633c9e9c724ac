"""An agent without a free descriptor takes no running daemon for ended, and no file for absent."""

from __future__ import annotations

import errno
import gc
import os
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from netorch.drivers.bird.border import Border
from netorch.drivers.bird.driver import Bird
from netorch.drivers.bird.password import PasswordFile
from netorch.drivers.charon.kept import KeptFile
from netorch.drivers.composition import as_kernel_error
from netorch.drivers.daemons.process import Process
from netorch.drivers.services.control import Control
from netorch.drivers.services.driver import Services
from netorch.drivers.spaces import Spaces
from netorch.errors import KernelError
from netorch.state.base import UNDERLAY


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    """Let this process open no more files."""
    gc.collect()  # else it could close a lower one meanwhile
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open("/", os.O_RDONLY)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def here() -> Iterator[int]:
    """Yield a descriptor of this process's network namespace."""
    fd = os.open("/proc/self/ns/net", os.O_RDONLY)
    yield fd
    os.close(fd)


def test_a_running_process_has_not_ended(here: int) -> None:
    with ExitStack() as stack:
        process = Process(Control, here, 0.1)
        stack.callback(process.close)
        with no_descriptor_left(), pytest.raises(OSError, match="Too many open files"):
            process.watch(os.getpid())
        process.watch(os.getpid())
        assert not process.has_ended()


def test_the_counters_of_a_running_daemon_are_unknown_not_zero(tmp_path: Path, here: int) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as daemon, ExitStack() as stack:
        daemon.bind(str(tmp_path / "control"))
        daemon.listen()
        services = Services(UNDERLAY, Spaces(here, here), tmp_path)
        stack.callback(services.close)
        with no_descriptor_left(), pytest.raises(KernelError) as raised, as_kernel_error("count"):
            services.counts()
        assert raised.value.errno == errno.EMFILE
        assert services.events() == []


def test_a_file_that_cannot_be_opened_is_not_absent(tmp_path: Path, here: int) -> None:
    kept = KeptFile(tmp_path / "kept.json")
    assert kept.read() == {}
    kept.write({})
    with no_descriptor_left(), pytest.raises(OSError, match="Too many open files"):
        kept.read()
    bird = Bird("outside", here, tmp_path, Border, PasswordFile())
    (tmp_path / "bird.conf").write_text("")
    with no_descriptor_left(), pytest.raises(OSError, match="Too many open files"):
        bird.sessions()
    bird.close()
