"""The proxy as a process on loopback, with two endpoints, for two VPCs whose instances have the same address."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.services.proxy.stand import ProxyStand
from tests.rig.services.process import ServiceProcess, service_process
from tests.rig.services.upstreams import Recorder


@pytest.fixture(scope="module")
def daemon() -> Iterator[ServiceProcess]:
    """Return a daemon process for a module."""
    with service_process() as process:
        yield process


@pytest.fixture
def behind() -> Iterator[Recorder]:
    """Return an upstream server that records requests."""
    recorder = Recorder()
    yield recorder
    recorder.close()


@pytest.fixture
def stand(daemon: ServiceProcess, behind: Recorder) -> ProxyStand:
    """Return two endpoints in front of that server."""
    stand = ProxyStand(daemon, behind.url)
    stand.serve()
    return stand
