"""Settings of all tests."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

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
