"""Settings for all tests."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from tests.rig.etcd.cluster import Cluster

# A shell makes its background jobs ignore Ctrl-C, and child processes inherit that; tests that send SIGINT need it handled.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Examples are fixed, so that a failure is the same for everybody, and have no deadline, because machines are shared.
settings.register_profile(
    "netorch",
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=int(os.environ.get("NETORCH_EXAMPLES", "100")),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("netorch")


@pytest.fixture(scope="session")
def etcd() -> Iterator[Cluster]:
    """A one-member cluster for all tests that do not kill it. Each test uses its own store name."""
    from tests.rig.etcd.cluster import running_cluster  # only those tests need grpc

    with running_cluster(1) as cluster:
        yield cluster
