"""How the readers of this package say that a filter is not of our making."""

from __future__ import annotations


class Strange(Exception):
    """A filter is not of our making; says in a few words what is strange about it."""
