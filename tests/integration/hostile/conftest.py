"""The clouds under attack, one of them with a pair of edges."""

from __future__ import annotations

from tests.integration.edges.conftest import outskirts, speaking

__all__ = ["outskirts", "speaking"]
