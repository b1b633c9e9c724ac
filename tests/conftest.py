"""Settings of all tests."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from tests.rig.etcd.cluster import Cluster

# A shell lets its background jobs ignore Ctrl-C, and programs inherit that; tests that send it expect to be heard.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Examples are fixed, so that a red run is red for everybody, and untimed, because machines are shared.
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
    """A cluster of one member for all tests that leave it alive. Each test gives its store a name of its own."""
    from tests.rig.etcd.cluster import running_cluster  # grpc is for those tests only

    with running_cluster(1) as cluster:
        yield cluster
