"""The exception for filters that netorch did not make."""

from __future__ import annotations


class Strange(Exception):
    """A filter that netorch did not make; the text says briefly how it differs."""
