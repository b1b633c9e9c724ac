"""What attackers find: the cloud with a pair of edges, too."""

from __future__ import annotations

from tests.integration.edges.conftest import outskirts, speaking

__all__ = ["outskirts", "speaking"]
