"""Property tests run the same examples each time, so that a failure is everybody's."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("netorch", deadline=None, derandomize=True, database=None)
settings.load_profile("netorch")
